"""Periodic work for each registry: an error with one registry does not affect the others.

Registries are checked concurrently, so that a silent database does not delay the others. An unexpected error, or an
error that needs a person, is kept as the registry's trouble until a check succeeds. However often the work fails the
same way, the trouble is a condition of the ModelRegistry, one Event, and one log entry, with a traceback if the error
is unexpected. A metric counts each failure.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.faults import place_of
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import EventRecorder, ObjectName
from gatehouse.domain.common.errors import Stalled

__all__ = ["PERIODIC_WORK_FAILING", "RegistryCheck", "RegistrySweep", "RegistryTroubles", "Trouble"]

PERIODIC_WORK_FAILING: Final = "PeriodicWorkFailing"
"""Condition of a ModelRegistry that is True while a trouble stands."""
REGISTRIES: Final = ModelRegistry.info.plural
PATIENCE: Final = 10.0
"""Seconds that a round waits for its checks. A longer check continues, and is not started again meanwhile."""

_log = structlog.get_logger(__name__)

RegistryCheck = Callable[[ModelRegistry, Mapping[str, Any]], Awaitable[bool]]
"""Checks one registry; returns whether work was done. Raises Stalled, and unexpected errors."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The error of a work: the reason of the Event and the condition, and the message."""

    reason: str
    message: str


def _ignore(_name: ObjectName) -> None:
    pass


def _uncounted(_work: str) -> None:
    pass


class RegistryTroubles:
    """The troubles of all registries, by work.

    ``changed`` is called with a registry whose troubles began or ended; ``counted`` is called with the work at each
    failure.
    """

    def __init__(
        self,
        *,
        events: EventRecorder,
        changed: Callable[[ObjectName], None] = _ignore,
        counted: Callable[[str], None] = _uncounted,
    ) -> None:
        self._events = events
        self._changed = changed
        self._counted = counted
        self._troubles: defaultdict[ObjectName, dict[str, Trouble]] = defaultdict(dict)

    def of(self, registry: ObjectName) -> Sequence[Trouble]:
        """The troubles of a registry, by the name of the work."""
        return [trouble for _, trouble in sorted(self._troubles.get(registry, {}).items())]

    def failing(self, work: str) -> int:
        """For how many registries a work fails."""
        return sum(work in troubles for troubles in self._troubles.values())

    def failed(
        self, work: str, trouble: Trouble, registry: ObjectName, body: Mapping[str, Any], error: Exception
    ) -> None:
        """Records that a check failed, with the same trouble as before or with another one."""
        self._counted(work)
        if self._troubles[registry].get(work) == trouble:
            return
        self._troubles[registry][work] = trouble
        seen = {"error": str(error)} if isinstance(error, Stalled) else {"exc_info": error}
        _log.error("periodic work failed", work=work, registry="/".join(registry), **seen)
        self._events.record(
            ModelRegistry.info.kind, body, type_="Warning", reason=trouble.reason, message=trouble.message
        )
        self._changed(registry)

    def ended(self, work: str, registry: ObjectName) -> None:
        """Records that a check succeeded."""
        if self._troubles.get(registry, {}).pop(work, None) is not None:
            _log.info("periodic work succeeds again", work=work, registry="/".join(registry))
            self._changed(registry)

    def keep(self, work: str, registries: Sequence[ObjectName]) -> None:
        """Forgets the troubles of deleted registries."""
        there = frozenset(registries)
        for name in [name for name in self._troubles if name not in there]:
            self._troubles[name].pop(work, None)
            if not self._troubles[name]:
                del self._troubles[name]


class RegistrySweep:
    """One work over all registries.

    ``reason`` is the reason of its troubles, ``doing`` the beginning of their message; ``patience`` bounds a round, in
    seconds.
    """

    def __init__(
        self,
        *,
        work: str,
        reason: str,
        doing: str,
        objects: Objects,
        troubles: RegistryTroubles,
        patience: float = PATIENCE,
    ) -> None:
        self._work = work
        self._reason = reason
        self._doing = doing
        self._objects = objects
        self._troubles = troubles
        self._patience = patience
        self._running: dict[ObjectName, asyncio.Task[None]] = {}

    async def run(self, check: RegistryCheck) -> None:
        """Runs one round. Raises no error of a check, and does not wait for checks of earlier rounds."""
        begun = []
        names = self._objects.reader.names(REGISTRIES)
        self._troubles.keep(self._work, names)
        for name in names:
            if name not in self._running:
                task = asyncio.create_task(self._one(name, check), name=f"{self._work} of {'/'.join(name)}")
                self._running[name] = task
                begun.append(task)
                task.add_done_callback(partial(self._over, name))
        if not begun:
            return
        try:
            await asyncio.wait(begun, timeout=self._patience)
        except asyncio.CancelledError:
            await self.aclose()
            raise

    def _over(self, name: ObjectName, _task: asyncio.Task[None]) -> None:
        self._running.pop(name, None)

    async def aclose(self) -> None:
        """Ends the checks that still run."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, name: ObjectName, check: RegistryCheck) -> None:
        body: Mapping[str, Any] | None = None
        try:
            body = self._objects.reader.get(REGISTRIES, name.namespace, name.name)
            registry = self._objects.get(ModelRegistry, name.namespace, name.name)
            if body is None or registry is None or registry.metadata.deletion_timestamp is not None:
                return
            if await check(registry, body):
                self._troubles.ended(self._work, name)
        except Stalled as error:
            trouble = Trouble(self._reason, f"{self._doing} fails: {error.advice}")
            self._troubles.failed(self._work, trouble, name, body or {"metadata": name._asdict()}, error)
        except Exception as error:  # noqa: BLE001 - it is reported once, and stands as the registry's trouble
            # The error's message is left out: it may hold anything.
            trouble = Trouble(self._reason, f"{self._doing} fails with {place_of(error)}; it is tried again")
            self._troubles.failed(self._work, trouble, name, body or {"metadata": name._asdict()}, error)
