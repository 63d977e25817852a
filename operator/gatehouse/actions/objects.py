"""Objects as their kinds, from any source: the API as the person who asks, or objects in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

from pydantic import ValidationError

from gatehouse.api import KINDS
from gatehouse.api.meta import Resource
from gatehouse.cluster.client import ApiError
from gatehouse.errors import Refused

__all__ = ["ObjectSource", "StoredObjects", "listed", "listed_if_allowed", "parsed", "read", "read_if_allowed"]

R = TypeVar("R", bound=Resource)

_PLURALS: Final[Mapping[str, str]] = {
    **{kind.info.kind: kind.info.plural for kind in KINDS},
    "Namespace": "namespaces",
    "ConfigMap": "configmaps",
}


class ObjectSource(Protocol):
    """Reads objects. The client of the API is one source, and reads as the person who asks."""

    async def get(self, plural: str, namespace: str = "", name: str = "") -> Mapping[str, Any]:
        """Reads an object. Raises ApiError for an object that is missing or that the person may not read."""
        ...

    def items(self, plural: str, namespace: str = "") -> AsyncIterator[Mapping[str, Any]]:
        """Every object of a kind in a namespace, or in all of them. Raises as :meth:`get`."""
        ...


class StoredObjects:
    """Objects in memory, as the output of ``kubectl get -o json`` or a cache holds them. Ignores other kinds."""

    def __init__(self, bodies: Iterable[Mapping[str, Any]]) -> None:
        self._bodies: defaultdict[str, dict[tuple[str, str], Mapping[str, Any]]] = defaultdict(dict)
        for body in bodies:
            plural = _PLURALS.get(str(body.get("kind")))
            metadata = body.get("metadata")
            if plural is not None and isinstance(metadata, Mapping) and metadata.get("name"):
                key = (str(metadata.get("namespace") or ""), str(metadata["name"]))
                self._bodies[plural][key] = body

    async def get(self, plural: str, namespace: str = "", name: str = "") -> Mapping[str, Any]:
        """Reads an object. Raises ApiError with status 404 for a missing object."""
        body = self._bodies[plural].get((namespace, name))
        if body is None:
            raise ApiError(status=404, reason="NotFound", message=f'{plural} "{name}" not found')
        return body

    async def items(self, plural: str, namespace: str = "") -> AsyncIterator[Mapping[str, Any]]:
        """Every object of a kind in a namespace, or in all of them."""
        for (home, _), body in self._bodies[plural].items():
            if namespace in {"", home}:
                yield body


async def read(objects: ObjectSource, kind: type[R], namespace: str, name: str) -> R:
    """Reads an object. Raises ClusterError, and Refused for an object that this Gatehouse cannot parse."""
    return parsed(kind, await objects.get(kind.info.plural, namespace, name))


async def read_if_allowed(objects: ObjectSource, kind: type[R], namespace: str, name: str) -> R | None:
    """As :func:`read`; None when the object is missing, or the person may not read it."""
    try:
        return await read(objects, kind, namespace, name)
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise


async def listed(objects: ObjectSource, kind: type[R], namespace: str = "") -> list[R]:
    """Every object of a kind in a namespace, or in all of them, read page by page. Raises as :func:`read`."""
    return [parsed(kind, body) async for body in objects.items(kind.info.plural, namespace)]


async def listed_if_allowed(objects: ObjectSource, kind: type[R], namespace: str = "") -> list[R] | None:
    """As :func:`listed`; None when the person may not list the kind, or the cluster does not have it."""
    try:
        return await listed(objects, kind, namespace)
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise


def parsed(kind: type[R], body: Mapping[str, Any]) -> R:
    """The object of a body. Raises Refused for a body that this Gatehouse cannot parse."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        metadata: Mapping[str, Any] = body.get("metadata", {})
        where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/")
        first: Any = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(
            f"{kind.info.kind} {where} cannot be parsed by this gatehouse: {field}: {first['msg']}; "
            "expected: the version of gatehouse that the cluster runs"
        ) from error
