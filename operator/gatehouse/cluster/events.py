"""Posts Events in the background: one per transition, in a bounded queue, without blocking a reconcile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import uuid4

import structlog

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError

__all__ = ["KubernetesEvents"]

QUEUE_LIMIT: Final = 20_000
"""Some 40 MB of Events. The queue is full only while the API server is down; the newest Events are then dropped."""
POSTERS: Final = 8
MESSAGE_LIMIT: Final = 1024
"""The API server's own limit on an Event's message."""

_log = structlog.get_logger(__name__)


class KubernetesEvents:
    """Implements the port ``EventRecorder``. ``dropped`` is called for each Event that could not be posted."""

    def __init__(
        self,
        client: ApiClient,
        *,
        instance: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        dropped: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._instance = instance
        self._now = now
        self._dropped = dropped
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE_LIMIT)
        self._posters: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts posting."""
        self._posters = [asyncio.create_task(self._post(), name=f"events-{i}") for i in range(POSTERS)]

    async def aclose(self, *, grace: float = 5.0) -> None:
        """Posts the queued Events, for at most ``grace`` seconds, and stops."""
        try:
            await asyncio.wait_for(self._queue.join(), grace)
        except TimeoutError:
            _log.warning("events dropped at stop", count=self._queue.qsize())
        for poster in self._posters:
            poster.cancel()
        await asyncio.gather(*self._posters, return_exceptions=True)

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Queues one Event about an object; ``kind`` is the singular CamelCase kind."""
        try:
            self._queue.put_nowait(self._event(kind, body["metadata"], type_=type_, reason=reason, message=message))
        except asyncio.QueueFull:
            self._dropped()

    def _event(
        self, kind: str, metadata: Mapping[str, Any], *, type_: str, reason: str, message: str
    ) -> dict[str, Any]:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = metadata.get("namespace") or "default"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name'][:200]}.{uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": kind,
                "name": metadata["name"],
                "namespace": metadata.get("namespace", ""),
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": type_,
            "reason": reason[:128],
            "message": message[:MESSAGE_LIMIT],
            "source": {"component": "gatehouse"},
            "reportingComponent": "gatehouse.dev/operator",
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    async def _post(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._client.create("events", event["metadata"]["namespace"], event, metadata_only=True)
            except ApiError as error:
                # A namespace that is being deleted accepts no Events, and they would have no reader.
                _log.info("event refused", status=error.status, reason=error.reason)
                self._dropped()
            except ClusterError:
                self._dropped()
            except Exception as error:  # noqa: BLE001 - one Event that cannot be posted keeps no other one
                _log.warning("event not posted", error=type(error).__name__)
                self._dropped()
            finally:
                self._queue.task_done()
