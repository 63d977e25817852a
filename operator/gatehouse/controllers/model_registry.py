"""ModelRegistry: connects, migrates, reports what is reachable, and archives the rows of objects that are gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gatehouse.api.model_registry import ModelRegistry, ModelRegistryStatus, ObjectStore, ObjectStoreStatus
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.controllers.connections import Connections
from gatehouse.controllers.objects import Objects
from gatehouse.controllers.ports import Clock, RegistryRows
from gatehouse.controllers.retirement import object_deleted
from gatehouse.controllers.runner import Result
from gatehouse.domain.conditions import READY, RECONCILING, ConditionState, merge
from gatehouse.domain.errors import ReconcileError, Waiting
from gatehouse.domain.outcome import PROGRESSING_WITH_RETRY, Requeue

__all__ = ["PROBE_INTERVAL", "ModelRegistryController"]

PROBE_INTERVAL: Final = timedelta(seconds=60)
SWEEP_INTERVAL: Final = timedelta(hours=1)
PLURALS: Final[Mapping[str, str]] = {"model": RegisteredModel.info.plural, "version": ModelVersion.info.plural}

_log = structlog.get_logger(__name__)


class ModelRegistryController:
    """Reconciles ModelRegistries. ``namespaces`` are those that are watched; all of them when there are none."""

    kind = ModelRegistry

    def __init__(
        self, *, objects: Objects, connections: Connections, clock: Clock, namespaces: Collection[str] = ()
    ) -> None:
        self._objects = objects
        self._connections = connections
        self._clock = clock
        self._namespaces = frozenset(namespaces)
        self._swept: dict[str, datetime] = {}

    async def reconcile(self, resource: ModelRegistry, body: Mapping[str, Any]) -> Result:  # noqa: ARG002
        """Opens the database, sweeps its rows, probes each store. Raises what the database raises."""
        if resource.requested_at != resource.status.last_handled_reconcile_at:
            self._connections.reread(resource)
        try:
            rows = await self._connections.rows(resource)
            await self._sweep(resource, rows)
            counts = await rows.counts()
        except Waiting:
            # Somebody has to mend the credentials, which are not watched: the next look reads them again.
            self._connections.reread(resource)
            raise
        stores = [await self._probe(resource, store) for store in resource.spec.object_stores]
        states = _states(self._connections.describe(resource), stores)
        generation = resource.metadata.generation
        status = ModelRegistryStatus(
            observed_generation=generation,
            last_handled_reconcile_at=resource.requested_at,
            database=self._connections.describe(resource),
            schema_version=rows.schema_version,
            object_stores=stores,
            models=counts.models,
            versions=counts.versions,
            conditions=merge(resource.status.conditions, states, generation=generation, now=self._clock.now()),
        )
        return Result(status=status, requeue=Requeue(after=PROBE_INTERVAL.total_seconds()))

    async def gone(self, namespace: str, name: str) -> None:
        """The rows stay; what reads them waits for a registry again."""
        self._swept.pop(f"{namespace}/{name}", None)
        self._connections.forget(f"{namespace}/{name}")

    def outage(self, resource: ModelRegistry) -> ModelRegistryStatus:
        """What was established."""
        return resource.status

    def grace(self, resource: ModelRegistry) -> timedelta:  # noqa: ARG002
        """A registry that does not answer is not ready, however long it was."""
        return timedelta(0)

    async def _probe(self, registry: ModelRegistry, store: ObjectStore) -> ObjectStoreStatus:
        try:
            await self._connections.probe(registry, store)
        except ReconcileError as error:
            return ObjectStoreStatus(uri_prefix=store.uri_prefix, reachable=False, message=str(error)[:1024])
        return ObjectStoreStatus(uri_prefix=store.uri_prefix, reachable=True)

    async def _sweep(self, registry: ModelRegistry, rows: RegistryRows) -> None:
        """Archives live rows whose objects are gone: what was deleted while nobody watched."""
        name, now = f"{registry.metadata.namespace}/{registry.metadata.name}", self._clock.now()
        last = self._swept.get(name)
        if last is not None and now - last < SWEEP_INTERVAL:
            return
        reader = self._objects.reader
        orphans = [
            (kind, namespace, object_name)
            async for kind, namespace, object_name in rows.live_objects()
            if (not self._namespaces or namespace in self._namespaces)
            and reader.revision(PLURALS[kind], namespace, object_name) is None
        ]
        for kind, namespace, object_name in orphans:
            change = object_deleted(namespace, object_name, now=now)
            await rows.archive_object(kind, namespace=namespace, name=object_name, change=change)
        if orphans:
            _log.info("archived the rows of objects that are gone", registry=name, rows=len(orphans))
        self._swept[name] = now


def _states(database: str, stores: list[ObjectStoreStatus]) -> list[ConditionState]:
    down = [store for store in stores if not store.reachable]
    database_ready = ConditionState("DatabaseReady", "True", "Connected", f"connected to {database}")
    if not down:
        reachable = ConditionState("ObjectStoresReachable", "True", "Reachable", f"{len(stores)} object stores answer")
        return [
            ConditionState(READY, "True", "Connected", "the database and every object store answer"),
            database_ready,
            reachable,
        ]
    message = "; ".join(f"{store.uri_prefix}: {store.message}" for store in down)
    return [
        ConditionState(READY, "False", "ObjectStoreUnreachable", message),
        ConditionState(RECONCILING, "True", PROGRESSING_WITH_RETRY, message),
        database_ready,
        ConditionState("ObjectStoresReachable", "False", "ObjectStoreUnreachable", message),
    ]
