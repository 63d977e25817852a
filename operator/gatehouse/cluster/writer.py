"""Writes status and ConfigMaps: one request where one is enough, and never over what belongs to somebody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.domain.errors import Stalled, Transient

__all__ = ["FIELD_MANAGER", "KubernetesWriter"]

FIELD_MANAGER: Final = "gatehouse"
VETTED_ARTIFACTS: Final = VettedArtifacts.info.plural


class KubernetesWriter:
    """Implements the port ``ClusterWriter``.

    ``written`` is told each object as it now is, so that the cache knows it before the watch does.
    """

    def __init__(self, client: ApiClient, *, written: Callable[[str, dict[str, Any]], None]) -> None:
        self._client = client
        self._written = written

    async def write_status(self, kind: str, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Replaces ``status`` by a JSON patch that tests the resourceVersion; an object that is gone needs none.

        As nothing but the status can have changed, the server is asked for the metadata alone: writing out the object
        once more would be a tenth of what the write costs it.

        :raises Transient: somebody else changed the object, or the API server does not answer.
        """
        metadata = body["metadata"]
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "add", "path": "/status", "value": status},
        ]
        try:
            answer = await self._client.patch(
                kind,
                metadata.get("namespace", ""),
                metadata["name"],
                patch,
                kind="application/json-patch+json",
                subresource="status",
                params={"fieldManager": FIELD_MANAGER},
                metadata_only=True,
            )
        except ApiError as error:
            if error.status == 404:
                return
            raise to_reconcile_error(error, doing=f"writing the status of {_name(metadata)}") from error
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"writing the status of {_name(metadata)}") from error
        self._written(kind, {**body, "metadata": answer["metadata"], "status": status})

    async def vetted_artifacts(self) -> frozenset[str]:
        """Names of the VettedArtifacts that are there at this moment.

        :raises Transient: the API server does not answer.
        """
        try:
            found = self._client.items(VETTED_ARTIFACTS, metadata_only=True)
            return frozenset([each["metadata"]["name"] async for each in found])
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing VettedArtifacts") from error

    async def put_vetted_artifacts(self, body: Mapping[str, Any]) -> None:
        """Creates the VettedArtifacts, or makes its spec this one.

        It may have half a megabyte, so the server is neither asked to parse it once more for unknown fields, which it
        would only warn of, nor to send it back.

        :raises Transient: the API server does not answer.
        """
        name = body["metadata"]["name"]
        try:
            answer = await self._client.patch(
                VETTED_ARTIFACTS,
                "",
                name,
                body,
                kind="application/apply-patch+yaml",
                params={"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Ignore"},
                metadata_only=True,
            )
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"writing VettedArtifacts {name}") from error
        self._written(VETTED_ARTIFACTS, {**body, "metadata": answer["metadata"]})

    async def delete_vetted_artifacts(self, name: str) -> None:
        """Deletes it if it is there.

        :raises Transient: the API server does not answer.
        """
        try:
            await self._client.delete(VETTED_ARTIFACTS, "", name)
        except ApiError as error:
            if error.status != 404:
                raise to_reconcile_error(error, doing=f"deleting VettedArtifacts {name}") from error
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"deleting VettedArtifacts {name}") from error

    async def put_config_map(self, namespace: str, config_map: Mapping[str, Any]) -> None:
        """Creates the ConfigMap, or applies it over the one there if that has the same owner.

        :raises Stalled: a ConfigMap of that name belongs to somebody else.
        :raises Transient: the API server does not answer, or an owner of the same name is just being deleted.
        """
        try:
            await self._client.post("configmaps", namespace, config_map)
        except ApiError as error:
            if error.status != 409:
                raise to_reconcile_error(error, doing="creating the template") from error
        except ClusterError as error:
            raise to_reconcile_error(error, doing="creating the template") from error
        else:
            return
        await self._apply_config_map(namespace, config_map)

    async def _apply_config_map(self, namespace: str, config_map: Mapping[str, Any]) -> None:
        name = config_map["metadata"]["name"]
        try:
            current = await self._client.get("configmaps", namespace, name)
            _check_owner(current["metadata"], config_map["metadata"]["ownerReferences"][0])
            if _holds(current, config_map):
                # Of an operator that was killed before it wrote so into the status.
                return
            await self._client.patch(
                "configmaps",
                namespace,
                name,
                config_map,
                kind="application/apply-patch+yaml",
                params={"fieldManager": FIELD_MANAGER, "force": "true"},
            )
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"writing the template {namespace}/{name}") from error

    async def delete_config_map(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Deletes the ConfigMap if it is there and belongs to the owner."""
        try:
            current = await self._client.get("configmaps", namespace, name)
            owners = current["metadata"].get("ownerReferences", [])
            if owner_uid in {owner.get("uid") for owner in owners}:
                await self._client.delete(
                    "configmaps", namespace, name, preconditions={"uid": current["metadata"]["uid"]}
                )
        except ApiError as error:
            if error.status != 404:
                raise to_reconcile_error(error, doing=f"deleting the template {namespace}/{name}") from error
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"deleting the template {namespace}/{name}") from error


def _check_owner(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    owners = current.get("ownerReferences", [])
    if any(owner.get("uid") == wanted["uid"] for owner in owners):
        return
    where = f"{current.get('namespace')}/{current['name']}"
    if any(owner.get("kind") == wanted["kind"] and owner.get("name") == wanted["name"] for owner in owners):
        raise Transient(
            reason="TemplateNameTaken",
            message=f"ConfigMap {where} belongs to a deleted {wanted['kind']} of that name and is about to go",
        )
    raise Stalled(
        reason="TemplateNameTaken",
        message=f"ConfigMap {where} exists and does not belong to {wanted['kind']} {wanted['name']}",
        remedy=f"delete or rename the ConfigMap {where}",
    )


def _holds(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a ConfigMap has the wanted data and metadata; what others added to the metadata is theirs."""
    here, there = current["metadata"], wanted["metadata"]
    return current.get("data") == wanted.get("data") and all(
        (here.get(part) or {}).items() >= (there.get(part) or {}).items() for part in ("labels", "annotations")
    )


def _name(metadata: Mapping[str, Any]) -> str:
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
