"""A ModelVersion: facts in, a decision and a status out."""
