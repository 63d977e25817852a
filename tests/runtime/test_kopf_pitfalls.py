"""One test for each pitfall of kopf 1.45 that the engine must stay clear of, on a server that misbehaves."""

from __future__ import annotations

import asyncio
import getpass
import importlib.metadata
import logging
from collections.abc import AsyncIterator

import aiohttp
import kopf
import pytest

from gatehouse.runtime.kopf_source import build_registry, build_settings
from gatehouse.runtime.manager import ManagerOptions
from gatehouse.runtime.refs import Gvr
from runtime.fakeapi import WIDGETS, FakeApi, Fault
from runtime.rig import Rig, running, until


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with FakeApi() as server:
        yield server


def is_list(request: aiohttp.web.BaseRequest) -> bool:
    return request.path.endswith("/widgets") and "watch" not in request.query


def is_watch(request: aiohttp.web.BaseRequest) -> bool:
    return request.path.endswith("/widgets") and "watch" in request.query


async def nothing(**_: object) -> None:
    pass


async def no_login(**_: object) -> kopf.AiohttpSession:
    raise AssertionError("not called")


def test_pitfall_01_nothing_is_indexed_by_kopf() -> None:
    registry = build_registry([WIDGETS], login=no_login, cleanup=nothing)
    assert not registry._indexing.get_all_handlers()
    assert len(registry._watching.get_all_handlers()) == 1


async def test_pitfall_01_a_long_list_makes_no_task_for_each_object(api: FakeApi) -> None:
    for number in range(1200):
        api.put(f"w{number}", spec={})
    async with running(Rig(api)) as rig:
        await rig.idle()
        assert len(rig.widgets) == 1200
        assert sorted(rig.names) == sorted(rig.widgets)
        assert [query.get("limit") for query in api.lists()] == ["100"] * 12
        life = rig.source._life
        assert life is not None
        assert len(asyncio.all_tasks(life._inner)) < 40


def test_pitfall_02_kopfs_workers_are_not_limited() -> None:
    settings = build_settings()
    assert settings.queueing.worker_limit is None
    assert settings.queueing.idle_timeout == 0.2


async def test_pitfall_03_quick_edits_are_coalesced_and_the_newest_body_is_read(api: FakeApi) -> None:
    api.put("a", spec={"edit": 0})
    rig = Rig(api, hold=asyncio.Event())
    async with running(rig):
        await until(lambda: rig.names == ["a"])
        await api.wait_for_watchers()
        for edit in range(1, 11):
            api.put("a", spec={"edit": edit})
        await until(lambda: rig.events("MODIFIED") == 10)
        assert rig.hold is not None
        rig.hold.set()
        await rig.idle()
        assert [body and body["spec"]["edit"] for _, body in rig.seen] == [0, 10]


async def test_pitfall_05_deletions_during_a_broken_watch_are_found_by_the_next_list(api: FakeApi) -> None:
    for name in ("kept", "gone"):
        api.put(name, spec={})
    async with running(Rig(api)) as rig:
        await rig.idle()
        await api.wait_for_watchers()
        rig.seen.clear()
        api.mute = True
        api.delete("gone")
        api.put("new", spec={})
        api.compact()
        api.mute = False
        api.disconnect()
        await until(lambda: rig.widgets == {"kept", "new"})
        await rig.idle()
        assert sorted(rig.names) == ["gone", "new"]
        assert rig.events("VANISHED") == 1


async def test_pitfall_06_and_10_the_engine_writes_nothing(api: FakeApi) -> None:
    api.put("a", spec={})
    async with running(Rig(api)) as rig:
        await rig.idle()
        await api.wait_for_watchers()
        api.put("a", spec={"edit": 1}, metadata={"labels": {"x": "y"}})
        api.put("b", spec={})
        api.delete("a")
        await until(lambda: rig.widgets == {"b"})
        await rig.idle()
        assert "a" not in rig.widgets
    assert api.writes == 0
    assert not build_settings().posting.enabled


def test_pitfall_07_kopf_is_new_enough_to_notice_a_dead_watch() -> None:
    version = importlib.metadata.version("kopf").split(".")
    assert tuple(int(part) for part in version[:3]) >= (1, 45, 2)


async def test_pitfall_07_a_watch_that_is_open_but_silent_is_found_by_the_sweep(api: FakeApi) -> None:
    for name in ("changed", "deleted"):
        api.put(name, spec={})
    options = ManagerOptions(sweep_interval=0.05, sweep_settle=0.05)
    async with running(Rig(api, options=options, lister=True)) as rig:
        await rig.idle()
        await api.wait_for_watchers()
        api.mute = True
        api.put("changed", spec={"edit": 1})
        api.put("new", spec={})
        api.delete("deleted")
        await until(lambda: rig.widgets == {"changed", "new"})
        await rig.idle()
        body = rig.caches["widgets"].get("team", "changed")
        assert body is not None
        assert body["spec"] == {"edit": 1}


