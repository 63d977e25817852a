"""Installs Gatehouse on a cluster and removes it: drives kubectl and creates Secrets."""
