"""Lists the InferenceServices of the cluster, where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error

__all__ = ["KubernetesServices"]


class KubernetesServices:
    """Implements the port ``ServiceLister``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def services(self) -> Mapping[str, frozenset[str]]:
        """Namespace to storage URIs. A service that is malformed names none.

        :raises Transient: the API server does not answer.
        """
        found: dict[str, set[str]] = {}
        try:
            async for item in self._client.items("inferenceservices"):
                uri = _storage_uri(item)
                if uri is not None:
                    found.setdefault(item["metadata"]["namespace"], set()).add(uri)
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status == 404:
                return {}
            raise to_reconcile_error(error, doing="listing the InferenceServices") from error
        return {namespace: frozenset(uris) for namespace, uris in found.items()}


def _storage_uri(item: Mapping[str, Any]) -> str | None:
    value: Any = item
    for part in ("spec", "predictor", "model", "storageUri"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None
