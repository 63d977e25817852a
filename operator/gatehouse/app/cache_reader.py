"""The runtime's caches as the controllers' port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatehouse.controllers.ports import ObjectName
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.refs import ObjectKey

__all__ = ["CacheReader"]


class CacheReader:
    """Implements the port ``ObjectReader``."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """The newest known body."""
        return self._caches[kind].get(namespace, name)

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        """The object's resourceVersion."""
        meta = self._caches[kind].meta(ObjectKey(kind, namespace, name))
        return None if meta is None else meta.resource_version

    def complete(self, kind: str) -> bool:
        """Whether the kind was listed."""
        return self._caches[kind].complete

    def created(self, kind: str, namespace: str, name: str) -> str:
        """The object's creationTimestamp."""
        meta = self._caches[kind].meta(ObjectKey(kind, namespace, name))
        return "" if meta is None else meta.created

    def names(self, kind: str) -> Sequence[ObjectName]:
        """Every object of a kind."""
        return [ObjectName(key.namespace, key.name) for key in self._caches[kind].keys()]  # noqa: SIM118 - not a dict

    def values(self, kind: str, index: str) -> Sequence[str]:
        """Every value of an index."""
        return self._caches[kind].values(index)

    def indexed(self, kind: str, name: ObjectName, index: str) -> Sequence[str]:
        """The values of an object in an index."""
        return self._caches[kind].indexed(ObjectKey(kind, *name), index)

    def select(self, kind: str, index: str, value: str) -> Sequence[ObjectName]:
        """The objects of a kind with the value in the index."""
        return [ObjectName(key.namespace, key.name) for key in self._caches.select(kind, index, value)]
