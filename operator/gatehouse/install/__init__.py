"""Installs Gatehouse on a cluster and uninstalls it: runs kubectl and creates Secrets."""
