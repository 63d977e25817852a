"""Asks what the steps of a deployment need to know: Prometheus, and webhooks."""
