"""Objects as their kinds, from any source: the API as the person who asks, objects in memory, and files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from pydantic import ValidationError

from gatehouse.api import KINDS
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.meta import Resource
from gatehouse.api.model_version import ModelVersion
from gatehouse.cluster.client import ApiError
from gatehouse.domain.common import bounded_json, bounded_yaml
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.errors import Refused

__all__ = [
    "ObjectSource",
    "StoredObjects",
    "listed",
    "listed_if_allowed",
    "objects_of_file",
    "parsed",
    "policies_of_file",
    "read",
    "read_if_allowed",
]

_LARGEST_POLICY: Final = 1_048_576
_LARGEST_LIST: Final = 268_435_456
_MOST_ITEMS: Final = 20_000_000

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


def policies_of_file(path: Path) -> tuple[GovernancePolicy, ...]:
    """The GovernancePolicies of a YAML file. Raises Refused for a file without policies, or with other kinds."""
    documents = [document for document in _documents(path, largest=_LARGEST_POLICY) if document is not None]
    bodies = list(_objects(path, documents))
    strange = next((body for body in bodies if body.get("kind") != GovernancePolicy.info.kind), None)
    if strange is not None or not bodies:
        content = f"a {shown(strange.get('kind'))}" if strange is not None else "nothing"
        raise Refused(f"{path} holds {content}; expected: GovernancePolicies")
    try:
        return tuple(parsed(GovernancePolicy, body) for body in bodies)
    except Refused as refused:
        raise Refused(f"{path}: {refused}") from refused


def objects_of_file(path: Path) -> StoredObjects:
    """The objects of a file, as ``kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json`` prints them.

    Raises Refused for an unreadable file, and for a file without ModelVersions.
    """
    bodies = list(_objects(path, _documents(path, largest=_LARGEST_LIST)))
    if not any(body.get("kind") == ModelVersion.info.kind for body in bodies):
        raise Refused(
            f"{path} has no ModelVersion; expected: kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json > {path}"
        )
    return StoredObjects(bodies)


def _documents(path: Path, *, largest: int) -> Sequence[Any]:
    """The documents of a file. JSON is parsed as JSON, because the YAML parser takes minutes for a large file."""
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if data.lstrip()[:1] == b"{":
            return [bounded_json.loads(data, what=str(path), max_bytes=largest, max_items=_MOST_ITEMS)]
        return bounded_yaml.load_documents(data, what=str(path), max_bytes=largest)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    except FormatError as error:
        raise Refused(str(error)) from error


def _objects(path: Path, documents: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    for document in documents:
        items = document.get("items") if isinstance(document, dict) else None
        for body in items if isinstance(items, list) else [document]:
            if body is None:
                continue
            if not isinstance(body, dict):
                raise Refused(f"{path}: {shown(body)}; expected: Kubernetes objects")
            yield body
