"""OpenShift AI's kind ModelRegistry, by its API. The kind may be absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.cluster.writer import FIELD_MANAGER, replace_status

__all__ = ["REGISTRIES", "KubernetesOpenDataHub"]

REGISTRIES: Final = "modelregistries.modelregistry.opendatahub.io"
_OWN: Final = "app.kubernetes.io/part-of=gatehouse"
_MOST: Final = 1_000
_ABSENT: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN})
"""The right to list the kind comes with the component ``opendatahub``. Without it the objects are none of ours."""


class KubernetesOpenDataHub:
    """Implements the port ``OpenDataHubApi``. ``fenced`` writes only while this process leads."""

    def __init__(self, client: ApiClient, *, fenced: ApiClient) -> None:
        self._client = client
        self._fenced = fenced

    async def registries(self) -> Sequence[Mapping[str, Any]]:
        """The objects with the label of Gatehouse's objects, at most a thousand; none where the kind is absent.

        :raises Transient: the API server does not answer.
        """
        found: list[Mapping[str, Any]] = []
        try:
            async for body in self._client.items(REGISTRIES, selector=_OWN):
                found.append(body)
                if len(found) == _MOST:
                    break
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status in _ABSENT:
                return ()
            raise to_reconcile_error(error, doing=f"listing {REGISTRIES}") from error
        return found

    async def create(self, registry: Mapping[str, Any]) -> None:
        """Creates a ModelRegistry of Gatehouse, unless one of the name exists.

        :raises ReconcileError: the API server refuses, or does not answer.
        """
        namespace, name = registry["metadata"]["namespace"], registry["metadata"]["name"]
        try:
            await self._fenced.create(
                ModelRegistry.info.plural,
                namespace,
                registry,
                params={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
                metadata_only=True,
            )
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status == HTTPStatus.CONFLICT:
                return
            raise to_reconcile_error(error, doing=f"creating ModelRegistry {namespace}/{name}") from error

    async def write_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Replaces the status by a JSON patch that tests the resourceVersion.

        :raises ReconcileError: another client changed the object, the API server refuses, or does not answer.
        """
        metadata = body["metadata"]
        try:
            await replace_status(self._fenced, REGISTRIES, body, status)
        except ClusterError as error:
            doing = f"writing the status of {REGISTRIES} {metadata['namespace']}/{metadata['name']}"
            raise to_reconcile_error(error, doing=doing) from error
