"""Uploads: a folder is checked as the operator checks an artifact, and sent to object storage."""
