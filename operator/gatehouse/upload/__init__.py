"""Uploads: check a folder by the rules of the operator, then send it to object storage."""
