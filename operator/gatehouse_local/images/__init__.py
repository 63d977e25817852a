"""Container images without a registry: built from Dockerfiles, kept as archives, loaded into containerd."""
