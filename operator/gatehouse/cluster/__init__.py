"""Everything Gatehouse writes to Kubernetes, and the Secrets it reads there."""
