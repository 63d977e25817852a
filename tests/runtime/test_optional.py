"""A kind that may be absent delays nothing, is found without a restart, and is known through an outage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web

from gatehouse.domain.common.errors import Transient
from gatehouse.runtime.informer import Informer, ListPage, Sink, WatchEvent
from gatehouse.runtime.kopf_source import NotListedError
from gatehouse.runtime.manager import ManagerOptions
from gatehouse.runtime.optional import OptionalSource
from gatehouse.runtime.refs import Body, Gvr, ObjectKey
from gatehouse.runtime.watches import FanOut, Watch, build_caches
from runtime.fakeapi import WIDGETS, FakeApi, Fault
from runtime.fakes import FakeClock, settle
from runtime.rig import Rig, running, until

GADGETS = Gvr("other.dev", "v1", "gadgets", namespaced=True)
FOREVER = 10**9


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """An API server without gadgets."""
    async with FakeApi() as served:
        served.put("w1", spec={})
        yield served


@asynccontextmanager
async def engine(api: FakeApi, **options: str) -> AsyncIterator[Rig]:
    """A running engine that reconciles widgets and watches gadgets where there are some."""
    namespaces = tuple(options.values())
    async with running(Rig(api, optional=(GADGETS,), options=ManagerOptions(namespaces=namespaces))) as rig:
        yield rig


async def check(rig: Rig) -> None:
    [source] = rig.optional_sources
    await source.check()


async def until_checked(rig: Rig, condition: Callable[[], bool], *, what: str) -> None:
    """Check again and again until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            with contextlib.suppress(NotListedError):
                await check(rig)
            await asyncio.sleep(0.005)
    assert condition(), what


async def check_until_failure(rig: Rig) -> None:
    async with asyncio.timeout(20):
        while True:
            await check(rig)
            await asyncio.sleep(0.005)


def watched_lists(api: FakeApi) -> list[dict[str, str]]:
    """The lists that a watch began with; a check lists at most one object."""
    return [query for query in api.lists("gadgets") if query["limit"] != "1"]


def install(api: FakeApi) -> None:
    api.resources = (GADGETS, *api.resources)


def uninstall(api: FakeApi) -> None:
    """As the API server does: the objects go first, then the kind, then the watches."""
    for plural, namespace, name in list(api.objects):
        if plural == "gadgets":
            api.delete(name, namespace=namespace, plural=plural)
    api.resources = tuple(each for each in api.resources if each != GADGETS)
    api.disconnect()


def gadgets(rig: Rig) -> set[str]:
    return {key.name for key in rig.caches["gadgets"].keys(None)}


def of_gadgets(request: web.Request) -> bool:
    return request.path.endswith("/gadgets")


async def test_an_absent_kind_is_not_listed_and_delays_nothing(api: FakeApi) -> None:
    async with engine(api) as rig:
        await rig.idle()
        assert rig.names == ["w1"]
        assert not rig.caches["gadgets"].complete
        for _ in range(5):
            await check(rig)
        await until(lambda: rig.caches["gadgets"].complete, what="the absence is known")
    assert (watched_lists(api), api.watches("gadgets")) == ([], [])
    assert len(api.lists("gadgets")) == 5


async def test_a_kind_that_is_installed_later_is_listed_once_and_watched(api: FakeApi) -> None:
    async with engine(api) as rig:
        await check(rig)
        await rig.idle()
        install(api)
        api.put("g1", plural="gadgets", spec={})
        await check(rig)
        await until(lambda: gadgets(rig) == {"g1"}, what="the first list")
        for number in range(2, 6):
            api.put(f"g{number}", plural="gadgets", spec={})
            await until(lambda number=number: f"g{number}" in gadgets(rig), what="the event")  # type: ignore[misc]
            await check(rig)
    assert len(watched_lists(api)) == 1
    assert len(api.lists("gadgets")) == 3, "two checks before the watch"
    assert len(api.lists()) == 1


