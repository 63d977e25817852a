"""Hints of object stores: which versions are looked at early, and how often at most.

The server leaves the folders in which a store announced a change (:mod:`gatehouse.registry.hints`). A hint makes the
listing of the artifact due and is worth nothing else: whatever the version becomes follows from the store's own answer.

Stores announce each object, and an upload has many. A version is therefore looked at when its folder was quiet for a
moment, and now and then while the upload goes on. However many hints come, ``BURST`` looks are made at once, and then
one in ``SPACING``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.indexes import BY_SERVED
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectName, UtcClock
from gatehouse.controllers.registry_sweep import RegistrySweep, RegistryTroubles
from gatehouse.domain.admission.contest import folders_above
from gatehouse.domain.common.errors import ReconcileError, Stalled

__all__ = ["BURST", "HINT_INTERVAL", "QUIET", "SPACING", "HintSweep", "StoreHints"]

HINT_INTERVAL: Final = 0.25
"""Seconds between two looks for hints of the registries that take events."""
QUIET: Final = timedelta(seconds=0.2)
LONGEST_WAIT: Final = timedelta(seconds=2)
"""While hints keep coming, a version is due so long after the first of them."""
BURST: Final = 10
SPACING: Final = timedelta(seconds=3)
LOOK_AGAIN: Final = timedelta(seconds=10)
"""The wait after an outage of the database."""
DEEPEST: Final = 64
"""Folders above an object that may be an artifact's."""
VERSIONS: Final = ModelVersion.info.plural
WORK: Final = "store hints"

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Waiting:
    first: datetime
    last: datetime


class StoreHints:
    """The hinted versions of a process, in memory: a lost hint costs the time until the next regular check."""

    def __init__(self) -> None:
        self._waiting: dict[ObjectName, _Waiting] = {}
        self._ripe: set[ObjectName] = set()
        self._looks: dict[ObjectName, datetime] = {}
        """When the version would have used up no look: each look moves the time ahead by the spacing."""

    def note(self, version: ObjectName, *, now: datetime) -> None:
        """The store announced a change in the folder of a version."""
        waiting = self._waiting.setdefault(version, _Waiting(now, now))
        waiting.last = now

    def ripen(self, *, now: datetime) -> Sequence[ObjectName]:
        """The versions to look at now."""
        due = [version for version, waiting in self._waiting.items() if self._is_due(version, waiting, now)]
        for version in due:
            del self._waiting[version]
            self._looks[version] = max(self._looks.get(version, now), now) + SPACING
        self._ripe.update(due)
        for version in [version for version, until in self._looks.items() if until <= now]:
            del self._looks[version]
        return due

    def take(self, version: ObjectName) -> bool:
        """Whether a look at the version is due because of hints. Each look is taken once."""
        ripe = version in self._ripe
        self._ripe.discard(version)
        return ripe

    def _is_due(self, version: ObjectName, waiting: _Waiting, now: datetime) -> bool:
        # A time ahead was noted before the machine's clock was set back.
        quiet = not waiting.last <= now < waiting.last + QUIET or not now < waiting.first + LONGEST_WAIT
        ahead = self._looks.get(version, now) - now
        return quiet and (ahead <= SPACING * (BURST - 1) or ahead > SPACING * (BURST + 1))


class HintSweep:
    """Takes the hints of each registry that has ``spec.hooks``, and enqueues the versions that hold such a folder."""

    def __init__(
        self,
        *,
        objects: Objects,
        connections: Connections,
        hints: StoreHints,
        enqueue: Callable[[ObjectName], None],
        clock: UtcClock,
        troubles: RegistryTroubles,
    ) -> None:
        self._objects = objects
        self._connections = connections
        self._hints = hints
        self._enqueue = enqueue
        self._clock = clock
        self._each = RegistrySweep(
            work=WORK,
            reason="StoreEventsFailed",
            doing="events of object stores have no effect: reading their hints",
            objects=objects,
            troubles=troubles,
        )
        self._put_off: dict[ObjectName, datetime] = {}

    async def sweep(self) -> None:
        """One look."""
        await self._each.run(self._look)
        for version in self._hints.ripen(now=self._clock.now()):
            self._enqueue(version)

    async def _look(self, registry: ModelRegistry, _body: Mapping[str, Any]) -> bool:
        if registry.spec.hooks is None:
            return False
        name, now = ObjectName(registry.metadata.namespace, registry.metadata.name), self._clock.now()
        # A time further ahead was set before the machine's clock was set back.
        if now < self._put_off.get(name, now) <= now + LOOK_AGAIN:
            return False
        self._put_off[name] = now + LOOK_AGAIN
        try:
            folders = await (await self._connections.rows(registry)).take_hints()
        except Stalled:
            raise
        except ReconcileError as error:
            _log.warning("hints of stores not read", registry="/".join(name), reason=error.reason)
            return False
        del self._put_off[name]
        for folder in folders:
            for version in self._versions(registry, folder):
                self._hints.note(version, now=now)
        return True

    def _versions(self, registry: ModelRegistry, folder: str) -> Iterator[ObjectName]:
        """The versions of the registry whose artifact is the folder or one above it."""
        for uri in [folder, *list(folders_above(folder))[:DEEPEST]]:
            for name in self._objects.reader.select(VERSIONS, BY_SERVED, uri):
                version = self._objects.get(ModelVersion, *name)
                if version is None:
                    continue
                kept = self._objects.registry_of_version(version, self._objects.model_of(version))
                if isinstance(kept, ModelRegistry) and kept.metadata.uid == registry.metadata.uid:
                    yield name
