"""Installing Gatehouse on a cluster with kubectl and kustomize, and taking it off again."""
