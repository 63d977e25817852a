"""Gatehouse: a model registry that is a control plane."""

__all__ = ["__version__"]

__version__ = "0.1.0"
