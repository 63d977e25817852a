"""The objects that serve a version: the template, its names, and KServe's storage initializer."""
