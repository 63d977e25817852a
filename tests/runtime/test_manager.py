"""The order in which the manager starts and ends things, without kopf."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from gatehouse.runtime.clock import LoopClock
from gatehouse.runtime.controller import KeyOutcome
from gatehouse.runtime.informer import ListPage, Sink, WatchEvent
from gatehouse.runtime.leader import Leader, LeadershipLost
from gatehouse.runtime.lease import LeaderOptions, LeaseRecord
from gatehouse.runtime.manager import Manager, ManagerOptions, Reconciler
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.refs import Body, Gvr
from gatehouse.runtime.watches import Watch, build_caches
from runtime.fakes import FakeLease, settle
from runtime.rig import Ended, until

WIDGETS = Gvr("example.dev", "v1", "widgets", namespaced=True)
QUICK = LeaderOptions(duration=1, renew_deadline=0.5, retry_period=0.02)


def body(name: str, version: int = 10) -> Body:
    return {"metadata": {"name": name, "namespace": "team", "uid": name, "resourceVersion": str(version)}}


@dataclass
class FakeSource:
    sink: Sink | None = None
    ended: bool = False
    stalled: float = 0.0
    failure: asyncio.Future[None] | None = None

    async def run(self, sink: Sink) -> None:
        self.sink = sink
        self.failure = asyncio.get_running_loop().create_future()
        try:
            await self.failure
        finally:
            self.ended = True

    def relist(self) -> None:
        raise AssertionError("no sweep in these tests")

    def stalled_for(self) -> float:
        return self.stalled

    def list(self, *names: str) -> None:
        assert self.sink is not None
        items = tuple(body(name) for name in names)
        self.sink.take_page(
            ListPage(kind="widgets", namespace=None, items=items, resource_version="99", first=True, last=True)
        )


@dataclass
class Bench:
    lease: FakeLease | None = None
    options: ManagerOptions = field(default_factory=ManagerOptions)
    source: FakeSource = field(default_factory=FakeSource)
    seen: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        watches = [Watch(resource=WIDGETS)]
        leader = None
        if self.lease is not None:
            leader = Leader(client=self.lease, identity="me", clock=LoopClock(), options=QUICK)
        self.manager = Manager(
            watches=watches,
            caches=build_caches(watches),
            source=self.source,
            metrics=EngineMetrics(self.registry),
            leader=leader,
            options=self.options,
            clock=LoopClock(),
        )
        self.manager.add("widgets", Reconciler(self.reconcile, workers=2))

    async def reconcile(self, _namespace: str, name: str) -> KeyOutcome:
        self.seen.append(name)
        if self.hold is not None:
            await self.hold.wait()
        return Ended()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.manager.run(self.stop))
        await settle()
        try:
            yield task
        finally:
            self.stop.set()
            await asyncio.gather(task, return_exceptions=True)

    async def probe(self, path: str) -> tuple[int, str]:
        await until(lambda: self.manager.health_port > 0)
        url = f"http://127.0.0.1:{self.manager.health_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()


SERVED = ManagerOptions(health_address="127.0.0.1:0")


async def test_it_reconciles_only_once_the_caches_are_complete() -> None:
    bench = Bench()
    async with bench.running():
        assert bench.source.sink is not None
        bench.source.sink.take_events("widgets", [WatchEvent(type="ADDED", body=body("early", 5))])
        await settle()
        assert bench.seen == []
        bench.source.list("early", "late")
        await until(lambda: bench.manager.idle)
        assert sorted(bench.seen) == ["early", "late"]


async def test_readiness_names_what_is_missing() -> None:
    bench = Bench(options=SERVED)
    async with bench.running():
        assert await bench.probe("/readyz") == (503, "engine: waiting for the first list of widgets\n")
        bench.source.list()
        await settle()
        assert await bench.probe("/readyz") == (200, "ok\n")


async def test_a_silent_source_fails_liveness() -> None:
    bench = Bench(options=SERVED, source=FakeSource(stalled=301.0))
    async with bench.running():
        status, text = await bench.probe("/healthz")
    assert status == 503
    assert "watching: kopf's event loop made no progress for 301 s" in text


async def test_nothing_is_watched_before_it_leads() -> None:
    lease = FakeLease()
    held = await _held_by(lease, "other")
    bench = Bench(lease=lease, options=SERVED)
    async with bench.running():
        await until(lambda: bench.manager.health_port > 0)
        assert bench.source.sink is None
        assert (await bench.probe("/readyz"))[0] == 200
        lease.store(replace(held, holder=""))
        await until(lambda: bench.source.sink is not None)
        assert bench.registry.get_sample_value("gatehouse_leader") == 1
    assert bench.registry.get_sample_value("gatehouse_leader") == 0


async def test_a_standby_can_be_not_ready() -> None:
    lease = FakeLease()
    await _held_by(lease, "other")
    bench = Bench(lease=lease, options=replace(SERVED, standby_ready=False))
    async with bench.running():
        status, text = await bench.probe("/readyz")
    assert status == 503
    assert "waiting for leadership" in text


async def test_a_replica_that_knows_of_no_leader_is_not_ready() -> None:
    """It may lead the next moment, and then has its first lists before it."""
    bench = Bench(lease=FakeLease(), options=SERVED)
    assert "held by 'no one'" in str(bench.manager._check_ready())


async def test_a_standby_stops_at_once() -> None:
    lease = FakeLease()
    await _held_by(lease, "other")
    bench = Bench(lease=lease)
    async with bench.running() as task:
        bench.stop.set()
        await asyncio.wait_for(task, 5)


async def test_losing_the_lease_cancels_the_work_and_ends_the_process() -> None:
    lease = FakeLease()
    bench = Bench(lease=lease, hold=asyncio.Event())
    async with bench.running() as task:
        await until(lambda: bench.source.sink is not None)
        bench.source.list("a")
        await until(lambda: bench.seen == ["a"])
        assert lease.record is not None
        lease.store(replace(lease.record, holder="other"))
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(asyncio.shield(task), 5)
    assert bench.source.ended


async def test_a_graceful_stop_releases_the_lease_after_the_work_has_ended() -> None:
    lease = FakeLease()
    bench = Bench(lease=lease, hold=asyncio.Event())
    async with bench.running() as task:
        await until(lambda: bench.source.sink is not None)
        bench.source.list("a")
        await until(lambda: bench.seen == ["a"])
        bench.stop.set()
        await settle()
        assert lease.record is not None
        assert lease.record.holder == "me"
        assert bench.hold is not None
        bench.hold.set()
        await task
    assert lease.record.holder == ""


async def test_a_source_that_fails_ends_the_process() -> None:
    bench = Bench()
    async with bench.running() as task:
        assert bench.source.failure is not None
        bench.source.failure.set_exception(RuntimeError("a bug"))
        with pytest.raises(RuntimeError, match="a bug"):
            await asyncio.wait_for(asyncio.shield(task), 5)


async def test_each_reconciled_watch_has_a_reconciler_and_the_reverse() -> None:
    watches = [Watch(resource=WIDGETS)]
    manager = Manager(
        watches=watches,
        caches=build_caches(watches),
        source=FakeSource(),
        metrics=EngineMetrics(CollectorRegistry()),
    )
    manager.add("gadgets", Reconciler(Bench().reconcile))
    with pytest.raises(ValueError, match=r"\['gadgets', 'widgets'\]"):
        await manager.run(asyncio.Event())


async def _held_by(lease: FakeLease, holder: str) -> LeaseRecord:
    leader = Leader(client=lease, identity=holder, clock=LoopClock(), options=LeaderOptions())
    await leader.acquire()
    assert lease.record is not None
    return lease.record
