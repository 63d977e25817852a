"""Lists serving templates, writers of governance policies, the metadata of all kinds, and whether a kind is present."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.cluster.writer import FIELD_MANAGER
from gatehouse.domain.serving.template import ANNOTATION_TEMPLATE_DIGEST, MANAGED_BY
from gatehouse.runtime.refs import Gvr
from gatehouse.runtime.resync import ListedObject, ListingFailed, MetadataPage

__all__ = ["KubernetesMetadata", "KubernetesPolicies", "KubernetesPresence", "KubernetesTemplates"]


class KubernetesMetadata:
    """Implements the runtime's port ``MetadataLister``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def list_metadata(self, resource: Gvr, namespace: str | None) -> AsyncIterator[MetadataPage]:
        """The pages of a consistent list without the objects' specs and statuses.

        :raises ListingFailed: the API server does not answer, or refuses.
        """
        try:
            async for page in self._client.pages(resource.plural, resource.path(namespace), metadata_only=True):
                yield MetadataPage(
                    resource_version=page["metadata"].get("resourceVersion", ""),
                    objects=tuple(
                        ListedObject(
                            namespace=item["metadata"].get("namespace") or "",
                            name=item["metadata"]["name"],
                            resource_version=item["metadata"].get("resourceVersion", ""),
                        )
                        for item in page.get("items") or ()
                    ),
                )
        except ClusterError as error:
            raise ListingFailed(str(error)) from error


class KubernetesPolicies:
    """Implements the port ``PolicyWriters``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def writers(self) -> Mapping[str, str]:
        """The field manager that last wrote the spec of each policy, by the policy's name.

        :raises Transient: the API server does not answer.
        """
        try:
            items = self._client.items("governancepolicies", metadata_only=True)
            return {item["metadata"]["name"]: _writer(item["metadata"]) async for item in items}
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing the policies") from error


def _writer(metadata: Mapping[str, Any]) -> str:
    """The field manager that last wrote the spec; empty when unknown."""
    wrote: list[Mapping[str, Any]] = [
        entry
        for entry in metadata.get("managedFields", ())
        if not entry.get("subresource") and "f:spec" in (entry.get("fieldsV1") or {})
    ]
    newest = sorted(wrote, key=lambda entry: str(entry.get("time", "")))[-1:]
    return str(newest[0].get("manager", "")) if newest else ""


class KubernetesPresence:
    """Implements the runtime's port ``Presence``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def serves(self, resource: Gvr) -> bool:
        """Whether the API server serves the kind. Lists at most one object, so the right to list is enough.

        Discovery would not do. An API server that has just started answers lists with 503 until it knows every kind,
        but its discovery may lack a kind for a moment, and the kind would count as absent.

        :raises Transient: the API server does not answer, or cannot list the kind.
        """
        try:
            await anext(self._client.pages(resource.plural, resource.path(), metadata_only=True, limit=1))
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status == 404:
                return False
            raise to_reconcile_error(error, doing=f"listing the {resource.plural}") from error
        return True


TAMPERED: Final = "tampered"
"""Replaces the digest when another client changed the data."""


class KubernetesTemplates:
    """Implements the port ``TemplateLister``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def templates(self) -> Mapping[tuple[str, str], str]:
        """The digest that each template was written with, by (namespace, name).

        :raises Transient: the API server does not answer.
        """
        digests: dict[tuple[str, str], str] = {}
        try:
            async for item in self._client.items("configmaps", selector="=".join(MANAGED_BY), metadata_only=True):
                metadata = item["metadata"]
                digests[metadata["namespace"], metadata["name"]] = _digest(metadata)
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing the templates") from error
        return digests


def _digest(metadata: Mapping[str, Any]) -> str:
    for entry in metadata.get("managedFields", ()):
        if entry.get("manager") != FIELD_MANAGER and "f:data" in (entry.get("fieldsV1") or {}):
            return TAMPERED
    return str((metadata.get("annotations") or {}).get(ANNOTATION_TEMPLATE_DIGEST, ""))