async def test_pitfall_08_a_user_without_a_name_can_run_it(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 1000680000")

    monkeypatch.setattr(getpass, "getuser", no_name)
    api.put("a", spec={})
    async with running(Rig(api)) as rig:
        await rig.idle()
        assert rig.widgets == {"a"}


def test_pitfall_09_requests_have_time_limits_and_few_retries() -> None:
    settings = build_settings()
    networking = settings.networking
    assert (networking.request_timeout, networking.connect_timeout) == (30, 5)
    assert list(networking.error_backoffs) == [1, 2, 5]  # type: ignore[arg-type]  # may be one number
    assert settings.watching.inactivity_timeout == 70


async def test_pitfall_11_no_peering_and_no_scanning(api: FakeApi) -> None:
    async with running(Rig(api)) as rig:
        await rig.idle()
        await api.wait_for_watchers()
        paths = {path for _, path, _ in api.requests}
    discovery = {"/api", "/apis", "/api/v1", "/apis/example.dev/v1", "/apis/apiextensions.k8s.io/v1"}
    assert paths == discovery | {"/apis/example.dev/v1/widgets"}
    settings = build_settings()
    assert settings.peering.standalone
    assert settings.scanning.disabled


async def test_pitfall_12_ending_kopf_cancels_nobody_elses_tasks(api: FakeApi) -> None:
    api.put("a", spec={})
    rig = Rig(api, hold=asyncio.Event())
    async with running(rig):
        await until(lambda: rig.names == ["a"])
        await api.wait_for_watchers()
        bystander = asyncio.create_task(asyncio.Event().wait())
        before = len(api.lists())
        rig.source.relist()
        await until(lambda: len(api.lists()) > before)
        assert not bystander.done()
        assert rig.hold is not None
        rig.hold.set()
        await rig.idle()
        bystander.cancel()
    assert rig.names == ["a"]


async def test_pitfall_13_kopf_does_not_log_each_event(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(Rig(api)) as rig:
        await rig.idle()
        await api.wait_for_watchers()
        api.put("a", spec={})
        await until(lambda: rig.widgets == {"a"})
    assert not [record for record in caplog.records if record.name.startswith("kopf.objects")]


async def test_pitfall_14_liveness_fails_when_the_queue_stalls(api: FakeApi) -> None:
    for number in range(10):
        api.put(f"w{number}", spec={})
    options = ManagerOptions(health_address="127.0.0.1:0", stall_limit=0.05)
    rig = Rig(api, options=options, hold=asyncio.Event())
    async with running(rig), aiohttp.ClientSession() as session:
        await until(lambda: bool(rig.seen))
        url = f"http://127.0.0.1:{rig.manager.health_port}/healthz"
        text = ""
        while "queue widgets" not in text:
            async with session.get(url) as response:
                text = await response.text()
                assert response.status == (200 if text == "ok\n" else 503)
        assert "made no progress" in text
        assert rig.hold is not None
        rig.hold.set()
        await rig.idle()
        async with session.get(url) as response:
            assert response.status == 200


def test_pitfall_15_no_webhooks_are_registered() -> None:
    registry = build_registry([WIDGETS], login=no_login, cleanup=nothing)
    assert not registry._webhooks.get_all_handlers()
    assert build_settings().admission.server is None


def test_nothing_needs_a_finalizer_or_a_patch() -> None:
    registry = build_registry([WIDGETS], login=no_login, cleanup=nothing)
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()


async def test_no_reconcile_runs_before_the_caches_are_complete(api: FakeApi) -> None:
    gadgets = Gvr("example.dev", "v1", "gadgets", namespaced=True)
    api.resources = (*api.resources, gadgets)
    for number in range(600):
        api.put(f"w{number}", spec={})
    api.put("g", plural="gadgets", spec={})
    held = Fault(lambda request: request.path.endswith("/gadgets"), 500, times=3)
    api.faults.append(held)
    rig = Rig(api, resources=(WIDGETS, gadgets))
    counts: list[tuple[int, int]] = []
    original = rig.seen.append

    class Recorder(list[tuple[str, dict[str, object] | None]]):
        def append(self, item: tuple[str, dict[str, object] | None]) -> None:
            counts.append((len(rig.caches["widgets"]), len(rig.caches["gadgets"])))
            original(item)

    rig.seen = Recorder()
    async with running(rig):
        await rig.idle()
    assert held.times == 0
    assert set(counts) == {(600, 1)}
    assert len(counts) == 601


@pytest.mark.parametrize("status", [429, 500, 503, 0])
async def test_a_list_that_fails_is_tried_again(api: FakeApi, status: int) -> None:
    api.put("a", spec={})
    api.faults.append(Fault(is_list, status, times=2, headers={"Retry-After": "0"}))
    async with running(Rig(api)) as rig:
        await rig.idle()
        assert rig.widgets == {"a"}


@pytest.mark.parametrize("status", [429, 500, 503, 0, 410])
async def test_a_list_that_fails_for_longer_than_kopf_retries_is_tried_again(api: FakeApi, status: int) -> None:
    for number in range(1100):
        api.put(f"w{number}", spec={})
    api.faults.append(Fault(lambda request: is_list(request) and "continue" in request.query, status, times=10))
    async with running(Rig(api)) as rig:
        await rig.idle()
        assert len(rig.widgets) == 1100
        assert rig.events("VANISHED") == 0


@pytest.mark.parametrize("status", [429, 500, 503, 0, 410])
async def test_a_watch_that_cannot_be_opened_is_opened_later(api: FakeApi, status: int) -> None:
    api.faults.append(Fault(is_watch, status, times=10))
    async with running(Rig(api)) as rig:
        await rig.idle()
        api.put("a", spec={})
        await until(lambda: rig.widgets == {"a"})


async def test_after_a_disconnect_the_watch_goes_on_without_a_list(api: FakeApi) -> None:
    async with running(Rig(api)) as rig:
        await rig.idle()
        await api.wait_for_watchers()
        api.disconnect()
        api.put("a", spec={})
        await until(lambda: rig.widgets == {"a"})
    assert len(api.lists()) == 1


async def test_an_error_event_that_kopf_dies_of_starts_it_again(api: FakeApi) -> None:
    async with running(Rig(api)) as rig:
        await rig.idle()
        await api.wait_for_watchers()
        api.mute = True
        api.put("a", spec={})
        api.send({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd lost"}})
        await until(lambda: rig.widgets == {"a"})


async def test_expired_credentials_are_read_again(api: FakeApi) -> None:
    api.faults.append(Fault(is_list, 401))
    logins = 0
    login = api.login

    def counted() -> kopf.ConnectionInfo:
        nonlocal logins
        logins += 1
        return login()

    api.login = counted  # type: ignore[method-assign]  # counts the logins
    async with running(Rig(api)) as rig:
        await rig.idle()
    assert logins == 2


async def test_a_login_that_fails_is_tried_again(api: FakeApi) -> None:
    login = api.login
    failures = 3

    def failing() -> kopf.ConnectionInfo:
        nonlocal failures
        if failures:
            failures -= 1
            raise kopf.LoginError("no token yet")
        return login()

    api.login = failing  # type: ignore[method-assign]  # fails at first
    api.put("a", spec={})
    async with running(Rig(api)) as rig:
        await rig.idle()
        assert rig.widgets == {"a"}


async def test_a_resource_that_is_installed_later_is_found(api: FakeApi) -> None:
    installed = api.resources
    api.resources = tuple(resource for resource in installed if resource is not WIDGETS)
    # Longer than kopf takes to begin on a busy machine: ended before, it waits 5 s for its login.
    rig = Rig(api, list_limit=2.0)
    async with running(rig):
        await until(lambda: [path for _, path, _ in api.requests].count("/apis") > 1)
        assert not rig.manager.idle
        api.resources = installed
        await rig.idle()
        assert api.lists()


async def test_only_the_given_namespaces_are_listed_and_watched(api: FakeApi) -> None:
    profiles = Gvr("example.dev", "v1", "profiles", namespaced=False)
    api.resources = (*api.resources, profiles)
    for namespace in ("red", "blue", "green"):
        api.put(f"of-{namespace}", namespace=namespace, spec={})
    api.put("l4", namespace="", plural="profiles", spec={})
    options = ManagerOptions(namespaces=("red", "blue"))
    async with running(Rig(api, options=options, resources=(WIDGETS, profiles))) as rig:
        await rig.idle()
        await api.wait_for_watchers(3)
        api.put("late", namespace="blue", spec={})
        api.delete("of-red", namespace="red")
        await until(lambda: rig.widgets == {"of-blue", "late"})
        assert [key.name for key in rig.caches["profiles"].keys(None)] == ["l4"]
    assert "/apis/example.dev/v1/widgets" not in {path for _, path, _ in api.requests}


async def test_stopping_lets_a_reconcile_in_flight_end(api: FakeApi) -> None:
    api.put("a", spec={})
    rig = Rig(api, hold=asyncio.Event())
    async with running(rig):
        await until(lambda: rig.names == ["a"])
        rig.stop.set()
        assert rig.hold is not None
        asyncio.get_running_loop().call_later(0.05, rig.hold.set)
    labels = {"kind": "widgets", "outcome": "done"}
    assert rig.registry.get_sample_value("gatehouse_reconciles_total", labels) == 1


async def test_stopping_cancels_what_does_not_end_in_time(api: FakeApi) -> None:
    api.put("a", spec={})
    rig = Rig(api, hold=asyncio.Event(), options=ManagerOptions(grace=0.05))
    async with running(rig):
        await until(lambda: rig.names == ["a"])
    labels = {"kind": "widgets", "outcome": "done"}
    assert rig.registry.get_sample_value("gatehouse_reconciles_total", labels) is None
