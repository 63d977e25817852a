"""Gatehouse's writes to Kubernetes, and its reads of Secrets."""
