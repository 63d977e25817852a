from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from gatehouse.runtime.refs import Body, Gvr
from gatehouse.runtime.resync import ListedObject, ListingFailed, MetadataPage, Sweeper
from gatehouse.runtime.watches import Watch, build_caches
from runtime.fakes import FakeClock, settle

WIDGETS = Gvr("example.dev", "v1", "widgets", namespaced=True)
WATCHES = (Watch(resource=WIDGETS),)


def body(name: str, version: int) -> Body:
    return {"metadata": {"name": name, "namespace": "team", "uid": name, "resourceVersion": str(version)}}


@dataclass
class FakeLister:
    live: dict[str, int] = field(default_factory=dict)
    version: int = 100
    failures: int = 0
    asked: list[str | None] = field(default_factory=list)
    broken: Gvr | None = None

    async def list_metadata(self, resource: Gvr, namespace: str | None) -> AsyncIterator[MetadataPage]:
        self.asked.append(namespace)
        if self.failures or resource == self.broken:
            self.failures -= resource != self.broken
            raise ListingFailed("no answer")
        for name, version in self.live.items():
            yield MetadataPage(str(self.version), (ListedObject("team", name, str(version)),))
        yield MetadataPage(str(self.version), ())


class Bench:
    def __init__(self, *, watches: tuple[Watch, ...] = WATCHES, **options: object) -> None:
        self.clock = FakeClock()
        self.caches = build_caches(watches)
        self.lister = FakeLister({"a": 10, "b": 11})
        self.relists = 0
        for name, version in self.lister.live.items():
            self.caches["widgets"].apply(None, body(name, version))
        self.sweeper = Sweeper(
            watches=watches,
            caches=self.caches,
            lister=self.lister,
            relist=self.count,
            clock=self.clock,
            draw=lambda: 0.5,
            **options,  # type: ignore[arg-type]  # a few keyword arguments
        )

    def count(self) -> None:
        self.relists += 1

    async def sweep(self) -> bool:
        task = asyncio.create_task(self.sweeper.sweep())
        await self.clock.run(5)
        return await task


async def test_caches_that_agree_are_left_alone() -> None:
    bench = Bench()
    assert not await bench.sweep()
    assert bench.relists == 0


@pytest.mark.parametrize(
    "live",
    [
        pytest.param({"a": 10, "b": 12}, id="changed"),
        pytest.param({"a": 10}, id="deleted"),
        pytest.param({"a": 10, "b": 11, "c": 12}, id="created"),
    ],
)
async def test_caches_that_lag_are_listed_again(live: dict[str, int]) -> None:
    bench = Bench()
    bench.lister.live = live
    assert await bench.sweep()
    assert bench.relists == 1


async def test_events_that_arrive_meanwhile_are_no_lag() -> None:
    bench = Bench()
    bench.lister.live = {"a": 10, "b": 12, "c": 13, "short-lived": 14}
    del bench.lister.live["a"]
    sweep = asyncio.create_task(bench.sweeper.sweep())
    await settle()
    cache = bench.caches["widgets"]
    cache.apply("DELETED", body("a", 15))
    cache.apply("MODIFIED", body("b", 12))
    cache.apply("ADDED", body("c", 13))
    cache.apply("DELETED", body("short-lived", 16))
    await bench.clock.run(5)
    assert not await sweep


async def test_what_is_newer_than_the_list_has_not_vanished() -> None:
    bench = Bench()
    bench.caches["widgets"].apply("ADDED", body("new", 150))
    assert not await bench.sweep()


async def test_it_sweeps_at_the_interval_and_survives_a_failure() -> None:
    bench = Bench(interval=600.0, namespaces=("red", "blue"))
    bench.lister.failures = 1
    running = asyncio.create_task(bench.sweeper.run())
    await bench.clock.run(599)
    assert bench.lister.asked == []
    await bench.clock.run(2)
    assert bench.lister.asked == ["red"]
    await bench.clock.run(600)
    assert bench.lister.asked == ["red", "red", "blue"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("lags", [False, True])
async def test_an_optional_kind_that_is_not_listed_keeps_no_other_from_being_compared(lags: bool) -> None:
    """KServe is absent, or its conversion webhook fails."""
    gadgets = Gvr("other.dev", "v1", "gadgets", namespaced=True)
    bench = Bench(watches=(Watch(resource=gadgets, optional=True), *WATCHES))
    bench.lister.broken = gadgets
    if lags:
        bench.lister.live["c"] = 12
    assert await bench.sweep() is lags
    assert bench.relists == lags
