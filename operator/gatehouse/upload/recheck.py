"""Requests an immediate check of the versions of a URI from the operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from gatehouse.api.meta import ANNOTATION_RECONCILE_REQUESTED_AT
from gatehouse.api.model_version import ModelVersion
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.common.locations import folder_of

__all__ = ["ask_for_check"]

VERSIONS: Final = ModelVersion.info.plural
_MOST_AT_ONCE: Final = 8


async def ask_for_check(client: ApiClient, uri: str, *, namespace: str) -> Sequence[str]:
    """Annotates the ModelVersions of a URI in every namespace, or in ``namespace`` if the person may not list all.

    Returns the annotated versions as namespace/name. The operator checks all other versions at their next check. Raises
    ClusterError when the cluster does not answer.
    """
    versions = await _of(client, uri, namespace)
    asked: list[str] = []
    at_once = asyncio.Semaphore(_MOST_AT_ONCE)

    async def ask(metadata: dict[str, Any]) -> None:
        async with at_once:
            with suppress(ApiError):
                await _annotate(client, metadata["namespace"], metadata["name"])
                asked.append(f"{metadata['namespace']}/{metadata['name']}")

    await asyncio.gather(*map(ask, versions))
    return sorted(asked)


async def _of(client: ApiClient, uri: str, namespace: str) -> list[dict[str, Any]]:
    for where in ("", namespace):
        with suppress(ApiError):
            return [body["metadata"] async for body in _listed(client, uri, where)]
    return []


async def _listed(client: ApiClient, uri: str, namespace: str) -> AsyncIterator[dict[str, Any]]:
    async for body in client.items(VERSIONS, namespace):
        if folder_of(str(body["spec"]["artifact"]["uri"])) == folder_of(uri):
            yield body


async def _annotate(client: ApiClient, namespace: str, name: str) -> None:
    annotations = {ANNOTATION_RECONCILE_REQUESTED_AT: datetime.now(UTC).isoformat()}
    await client.patch(
        VERSIONS,
        namespace,
        name,
        {"metadata": {"annotations": annotations}},
        kind="application/merge-patch+json",
        metadata_only=True,
    )
