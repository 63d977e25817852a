"""Workers that reconcile the keys of one kind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import structlog

from gatehouse.runtime.clock import Clock
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.shares import Shares
from gatehouse.runtime.workqueue import Backoff, QueueClosed, WorkQueue

__all__ = ["Controller", "Groups", "KeyOutcome", "Reconcile", "jittered"]

log = structlog.get_logger(__name__)


class KeyOutcome(Protocol):
    """How a reconcile ended.

    ``retry`` requests another reconcile with backoff, no sooner than ``after`` seconds if set. Without ``retry`` the
    key is reconciled again after ``after`` seconds, or only after a change when ``after`` is None.
    """

    @property
    def retry(self) -> bool: ...

    @property
    def after(self) -> float | None: ...


class Reconcile(Protocol):
    """Reconciles one object, which may be deleted."""

    def __call__(self, namespace: str, name: str, /) -> Awaitable[KeyOutcome]: ...


def jittered(interval: float, *, draw: Callable[[], float] = random.random) -> float:
    """The interval times a random factor of 0.9 to 1.1, so that objects that start together spread out."""
    return interval * (0.9 + 0.2 * draw())


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Groups of keys that wait for the same dependency; no group holds all workers. See `gatehouse.runtime.shares`.

    ``of`` returns the current group of a key, or None; ``count`` returns the current maximum number of groups.
    """

    of: Callable[[ObjectKey], Hashable | None]
    count: Callable[[], int]


class Controller:
    """The queue and the workers of one kind.

    `run` returns after `close` was called and the reconciles in flight have ended. The controller logs an exception of
    a reconcile and retries the key with backoff; the worker continues. The controller forgets a key whose reconcile is
    cancelled from outside: reconciles are level-triggered, and the next process lists the object again.
    """

    def __init__(
        self,
        *,
        kind: str,
        reconcile: Reconcile,
        workers: int,
        clock: Clock,
        metrics: EngineMetrics,
        backoff: Backoff | None = None,
        groups: Groups | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"{kind} has {workers} workers, expected at least 1")
        self.kind = kind
        self.queue: WorkQueue[ObjectKey] = WorkQueue(
            clock=clock,
            backoff=backoff,
            on_wait=lambda seconds: metrics.waited(kind, seconds),
            on_retry=lambda: metrics.retried(kind),
            shares=None if groups is None else Shares(workers=workers, group=groups.of, groups=groups.count),
        )
        self._reconcile = reconcile
        self._workers = workers
        self._clock = clock
        self._metrics = metrics
        self._started_at: float | None = None
        self._export_gauges()

    async def run(self) -> None:
        """Process keys until closed. Cancelling it cancels the reconciles in flight."""
        self._started_at = self._clock.now()
        async with asyncio.TaskGroup() as workers:
            for number in range(self._workers):
                workers.create_task(self._work(), name=f"{self.kind} worker {number}")

    def close(self) -> None:
        """Stop accepting keys."""
        self.queue.close()

    def stalled_for(self) -> float:
        """Seconds for which a key was ready and no worker made progress; 0 before the workers run."""
        if self._started_at is None:
            return 0.0
        return min(self.queue.stalled_for(), self._clock.now() - self._started_at)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self._process(key)
            finally:
                self.queue.done(key)

    async def _process(self, key: ObjectKey) -> None:
        started = self._clock.now()
        with structlog.contextvars.bound_contextvars(kind=key.kind, namespace=key.namespace, name=key.name):
            try:
                outcome = self._requeue(key, await self._reconcile(key.namespace, key.name))
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                log.warning("reconcile was cancelled from within and is retried")
                outcome = self._back_off(key)
            except Exception:
                log.exception(
                    "reconcile failed unexpectedly and is retried",
                    kind=key.kind,
                    namespace=key.namespace,
                    name=key.name,
                )
                outcome = self._back_off(key)
        self._metrics.reconciled(self.kind, outcome, self._clock.now() - started)

    def _requeue(self, key: ObjectKey, outcome: KeyOutcome) -> str:
        if outcome.retry:
            self.queue.add_rate_limited(key, at_least=outcome.after or 0.0)
            return "retry"
        self.queue.forget(key)
        if outcome.after is None:
            return "done"
        self.queue.add_after(key, outcome.after)
        return "later"

    def _back_off(self, key: ObjectKey) -> str:
        self.queue.add_rate_limited(key)
        return "error"

    def _export_gauges(self) -> None:
        gauge, queue = self._metrics.gauge, self.queue
        gauge("gatehouse_queue_depth", "Keys that wait for a worker.", self.kind, lambda: queue.depth)
        gauge("gatehouse_queue_delayed", "Keys that wait for their time.", self.kind, lambda: queue.delayed)
        gauge(
            "gatehouse_queue_set_aside",
            "Ready keys that wait for their database's share of the workers.",
            self.kind,
            lambda: queue.set_aside,
        )
        gauge("gatehouse_queue_oldest_seconds", "Longest wait of a ready key.", self.kind, queue.oldest_wait)
        gauge(
            "gatehouse_queue_unfinished_seconds",
            "Longest time a worker has held its key.",
            self.kind,
            queue.longest_processing,
        )
