"""Writes status and ConfigMaps with one request where possible. Never overwrites another owner's objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gatehouse.api.meta import ANNOTATION_WRITER
from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.cluster.client import ApiClient, ApiError, ClusterError, Patch
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.domain.audit.records import SYSTEM_ACTOR
from gatehouse.domain.common.errors import Stalled, Superseded, Transient
from gatehouse.domain.common.revision import Revision

__all__ = ["FIELD_MANAGER", "KubernetesWriter", "replace_status"]

FIELD_MANAGER: Final = SYSTEM_ACTOR
VETTED_ARTIFACTS: Final = VettedArtifacts.info.plural
_LARGE: Final = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Ignore"}
"""Skips the check for unknown fields, which parses an object of half a megabyte once more, only to warn."""


class KubernetesWriter:
    """Implements the port ``ClusterWriter``.

    ``written`` receives each object after the write, so that the cache has the object before the watch delivers it.
    ``name`` is the mark on the VettedArtifacts: the holder identity of this process in the Lease.
    """

    def __init__(
        self, client: ApiClient, *, written: Callable[[str, dict[str, Any]], object], name: str = FIELD_MANAGER
    ) -> None:
        self._client = client
        self._written = written
        self._name = name

    @property
    def name(self) -> str:
        """The mark on each VettedArtifacts that this process writes."""
        return self._name

    async def write_status(self, kind: str, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Replaces ``status`` by a JSON patch that tests the resourceVersion; ignores a deleted object.

        Only the status can have changed, so the request asks for the metadata alone. Serialising the object once more
        would add a tenth to the server's cost of the write.

        :raises Transient: another client changed the object, or the API server does not answer.
        """
        metadata = body["metadata"]
        try:
            answer = await replace_status(self._client, kind, body, status)
        except ApiError as error:
            if error.status == 404:
                return
            raise to_reconcile_error(error, doing=f"writing the status of {_name(metadata)}") from error
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"writing the status of {_name(metadata)}") from error
        self._written(kind, {**body, "metadata": answer["metadata"], "status": status})

    async def vetted_artifacts(self) -> Mapping[str, Revision]:
        """The VettedArtifacts that exist now.

        :raises Transient: the API server does not answer.
        """
        try:
            items = self._client.items(VETTED_ARTIFACTS, metadata_only=True)
            return {item["metadata"]["name"]: Revision.of(item["metadata"]) async for item in items}
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing VettedArtifacts") from error

    async def reread_vetted_artifacts(self) -> None:
        """Updates the cache with the VettedArtifacts that exist now.

        :raises Transient: the API server does not answer.
        """
        try:
            async for body in self._client.items(VETTED_ARTIFACTS):
                self._written(VETTED_ARTIFACTS, body)
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing VettedArtifacts") from error

    async def create_vetted_artifacts(self, body: Mapping[str, Any]) -> Revision:
        """Creates the VettedArtifacts.

        :raises Superseded: the VettedArtifacts exist already, or this process does not lead.
        :raises Transient: the API server does not answer.
        """
        metadata = body["metadata"]
        annotations = {**metadata.get("annotations", {}), ANNOTATION_WRITER: self._name}
        marked = {**body, "metadata": {**metadata, "annotations": annotations}}
        try:
            answer = await self._client.create(VETTED_ARTIFACTS, "", marked, params=_LARGE, metadata_only=True)
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"creating VettedArtifacts {metadata['name']}") from error
        self._written(VETTED_ARTIFACTS, {**body, "metadata": answer["metadata"]})
        return Revision.of(answer["metadata"])

    async def update_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        """Replaces the spec, by a JSON patch that tests the state from which the spec was computed.

        :raises Superseded: the VettedArtifacts have changed, or this process does not lead.
        :raises Transient: the API server does not answer.
        """
        name = body["metadata"]["name"]
        if not at.writer:
            # A JSON patch can add an annotation only to existing annotations.
            at = await self.mark_vetted_artifacts(body, at=at)
        mark = ANNOTATION_WRITER.replace("/", "~1")
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": at.uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": at.resource_version},
            {"op": "add", "path": f"/metadata/annotations/{mark}", "value": self._name},
            {"op": "add", "path": "/spec", "value": body["spec"]},
        ]
        metadata = await self._patched(name, patch, kind="application/json-patch+json")
        self._written(VETTED_ARTIFACTS, {**body, "metadata": metadata})
        return Revision.of(metadata)

    async def mark_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        """Marks the VettedArtifacts. From then on every write computed from an earlier state is a conflict.

        :raises Superseded: the VettedArtifacts have changed, or this process does not lead.
        :raises Transient: the API server does not answer.
        """
        patch = {
            "metadata": {
                "uid": at.uid,
                "resourceVersion": at.resource_version,
                "annotations": {ANNOTATION_WRITER: self._name},
            }
        }
        metadata = await self._patched(body["metadata"]["name"], patch, kind="application/merge-patch+json")
        self._written(VETTED_ARTIFACTS, {**body, "metadata": metadata})
        return Revision.of(metadata)

    async def _patched(self, name: str, patch: object, *, kind: Patch) -> dict[str, Any]:
        """Patches the VettedArtifacts and returns the new metadata."""
        try:
            answer = await self._client.patch(
                VETTED_ARTIFACTS, "", name, patch, kind=kind, params=_LARGE, metadata_only=True
            )
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status == 404:
                raise Superseded(reason="Conflict", message=f"VettedArtifacts {name} is gone") from error
            raise to_reconcile_error(error, doing=f"writing VettedArtifacts {name}") from error
        metadata: dict[str, Any] = answer["metadata"]
        return metadata

    async def delete_vetted_artifacts(self, name: str, *, at: Revision) -> None:
        """Deletes the VettedArtifacts if they exist. Admission checks that the mark is this process's.

        :raises Superseded: the VettedArtifacts have changed, or this process does not lead.
        :raises Transient: the API server does not answer.
        """
        preconditions = {"uid": at.uid, "resourceVersion": at.resource_version}
        try:
            await self._client.delete(VETTED_ARTIFACTS, "", name, preconditions=preconditions)
        except ApiError as error:
            if error.status != 404:
                raise to_reconcile_error(error, doing=f"deleting VettedArtifacts {name}") from error
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"deleting VettedArtifacts {name}") from error

    async def put_config_map(self, namespace: str, config_map: Mapping[str, Any]) -> None:
        """Creates the ConfigMap, or applies it over an existing ConfigMap with the same owner.

        :raises Stalled: a ConfigMap of that name belongs to another owner.
        :raises Transient: the API server does not answer, or an owner of the same name is being deleted.
        """
        try:
            await self._client.create("configmaps", namespace, config_map, metadata_only=True)
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
                # An operator wrote the ConfigMap and was killed before the status recorded it.
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
        """Deletes the ConfigMap if it exists and belongs to the owner."""
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


