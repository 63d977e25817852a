"""Objects of the cluster as their kinds, as far as the person may read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from gatehouse.api.meta import Resource
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.errors import Refused

__all__ = ["digest_of", "listed", "listed_if_allowed", "namespace_labels", "read", "stages_of"]

R = TypeVar("R", bound=Resource)


async def read(api: ApiClient, kind: type[R], namespace: str, name: str) -> R:
    """Reads an object. Raises ClusterError, and Refused for an object that this Gatehouse cannot parse."""
    return _parsed(kind, await api.get(kind.info.plural, namespace, name))


async def listed(api: ApiClient, kind: type[R], namespace: str = "") -> list[R]:
    """Every object of a kind in a namespace, or in all of them, read page by page. Raises as :func:`read`."""
    return [_parsed(kind, body) async for body in api.items(kind.info.plural, namespace)]


async def listed_if_allowed(api: ApiClient, kind: type[R], namespace: str = "") -> list[R] | None:
    """As :func:`listed`; None when the person may not list the kind, or the cluster does not have it."""
    try:
        return await listed(api, kind, namespace)
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise


async def namespace_labels(api: ApiClient, namespace: str) -> Mapping[str, str] | None:
    """Labels of a namespace; None when it does not exist, or the person may not read it."""
    try:
        body = await api.get("namespaces", "", namespace)
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise
    labels: Mapping[str, str] = body["metadata"].get("labels") or {}
    return labels


async def stages_of(api: ApiClient, version: ModelVersion) -> tuple[str, ...]:
    """The stages of the registry in their order, or the stages of the gates where the registry is not readable."""
    namespace, _, name = (version.status.registry or "").partition("/")
    if name:
        try:
            return tuple((await read(api, ModelRegistry, namespace, name)).spec.stages)
        except ApiError as error:
            if error.status not in {403, 404}:
                raise
    return tuple(dict.fromkeys(_stages_in(version)))


def _stages_in(version: ModelVersion) -> Iterator[str]:
    yield from (gate.stage for gate in version.status.gates if gate.stage)
    yield from version.status.cleared_for


def digest_of(version: ModelVersion) -> str | None:
    """The digest that approvals and evaluations must name: the recorded digest where the files differ from it."""
    status = version.status
    return status.recorded_digest or (status.artifact.digest if status.artifact else None)


def _parsed(kind: type[R], body: Mapping[str, Any]) -> R:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        metadata: Mapping[str, Any] = body.get("metadata", {})
        where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/")
        first: Any = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(
            f"{kind.info.kind} {where} cannot be parsed by this gatehouse: {field}: {first['msg']}; "
            "expected: a gatehouse of the version that the cluster runs"
        ) from error
