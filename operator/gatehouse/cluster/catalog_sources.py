"""OpenShift AI's ConfigMap of the catalog's sources, which its dashboard and other programs write as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.cluster.writer import FIELD_MANAGER

__all__ = ["CATALOG_SOURCES", "KubernetesCatalogSources"]

CATALOG_SOURCES: Final = "model-catalog-sources"


class KubernetesCatalogSources:
    """Implements the port ``CatalogConfigMaps``. Never creates the ConfigMap."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def read(self, namespace: str) -> Mapping[str, Any] | None:
        """The ConfigMap; None where the namespace has none.

        :raises Transient: the API server does not answer, or forbids the read.
        """
        try:
            return await self._client.get("configmaps", namespace, CATALOG_SOURCES)
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status == 404:
                return None
            raise to_reconcile_error(error, doing=f"reading {namespace}/{CATALOG_SOURCES}") from error

    async def put_data(self, config_map: Mapping[str, Any], key: str, text: str) -> Mapping[str, Any]:
        """Applies the own key server side; the uid refuses a ConfigMap that is gone.

        :raises Superseded: the ConfigMap is another one by now.
        """
        metadata = config_map["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CATALOG_SOURCES, "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "data": {key: text},
        }
        return await self._patch(metadata, body, apply=True)

    async def replace_data(self, config_map: Mapping[str, Any], key: str, text: str) -> None:
        """Replaces a key by a JSON patch that tests the state from which the text was computed.

        :raises Superseded: another program has changed the ConfigMap.
        """
        metadata = config_map["metadata"]
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
            {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "add", "path": f"/data/{key}", "value": text},
        ]
        await self._patch(metadata, patch, apply=False)

    async def _patch(self, metadata: Mapping[str, Any], body: object, *, apply: bool) -> dict[str, Any]:
        namespace = metadata["namespace"]
        try:
            return await self._client.patch(
                "configmaps",
                namespace,
                CATALOG_SOURCES,
                body,
                kind="application/apply-patch+yaml" if apply else "application/json-patch+json",
                params={"fieldManager": FIELD_MANAGER} | ({"force": "true"} if apply else {}),
            )
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"writing {namespace}/{CATALOG_SOURCES}") from error