async def replace_status(
    client: ApiClient, plural: str, body: Mapping[str, Any], status: Mapping[str, Any]
) -> dict[str, Any]:
    """Replaces the status of an object that is unchanged since it was read; its new metadata. Raises ClusterError."""
    metadata = body["metadata"]
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": "/status", "value": status},
    ]
    return await client.patch(
        plural,
        metadata.get("namespace", ""),
        metadata["name"],
        patch,
        kind="application/json-patch+json",
        subresource="status",
        params={"fieldManager": FIELD_MANAGER},
        metadata_only=True,
    )


def _check_owner(current: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    owners = current.get("ownerReferences", [])
    if any(owner.get("uid") == reference["uid"] for owner in owners):
        return
    where = f"{current.get('namespace')}/{current['name']}"
    if any(owner.get("kind") == reference["kind"] and owner.get("name") == reference["name"] for owner in owners):
        raise Transient(
            reason="TemplateNameTaken",
            message=f"ConfigMap {where} belongs to a deleted {reference['kind']} of that name and is being deleted",
        )
    raise Stalled(
        reason="TemplateNameTaken",
        message=f"ConfigMap {where} exists and does not belong to {reference['kind']} {reference['name']}",
        remedy=f"delete or rename the ConfigMap {where}",
    )


def _holds(current: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    """Whether a ConfigMap has the desired data and metadata; additions of others to the metadata do not count."""
    here, there = current["metadata"], desired["metadata"]
    return current.get("data") == desired.get("data") and all(
        (here.get(part) or {}).items() >= (there.get(part) or {}).items() for part in ("labels", "annotations")
    )


def _name(metadata: Mapping[str, Any]) -> str:
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