async def test_a_kind_that_is_removed_has_no_objects_and_may_come_back(api: FakeApi) -> None:
    install(api)
    api.put("g1", plural="gadgets", spec={})
    async with engine(api) as rig:
        await check(rig)
        await until(lambda: gadgets(rig) == {"g1"}, what="the first list")
        uninstall(api)
        [source] = rig.optional_sources
        await until_checked(rig, lambda: source.served is False, what="the absence")
        await until(lambda: not gadgets(rig), what="an empty cache")
        install(api)
        api.put("g1", plural="gadgets", spec={})
        await check(rig)
        await until(lambda: gadgets(rig) == {"g1"}, what="the second list")
        assert rig.names == ["w1"]
    assert len(api.lists()) == 1


async def test_a_kind_that_vanishes_without_an_event_has_no_objects(api: FakeApi) -> None:
    """Another version of the kind is served from now on; nobody deleted an object."""
    install(api)
    api.put("g1", plural="gadgets", spec={})
    async with engine(api) as rig:
        await check(rig)
        await until(lambda: gadgets(rig) == {"g1"}, what="the first list")
        api.resources = tuple(each for each in api.resources if each != GADGETS)
        api.disconnect()
        await until_checked(rig, lambda: not gadgets(rig), what="an empty cache")


@pytest.mark.parametrize("status", [403, 500])
async def test_a_list_that_fails_delays_no_other_kind_and_is_reported(api: FakeApi, status: int) -> None:
    install(api)
    api.put("g1", plural="gadgets", spec={})
    fault = Fault(matches=of_gadgets, status=status, times=FOREVER)
    api.faults.append(fault)
    async with engine(api) as rig:
        await rig.idle()
        assert rig.names == ["w1"]
        with pytest.raises(Transient, match=f"listing the gadgets: the API server answered {status}"):
            await check(rig)
        assert not rig.caches["gadgets"].complete
        fault.times = 0
        await check(rig)
        await until(lambda: gadgets(rig) == {"g1"}, what="the first list")
    assert len(api.lists()) == 1


async def test_a_watch_that_is_forbidden_is_reported(api: FakeApi) -> None:
    """The ClusterRole of an older release lets the operator list, and not watch."""
    install(api)
    api.put("g1", plural="gadgets", spec={})
    forbidden = Fault(matches=lambda request: "watch" in request.query and of_gadgets(request), status=403)
    forbidden.times = FOREVER
    api.faults.append(forbidden)
    async with engine(api) as rig:
        await rig.idle()
        with pytest.raises(NotListedError, match="gadgets are served, but cannot be listed and watched"):
            await check_until_failure(rig)
        assert rig.names == ["w1"]


async def test_what_is_known_stays_known_in_an_outage(api: FakeApi) -> None:
    install(api)
    api.put("g1", plural="gadgets", spec={})
    async with engine(api) as rig:
        await check(rig)
        await until(lambda: gadgets(rig) == {"g1"}, what="the first list")
        await api.wait_for_watchers(2)
        api.faults.append(Fault(matches=of_gadgets, status=500, times=FOREVER))
        api.disconnect()
        with pytest.raises(Transient):
            await check_until_failure(rig)
        assert gadgets(rig) == {"g1"}
        assert rig.caches["gadgets"].complete


async def test_an_optional_kind_is_watched_in_all_namespaces(api: FakeApi) -> None:
    install(api)
    api.put("g1", namespace="elsewhere", plural="gadgets", spec={})
    async with engine(api, namespace="team") as rig:
        await check(rig)
        await until(lambda: gadgets(rig) == {"g1"}, what="the first list")
        await until(lambda: rig.caches["gadgets"].complete, what="the end of the first list")


# Without kopf


@dataclass
class FakePresence:
    served: bool = True

    async def serves(self, _resource: Gvr) -> bool:
        return self.served


@dataclass
class FakeSource:
    watching: bool = False
    begun: int = 0
    ended: int = 0
    failure: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def run(self, _sink: Sink) -> None:
        self.begun += 1
        try:
            await asyncio.shield(self.failure)
        finally:
            self.ended += 1

    def relist(self) -> None:
        """Nothing to list."""

    def stalled_for(self) -> float:
        return 0.0


@dataclass
class Pages:
    pages: list[ListPage] = field(default_factory=list)

    def take_page(self, page: ListPage) -> None:
        self.pages.append(page)

    def take_events(self, kind: str, events: object) -> None:
        raise AssertionError((kind, events))


