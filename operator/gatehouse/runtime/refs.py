"""How the runtime names a resource, an object and its body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Body", "Gvr", "ObjectKey", "key_of"]

Body = dict[str, Any]
"""A Kubernetes object as decoded JSON."""


class ObjectKey(NamedTuple):
    """Names one object: ``kind`` is the plural resource name, ``namespace`` is empty for cluster scope."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Gvr:
    """An API resource to watch."""

    group: str
    version: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None) -> str:
        """The URL path of the collection, for one namespace or for all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace is not None and self.namespaced else ""
        return f"{root}{scope}/{self.plural}"


def key_of(kind: str, body: Body) -> ObjectKey:
    """The key of a body. Raises `KeyError` for a body without a name, which no API server sends."""
    metadata = body["metadata"]
    return ObjectKey(kind, metadata.get("namespace") or "", metadata["name"])
