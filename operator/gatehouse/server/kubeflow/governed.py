"""Entries that a Kubernetes object stands for: how they become governed, and what a client may change of them.

A version becomes governed with its artifact: the URI lies under an object store of the registry, and the caller writes
the objects with their own rights, so that RBAC and admission judge the call as they judge ``kubectl apply``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from gatehouse.actions.governing import create_governed, governed_manifests
from gatehouse.actions.lifecycle import ModelMove, Move, move, move_model
from gatehouse.actions.names import version_object_name
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiError
from gatehouse.domain.common.locations import folder_of, store_for
from gatehouse.domain.entries.artifact_uris import read_artifact_uri
from gatehouse.domain.entries.entry import Entry, NewEntry
from gatehouse.runtime.spans import step
from gatehouse.server.identity.access import Access

__all__ = ["change_state", "govern", "is_artifact_of", "own_uri"]

E = TypeVar("E", bound=NewEntry)


def own_uri(entry: E, registry: ModelRegistry) -> E:
    """The entry with the location alone where a client sent the form for clients of a store of the registry."""
    uri = entry.members.get("uri")
    if entry.kind != "model_artifact" or not isinstance(uri, str):
        return entry
    location = read_artifact_uri(uri).uri
    if store_for(registry, location) is None:
        return entry
    return replace(entry, members={**entry.members, "uri": location})


def is_artifact_of(version: Entry, uri: object) -> bool:
    """Whether a URI is that of the governed version's artifact."""
    return version.governed is not None and isinstance(uri, str) and folder_of(uri) == folder_of(version.governed.uri)


async def govern(
    access: Access, *, registry: ModelRegistry, model: Entry, version: Entry, artifact: NewEntry, traceparent: str = ""
) -> None:
    """Creates the RegisteredModel and the ModelVersion of a version, as the caller, if the artifact can be governed.

    The operator continues the trace that ``traceparent`` names.

    An artifact outside of the registry's stores stays recorded. Raises ClusterError with the refusal of the API server.
    """
    uri = artifact.members.get("uri")
    if not isinstance(uri, str) or store_for(registry, uri) is None:
        return
    person = await access.whoami()
    manifests = governed_manifests(
        registry=registry,
        model=model,
        version=version,
        artifact=artifact,
        submitted_by=person.name,
        traceparent=traceparent,
    )
    with step("create objects"):
        await create_governed(access.api, manifests)


async def change_state(access: Access, entry: Entry, *, registry: ModelRegistry, state: str) -> bool:
    """Archives or restores a model or version by ``spec.state`` of its object, as the caller; False without an object.

    The object counts, and not the row, which follows the object some time later: a version may have an object of which
    the row does not know yet. Clients send the state with every change, and LIVE restores only what is archived. Raises
    Refused where another tool declares the state, and ClusterError.
    """
    kind = RegisteredModel if entry.kind == "registered_model" else ModelVersion
    namespace, name = entry.namespace, _object_name(entry)
    try:
        body = await access.api.get(kind.info.plural, namespace, name)
    except ApiError as error:
        if entry.governed is None and error.status == HTTPStatus.NOT_FOUND:
            return False
        raise
    if entry.governed is None and not _stands_for(body["spec"], entry, registry):
        return False
    if (body["spec"].get("state") == "Archived") == (state == "ARCHIVED"):
        return True
    verb: Literal["archive", "restore"] = "archive" if state == "ARCHIVED" else "restore"
    reason = "requested through the registry's REST API"
    if entry.kind == "registered_model":
        await move_model(access.api, ModelMove(namespace=namespace, name=name, verb=verb, reason=reason))
    else:
        await move(access.api, access, Move(namespace=namespace, name=name, verb=verb, reason=reason))
    return True


def _object_name(entry: Entry) -> str:
    """The name of the object that stands for a model or version, or would."""
    if entry.governed is not None:
        return entry.governed.object_name
    return entry.key if entry.kind == "registered_model" else version_object_name(entry.parent_key, entry.key)


def _stands_for(spec: Mapping[str, Any], entry: Entry, registry: ModelRegistry) -> bool:
    """Whether the operator will take over the entry's row for an object."""
    if entry.kind == "model_version":
        return (spec["modelRef"]["name"], spec["version"]) == (entry.parent_key, entry.key)
    reference = spec.get("registryRef") or {}
    names = reference.get("namespace", entry.namespace), reference.get("name")
    return not reference or names == (registry.metadata.namespace, registry.metadata.name)