async def test_the_watch_begins_and_ends_with_the_kind() -> None:
    source, presence, sink = FakeSource(), FakePresence(), Pages()
    optional = OptionalSource(resource=GADGETS, source=source, presence=presence)
    task = asyncio.create_task(optional.run(sink))
    seen = []
    for served in (False, True, True, False, False, True):
        presence.served = served
        await optional.check()
        await settle()
        seen.append((source.begun, source.ended, len(sink.pages)))
    task.cancel()
    await asyncio.wait([task])
    assert seen == [(0, 0, 1), (1, 0, 1), (1, 0, 1), (1, 1, 2), (1, 1, 3), (2, 1, 3)]
    assert source.ended == 2
    assert all(page.first and page.last and not page.items for page in sink.pages)


async def test_a_fault_of_the_source_is_not_swallowed() -> None:
    source = FakeSource()
    optional = OptionalSource(resource=GADGETS, source=source, presence=FakePresence())
    task = asyncio.create_task(optional.run(Pages()))
    await optional.check()
    await settle()
    source.failure.set_exception(RuntimeError("a fault"))
    await asyncio.wait([task])
    with pytest.raises(ExceptionGroup):
        task.result()


# The informer


def gadget(name: str, version: int, **spec: str) -> Body:
    return {"metadata": {"name": name, "namespace": "team", "resourceVersion": str(version)}, "spec": spec}


def page(kind: str, *items: Body, version: str = "100", last: bool = True) -> ListPage:
    return ListPage(kind=kind, namespace=None, items=items, resource_version=version, first=True, last=last)


@dataclass
class Informed:
    """An informer of widgets, and of optional gadgets that enqueue the widget of their ``spec.of``."""

    keys: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        fan_out = FanOut(
            relevant=lambda body: body["spec"],
            dependents=lambda body, _caches: [ObjectKey("widgets", "team", body["spec"]["of"])],
            settle=0.2,
            listed=lambda _caches: [ObjectKey("widgets", "team", "listed")],
        )
        watches = (
            Watch(resource=WIDGETS, reconciled=False),
            Watch(resource=GADGETS, reconciled=False, optional=True, fan_outs=(fan_out,)),
        )
        self.caches = build_caches(watches)
        self.informer = Informer(
            watches=watches,
            caches=self.caches,
            enqueue=lambda key: self.keys.append(key.name),
            clock=self.clock,
            namespaces=("team",),
        )
        self.informer.take_page(replace(page("widgets"), namespace="team"))

    def after(self, seconds: float) -> list[str]:
        self.clock.advance(seconds)
        found, self.keys = self.keys, []
        return sorted(found)


def test_the_caches_are_complete_without_an_optional_kind() -> None:
    informed = Informed()
    assert informed.informer.synced.is_set()
    assert informed.informer.missing == []
    assert not informed.caches["gadgets"].complete


def test_the_end_of_the_first_list_enqueues_what_waits_for_it_once() -> None:
    informed = Informed()
    informed.informer.take_page(page("gadgets", gadget("g1", 10, of="w1"), last=False))
    assert informed.after(60) == [], "what is known before the end of the list is not all"
    informed.informer.take_page(page("gadgets", gadget("g1", 10, of="w1")))
    assert informed.after(60) == ["listed"]
    informed.informer.take_page(page("gadgets", gadget("g1", 10, of="w1"), version="200"))
    assert informed.after(60) == [], "a list that changes nothing"


def test_an_absent_kind_takes_its_objects_along() -> None:
    informed = Informed()
    informed.informer.take_page(page("gadgets", gadget("g1", 10, of="w1"), gadget("g2", 11, of="w2")))
    informed.after(60)
    informed.informer.take_page(page("gadgets", version=""))
    assert informed.after(60) == ["w1", "w2"]
    assert len(informed.caches["gadgets"]) == 0
    informed.informer.take_page(page("gadgets", gadget("g1", 12, of="w1")))
    assert informed.after(60) == ["w1"]


def test_a_burst_of_events_enqueues_each_dependent_once() -> None:
    informed = Informed()
    informed.informer.take_page(page("gadgets"))
    informed.after(60)
    for number in range(1, 1001):
        event = WatchEvent(type="ADDED", body=gadget(f"g{number}", number, of=f"w{number % 3}"))
        informed.informer.take_events("gadgets", [event])
    assert informed.after(0.2) == ["w0", "w1", "w2"]
