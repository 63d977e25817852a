"""Namespaces: registries and policies select them by their labels. No controller reconciles a namespace."""

from __future__ import annotations

from typing import Final

from gatehouse.controllers.declaration import Declaration
from gatehouse.runtime.refs import Gvr

__all__ = ["DECLARATION", "NAMESPACES"]

NAMESPACES: Final = "namespaces"

DECLARATION: Final = Declaration(resource=Gvr("", "v1", NAMESPACES, namespaced=False))
