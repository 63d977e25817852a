"""The namespaces whose entries a caller may read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["EVERY_NAMESPACE", "EveryNamespace", "Scope"]


@dataclass(frozen=True, slots=True)
class EveryNamespace:
    """The caller may read the entries of all namespaces, also of those to come."""

    def __contains__(self, namespace: object) -> bool:
        return isinstance(namespace, str)


EVERY_NAMESPACE: Final = EveryNamespace()
Scope = frozenset[str] | EveryNamespace
"""Some namespaces, or all. A caller with an empty set reads no entry."""
