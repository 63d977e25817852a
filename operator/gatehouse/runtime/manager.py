"""Starts health, leadership, informer and workers, in that order, and stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from gatehouse.runtime.cache import Caches
from gatehouse.runtime.clock import Clock, LoopClock
from gatehouse.runtime.controller import Controller, Groups, Reconcile
from gatehouse.runtime.health import Check, HealthServer, LoopLag, stall_check
from gatehouse.runtime.informer import EventSource, Informer
from gatehouse.runtime.leader import Leader
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.periodic import Periodic
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.resync import MetadataLister, Sweeper
from gatehouse.runtime.watches import Watch
from gatehouse.runtime.workqueue import Backoff

__all__ = ["Manager", "ManagerOptions", "Reconciler"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """How one kind is reconciled: the number of workers, and the backoff if it differs from the default.

    ``groups`` limits the workers that keys with the same dependency hold.
    """

    reconcile: Reconcile
    workers: int = 4
    backoff: Backoff | None = None
    groups: Groups | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """Times are seconds.

    ``health_address`` is ``host:port``, or 0 for none. ``grace`` is the time for reconciles in flight to end when the
    process stops. ``stall_limit`` is the time for which a key may be ready without progress of any worker before
    liveness fails. ``standby_ready`` says whether a replica that waits for leadership reports itself ready.
    """

    namespaces: tuple[str, ...] = ()
    health_address: str = "0"
    grace: float = 20.0
    stall_limit: float = 300.0
    lag_limit: float = 10.0
    sweep_interval: float = 600.0
    sweep_settle: float = 5.0
    standby_ready: bool = True
    backoff: Backoff = field(default_factory=Backoff)


class Manager:
    """Runs the controllers of a process.

    Controllers may enqueue keys of each other, so the manager exists before them: `add` each of them, then `run`.
    ``optional`` are the sources of optional kinds. ``leader`` is None for a process that needs no election; ``lister``
    is None for no sweeps.
    """

    def __init__(
        self,
        *,
        watches: Iterable[Watch],
        caches: Caches,
        source: EventSource,
        optional: Iterable[EventSource] = (),
        metrics: EngineMetrics,
        leader: Leader | None = None,
        lister: MetadataLister | None = None,
        options: ManagerOptions | None = None,
        readiness: Mapping[str, Check] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._watches = tuple(watches)
        self._caches = caches
        self._reconcilers: dict[str, Reconciler] = {}
        self._sources = (source, *optional)
        self._metrics = metrics
        self._leader = leader
        self._lister = lister
        self._periodic: list[Periodic] = []
        self._options = options or ManagerOptions()
        self._readiness = dict(readiness or {})
        self._clock = clock or LoopClock()
        self._lag = LoopLag()
        self._controllers: dict[str, Controller] = {}
        self._informer: Informer | None = None
        self._stopping = False
        self.health_port = 0

    def add(self, kind: str, reconciler: Reconciler) -> None:
        """Add the reconciler of a kind, before `run`."""
        self._reconcilers[kind] = reconciler

    def add_periodic(self, periodic: Periodic) -> None:
        """Add periodic work, before `run`."""
        self._periodic.append(periodic)

    @property
    def idle(self) -> bool:
        """Whether the caches are complete and no controller has a key that is ready or being processed."""
        return (
            self._informer is not None
            and self._informer.synced.is_set()
            and all(controller.queue.idle for controller in self._controllers.values())
        )

    def enqueue(self, key: ObjectKey) -> None:
        """Enqueue the key. Keys of kinds without a controller are ignored."""
        if (controller := self._controllers.get(key.kind)) is not None:
            controller.queue.add(key)

    def set_aside(self, group: Hashable) -> int:
        """How many keys of all kinds wait for their group's share of the workers."""
        return sum(controller.queue.set_aside_of(group) for controller in self._controllers.values())

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set. Raises `LeadershipLost` when the lease is lost.

        Raises `ValueError` when a reconciled watch has no reconciler, or a reconciler no such watch.
        """
        self._build()
        async with self._health_server() as health, _background(self._lag.run()):
            self.health_port = health.port
            if self._leader is None:
                await self._lead(stop)
                return
            if not await _unless(stop, self._leader.acquire()):
                return
            self._metrics.leading(leads=True)
            try:
                await self._lead(stop)
            finally:
                self._metrics.leading(leads=False)
                await self._leader.release()

    def _build(self) -> None:
        unknown = {watch.kind for watch in self._watches if watch.reconciled} ^ set(self._reconcilers)
        if unknown:
            raise ValueError(f"each reconciled watch needs a reconciler and the reverse: {sorted(unknown)}")
        self._controllers = {
            kind: Controller(
                kind=kind,
                reconcile=reconciler.reconcile,
                workers=reconciler.workers,
                clock=self._clock,
                metrics=self._metrics,
                backoff=reconciler.backoff or self._options.backoff,
                groups=reconciler.groups,
            )
            for kind, reconciler in self._reconcilers.items()
        }
        self._informer = Informer(
            watches=self._watches,
            caches=self._caches,
            enqueue=self.enqueue,
            clock=self._clock,
            namespaces=self._options.namespaces,
            on_event=self._metrics.watch_event,
        )
        for cache in self._caches:
            self._metrics.gauge("gatehouse_cached_objects", "Objects in the cache.", cache.kind, cache.__len__)

    async def _lead(self, stop: asyncio.Event) -> None:
        informer = self._informer
        if informer is None:
            raise RuntimeError("run() builds the informer")
        work = asyncio.create_task(self._work(informer), name="controllers")
        helpers = [asyncio.create_task(source.run(informer), name="source") for source in self._sources]
        if self._leader is not None:
            helpers.append(asyncio.create_task(self._leader.hold(), name="leader"))
        if self._lister is not None:
            helpers.append(asyncio.create_task(self._sweep(informer, self._lister), name="sweeper"))
        stopped = asyncio.create_task(stop.wait(), name="stop")
        helpers += [
            asyncio.create_task(self._periodically(informer, periodic), name=periodic.name)
            for periodic in self._periodic
        ]
        try:
            done, _ = await asyncio.wait([work, stopped, *helpers], return_when=asyncio.FIRST_COMPLETED)
            if stopped in done:
                await self._drain(work, helpers)
            for task in done:
                task.result()
        finally:
            await _cancel([work, stopped, *helpers])

    async def _work(self, informer: Informer) -> None:
        """Process keys after the caches are complete, so that no reconcile decides from incomplete facts."""
        await informer.synced.wait()
        async with asyncio.TaskGroup() as controllers:
            for controller in self._controllers.values():
                controllers.create_task(controller.run(), name=f"{controller.kind} controller")

    async def _periodically(self, informer: Informer, periodic: Periodic) -> None:
        await informer.synced.wait()
        await periodic.run(self._clock, failed=self._metrics.periodic_failed)

    async def _sweep(self, informer: Informer, lister: MetadataLister) -> None:
        await informer.synced.wait()
        await Sweeper(
            watches=self._watches,
            caches=self._caches,
            lister=lister,
            relist=self._relist,
            clock=self._clock,
            namespaces=self._options.namespaces,
            interval=self._options.sweep_interval,
            settle=self._options.sweep_settle,
        ).run()

    def _relist(self) -> None:
        self._metrics.relisted()
        for source in self._sources:
            source.relist()

    async def _drain(self, work: asyncio.Task[None], helpers: list[asyncio.Task[None]]) -> None:
        """Wait for reconciles in flight, within the grace and while this process leads."""
        self._stopping = True
        for controller in self._controllers.values():
            controller.close()
        if self._informer is None or not self._informer.synced.is_set():
            return
        held = sum(controller.queue.processing for controller in self._controllers.values())
        log.info("stopping", reconciles_in_flight=held)
        done, _ = await asyncio.wait([work, *helpers], timeout=self._options.grace, return_when=asyncio.FIRST_COMPLETED)
        if work not in done:
            log.warning("reconciles in flight are cancelled", grace=self._options.grace)

    def _health_server(self) -> HealthServer:
        limit = self._options.stall_limit
        liveness = {
            f"queue {kind}": stall_check("the queue", controller.stalled_for, limit)
            for kind, controller in self._controllers.items()
        }
        liveness["watching"] = stall_check("kopf's event loop", self._stalled_for, limit)
        liveness["event loop"] = self._check_lag
        readiness = {"engine": self._check_ready, **self._readiness}
        return HealthServer(
            self._options.health_address,
            liveness=liveness,
            readiness=readiness,
            registry=self._metrics.registry,
        )

    def _stalled_for(self) -> float:
        return max(source.stalled_for() for source in self._sources)

    def _check_lag(self) -> str | None:
        lag, limit = self._lag.seconds, self._options.lag_limit
        return f"callbacks run {lag:.1f} s late (limit {limit:g} s)" if lag > limit else None

    def _check_ready(self) -> str | None:
        if self._stopping:
            return "stopping"
        if self._leader is not None and not self._leader.leads:
            if self._leader.holder and self._options.standby_ready:
                return None  # a standby replica; without a known leader this replica may lead next
            return f"waiting for leadership, held by {self._leader.holder or 'no one'!r}"
        if self._informer is None or not self._informer.synced.is_set():
            missing = self._informer.missing if self._informer else []
            return f"waiting for the first list of {', '.join(missing) or 'everything'}"
        return None


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Await the work unless stop is set first. Returns whether the work was done."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        await _cancel([task, stopped])


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await _cancel([task])
