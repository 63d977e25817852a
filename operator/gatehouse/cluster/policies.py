"""With which programs the governance policies were written, from what the API server keeps beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.cluster.client import ApiClient, ClusterError
from gatehouse.cluster.errors import to_reconcile_error

__all__ = ["KubernetesPolicies"]


class KubernetesPolicies:
    """Implements the port ``PolicyWriters``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def writers(self) -> Mapping[str, str]:
        """Field manager that last wrote the spec of each policy, by the policy's name.

        :raises Transient: the API server does not answer.
        """
        try:
            items = self._client.items("governancepolicies", metadata_only=True)
            return {item["metadata"]["name"]: _writer(item["metadata"]) async for item in items}
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing the policies") from error


def _writer(metadata: Mapping[str, Any]) -> str:
    """Empty when nothing tells."""
    wrote: list[Mapping[str, Any]] = [
        entry
        for entry in metadata.get("managedFields", ())
        if not entry.get("subresource") and "f:spec" in (entry.get("fieldsV1") or {})
    ]
    newest = sorted(wrote, key=lambda entry: str(entry.get("time", "")))[-1:]
    return str(newest[0].get("manager", "")) if newest else ""
