"""Compares rows and objects of a registry when its database opens, and archives rows whose objects were deleted.

A live row without an object belongs to an object that was deleted while no operator ran: the row is archived. An object
that names a missing row has outlived its database, which was emptied or restored from an older backup. The row is then
created again from the object. Until then no other row may get its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Final, Literal

import structlog

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.api.wire import REGISTRY_ID
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.indexes import BY_REGISTERED, registered_key
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectReader, RegistryRows, UtcClock
from gatehouse.domain.audit.records import SYSTEM_ACTOR
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.common.readable import member
from gatehouse.domain.version.records import KnownIds, StateChange
from gatehouse.domain.version.row_recovery import row_id
from gatehouse.runtime.refs import ObjectKey

__all__ = ["RowSweep", "retire"]

RowKind = Literal["model", "version"]
Held = tuple[RowKind, str, str]
"""Kind, namespace and name of the object that holds a row."""
KINDS: Final[Mapping[RowKind, type[RegisteredModel | ModelVersion]]] = {
    "model": RegisteredModel,
    "version": ModelVersion,
}

_log = structlog.get_logger(__name__)


class RowSweep:
    """``namespaces`` are the watched ones (empty: all of them); ``enqueue`` enqueues an object."""

    def __init__(
        self,
        *,
        reader: ObjectReader,
        enqueue: Callable[[ObjectKey], None],
        clock: UtcClock,
        namespaces: Collection[str] = (),
    ) -> None:
        self._reader = reader
        self._enqueue = enqueue
        self._clock = clock
        self._namespaces = frozenset(namespaces)
        self._lost: dict[str, frozenset[Held]] = {}

    async def __call__(self, registry: ModelRegistry, rows: RegistryRows) -> None:
        """Returns when no other row can get the id of a row that must be created again. Raises database errors."""
        name = f"{registry.metadata.namespace}/{registry.metadata.name}"
        # Read before the rows: an object that is registered by then has its row by then.
        registered = self._registered(name, archived=False)
        live = {held async for held in rows.live_objects()}
        await self._archive(name, rows, live)
        await self._restore(name, rows, registered - live)

    def _registered(self, name: str, *, archived: bool) -> frozenset[Held]:
        value = registered_key(name, archived=archived)
        return frozenset(
            (kind, *holder)
            for kind, resource in KINDS.items()
            for holder in self._reader.select(resource.info.plural, BY_REGISTERED, value)
        )

    async def _archive(self, name: str, rows: RegistryRows, live: Iterable[Held]) -> None:
        now = self._clock.now()
        orphans = [
            held
            for held in live
            if (not self._namespaces or held[1] in self._namespaces)
            and self._reader.revision(KINDS[held[0]].info.plural, held[1], held[2]) is None
        ]
        if not orphans:
            return
        await asyncio.gather(
            *(
                rows.archive_object(kind, namespace=namespace, name=of, change=object_deleted(namespace, of, now=now))
                for kind, namespace, of in sorted(orphans)
            )
        )
        _log.info("archived the rows of objects that are gone", registry=name, rows=len(orphans))

    async def _restore(self, name: str, rows: RegistryRows, missing: Collection[Held]) -> None:
        """Reserves the ids of missing rows, and enqueues the objects of the registry.

        Existing rows may be older than their objects, so every object of the registry is enqueued once. An object whose
        row cannot be created again reports that itself; later calls enqueue only such objects.
        """
        lost = frozenset(held for held in missing if self._id_of(held) is not None)
        known_before, self._lost[name] = self._lost.get(name, frozenset()), lost
        if not lost:
            return
        everything = self._registered(name, archived=False) | self._registered(name, archived=True)
        again = lost if lost <= known_before else everything
        _log.warning("rows of registered objects are missing", registry=name, rows=len(lost), looked_at=len(again))
        await rows.reserve(KnownIds(model=self._highest("model", again), version=self._highest("version", again)))
        for kind, *of in sorted(again):
            self._enqueue(ObjectKey(KINDS[kind].info.plural, *of))

    def _highest(self, kind: RowKind, among: Iterable[Held]) -> int | None:
        ids = (self._id_of(held) for held in among if held[0] == kind)
        return max((id_ for id_ in ids if id_ is not None), default=None)

    def _id_of(self, held: Held) -> int | None:
        kind, namespace, name = held
        body = self._reader.get(KINDS[kind].info.plural, namespace, name)
        known = member(body, *REGISTRY_ID)
        return row_id(known) if isinstance(known, str) else None


async def retire(
    kind: Literal["model", "version"],
    namespace: str,
    name: str,
    *,
    objects: Objects,
    connections: Connections,
    now: datetime,
) -> None:
    """Archives the live row of the object, in whichever registry has it.

    Raises the databases' errors, after all were asked. The databases are asked concurrently: one that is down or silent
    does not delay the others.
    """
    change = object_deleted(namespace, name, now=now)

    async def archive(registry: ModelRegistry) -> ReconcileError | None:
        try:
            rows = await connections.rows(registry)
            await rows.archive_object(kind, namespace=namespace, name=name, change=change)
        except ReconcileError as error:
            return error
        return None

    there = (objects.get(ModelRegistry, *where) for where in objects.reader.names(ModelRegistry.info.plural))
    errors = await asyncio.gather(*(archive(registry) for registry in there if registry is not None))
    down = next((error for error in errors if error is not None), None)
    if down is not None:
        raise down


def object_deleted(namespace: str, name: str, *, now: datetime) -> StateChange:
    """The history entry of a row whose object was deleted."""
    return StateChange(
        at=now,
        actor=SYSTEM_ACTOR,
        before=None,
        after="Archived",
        digest=None,
        reason="ObjectDeleted",
        message=f"{namespace}/{name} is not in the cluster any more",
    )
