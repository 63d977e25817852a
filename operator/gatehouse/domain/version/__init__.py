"""A ModelVersion: from facts to a decision and a status."""
