"""Lists the InferenceServices of the cluster, where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.domain.serving import ANNOTATION_DIGEST, Served

__all__ = ["KubernetesServices"]


class KubernetesServices:
    """Implements the port ``ServiceLister``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def services(self) -> Mapping[str, frozenset[Served]]:
        """Namespace to what is served. A service that is malformed serves nothing.

        :raises Transient: the API server does not answer.
        """
        found: dict[str, set[Served]] = {}
        try:
            async for item in self._client.items("inferenceservices"):
                uri = _at(item, "spec", "predictor", "model", "storageUri")
                if uri is not None:
                    digest = _at(item, "metadata", "annotations", ANNOTATION_DIGEST) or ""
                    found.setdefault(item["metadata"]["namespace"], set()).add(Served(uri, digest))
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status == 404:
                return {}
            raise to_reconcile_error(error, doing="listing the InferenceServices") from error
        return {namespace: frozenset(served) for namespace, served in found.items()}


def _at(item: Mapping[str, Any], *path: str) -> str | None:
    value: Any = item
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None
