"""Checks that go on in the background, so that a large artifact holds no worker of the queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from gatehouse.controllers.ports import Clock
from gatehouse.controllers.slots import CheckSlots
from gatehouse.controllers.verification import CheckRequest, CheckResult, Verification
from gatehouse.domain.artifact import CheckProgress
from gatehouse.domain.errors import ReconcileError, Transient
from gatehouse.domain.records import FileRecord

__all__ = ["PROGRESS_SECONDS", "CheckInterrupted", "VerificationPool", "Wait"]

PROGRESS_SECONDS = 5.0
"""How often progress is told, and files hashed so far are saved."""

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class Wait(Protocol):
    """Waits for a task, but no longer than ``seconds``; leaves it running."""

    def __call__(self, task: asyncio.Task[Any], seconds: float, /) -> Awaitable[object]: ...


async def _wait(task: asyncio.Task[Any], seconds: float) -> None:
    await asyncio.wait({task}, timeout=seconds)


@dataclass(frozen=True, slots=True)
class CheckInterrupted:
    """A check that an error ended after the store had shown another listing than the one that was verified."""

    error: ReconcileError


@dataclass(slots=True)
class _Running:
    request: CheckRequest
    verification: Verification
    task: asyncio.Task[CheckResult]
    watcher: asyncio.Task[None] | None = None
    unsaved: list[FileRecord] = field(default_factory=list)

    async def stop(self) -> None:
        tasks: list[asyncio.Task[Any]] = [self.task, *([self.watcher] if self.watcher else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class VerificationPool(Generic[K]):
    """One check at a time for each key.

    ``on_progress`` is called with the key of a check that outlasted its caller's patience: when it ends, and when it
    has come further, at most every five seconds.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        on_progress: Callable[[K], None],
        slots: CheckSlots | None = None,
        wait: Wait = _wait,
    ) -> None:
        self._clock = clock
        self._on_progress = on_progress
        self._slots = slots or CheckSlots()
        self._wait = wait
        self._running: dict[K, _Running] = {}

    async def check(
        self, key: K, request: CheckRequest, *, patience: float
    ) -> CheckResult | CheckProgress | CheckInterrupted:
        """The outcome, if it comes within ``patience`` seconds, or how far the check is.

        The call after the end takes the outcome away. A request that differs from the running one replaces it.
        Raises what the check raised while the store had shown nothing else than before, and Transient (CheckStopped)
        if it was cancelled meanwhile.
        """
        running = self._running.get(key)
        if running is not None and running.request != request:
            await self.cancel(key)
            running = None
        if running is None:
            running = self._running[key] = self._start(key, request)
        if not running.task.done():
            await self._wait(running.task, patience)
        if running.task.done():
            return self._take(key, running)
        if running.watcher is None:
            running.watcher = asyncio.create_task(self._watch(key, running), name=f"watch check of {key}")
        return running.verification.progress

    def running(self, key: K) -> bool:
        """Whether a check of the key runs, or has an outcome that nobody has taken yet."""
        return key in self._running

    def progress(self, key: K) -> CheckProgress | None:
        """How far the check of a key is, if one runs."""
        running = self._running.get(key)
        return running.verification.progress if running is not None and not running.task.done() else None

    async def cancel(self, key: K) -> None:
        """Ends the check of a key, if there is one, and forgets its outcome."""
        running = self._running.pop(key, None)
        if running is not None:
            await running.stop()

    async def aclose(self) -> None:
        """Ends every check."""
        running = list(self._running.values())
        self._running.clear()
        await asyncio.gather(*(each.stop() for each in running))

    def _start(self, key: K, request: CheckRequest) -> _Running:
        verification = Verification(request, clock=self._clock, slots=self._slots)
        task = asyncio.create_task(verification.run(), name=f"check of {key}")
        task.add_done_callback(_retrieve)
        return _Running(request, verification, task)

    def _take(self, key: K, running: _Running) -> CheckResult | CheckInterrupted:
        if self._running.get(key) is running:
            del self._running[key]
        if running.task.cancelled():
            raise Transient(reason="CheckStopped", message="the check was stopped before it came to an end")
        try:
            return running.task.result()
        except ReconcileError as error:
            if running.verification.progress.differs:
                return CheckInterrupted(error)
            raise

    async def _watch(self, key: K, running: _Running) -> None:
        told = running.verification.progress
        while not running.task.done():
            await self._wait(running.task, PROGRESS_SECONDS)
            if not running.task.done():
                await _save(running)
            if running.task.done() or running.verification.progress != told:
                told = running.verification.progress
                self._on_progress(key)


async def _save(running: _Running) -> None:
    running.unsaved += running.verification.take_fresh()
    if not running.unsaved or running.request.save is None:
        return
    try:
        await running.request.save(tuple(running.unsaved))
    except Exception as error:  # noqa: BLE001 - whoever waits for the check must hear of its end
        # The rows only spare a later check some work, and the next round tries again.
        said = str(error) if isinstance(error, ReconcileError) else type(error).__name__
        _log.warning("files checked so far are not saved: %s", said)
    else:
        running.unsaved.clear()


def _retrieve(task: asyncio.Task[CheckResult]) -> None:
    """Keeps asyncio from complaining about an error that nobody came to ask for."""
    if not task.cancelled():
        task.exception()
