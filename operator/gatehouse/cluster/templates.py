"""Lists the serving templates that are in the cluster, without what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gatehouse.cluster.client import ApiClient, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.cluster.writer import FIELD_MANAGER
from gatehouse.domain.serving_text import ANNOTATION_TEMPLATE_DIGEST, MANAGED_BY

__all__ = ["KubernetesTemplates"]

TAMPERED: Final = "tampered"
"""Stands where the digest would: somebody else's hand was on the data."""


class KubernetesTemplates:
    """Implements the port ``TemplateLister``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def templates(self) -> Mapping[tuple[str, str], str]:
        """(namespace, name) of each template to the digest it was written with.

        :raises Transient: the API server does not answer.
        """
        found: dict[tuple[str, str], str] = {}
        try:
            async for item in self._client.items("configmaps", selector="=".join(MANAGED_BY), metadata_only=True):
                metadata = item["metadata"]
                found[metadata["namespace"], metadata["name"]] = _digest(metadata)
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing the templates") from error
        return found


def _digest(metadata: Mapping[str, Any]) -> str:
    for entry in metadata.get("managedFields", ()):
        if entry.get("manager") != FIELD_MANAGER and "f:data" in (entry.get("fieldsV1") or {}):
            return TAMPERED
    return str((metadata.get("annotations") or {}).get(ANNOTATION_TEMPLATE_DIGEST, ""))
