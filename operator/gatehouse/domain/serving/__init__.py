"""What a version is served with: the template, its names, and KServe's storage initializer."""
