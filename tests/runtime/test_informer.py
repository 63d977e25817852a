"""Which changes enqueue which keys."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.runtime.cache import REQUESTED_AT, Caches
from gatehouse.runtime.informer import Informer, ListPage, WatchEvent
from gatehouse.runtime.refs import Body, Gvr, ObjectKey
from gatehouse.runtime.watches import FanOut, Watch, build_caches
from runtime.fakes import FakeClock

MODELS = Gvr("example.dev", "v1", "models", namespaced=True)
VERSIONS = Gvr("example.dev", "v1", "versions", namespaced=True)
PROFILES = Gvr("example.dev", "v1", "profiles", namespaced=False)


def model_of(version: Body) -> list[str]:
    return [version["spec"]["model"]]


def profile_of(version: Body) -> list[str]:
    return [version["spec"].get("profile", "")]


def versions_of_model(model: Body, caches: Caches) -> list[ObjectKey]:
    return caches.select("versions", "model", model["metadata"]["name"])


def model_of_version(version: Body, _caches: Caches) -> list[ObjectKey]:
    return [ObjectKey("models", version["metadata"]["namespace"], version["spec"]["model"])]


WATCHES = (
    Watch(
        resource=MODELS,
        fan_outs=(
            FanOut(
                relevant=lambda body: [body["spec"], body["metadata"].get("labels")],
                dependents=versions_of_model,
            ),
        ),
    ),
    Watch(
        resource=VERSIONS,
        indexes={"model": model_of, "profile": profile_of},
        fan_outs=(
            FanOut(
                relevant=lambda body: [body["spec"]["model"], body.get("status", {}).get("phase")],
                dependents=model_of_version,
            ),
        ),
    ),
    Watch(
        resource=PROFILES,
        reconciled=False,
        fan_outs=(
            FanOut(
                relevant=lambda body: body["spec"],
                dependents=lambda body, caches: caches.select("versions", "profile", body["metadata"]["name"]),
            ),
        ),
    ),
)


def tell(informer: Informer, kind: str, event_type: str, changed: Body) -> None:
    informer.take_events(kind, [WatchEvent(type=event_type, body=changed)])


def body(name: str, version: int, **parts: Any) -> Body:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": str(version)}
    metadata |= {"generation": 1} | parts.pop("metadata", {})
    return {"metadata": metadata, "spec": {"model": "granite", "profile": "l4"}, **parts}


def profile(version: int, **spec: Any) -> Body:
    return {"metadata": {"name": "l4", "uid": "uid-l4", "resourceVersion": str(version)}, "spec": spec}


def page(kind: str, *items: Body, version: int = 100, **parts: Any) -> ListPage:
    facts: dict[str, Any] = {"namespace": None, "first": True, "last": True} | parts
    return ListPage(kind=kind, items=items, resource_version=str(version), **facts)


class Bench:
    """An informer whose queue is a list."""

    def __init__(self, *, watches: tuple[Watch, ...] = WATCHES, **options: Any) -> None:
        self.clock = FakeClock()
        self.caches = build_caches(watches)
        self.keys: list[ObjectKey] = []
        self.events: list[tuple[str, str]] = []
        self.informer = Informer(
            watches=watches,
            caches=self.caches,
            enqueue=self.keys.append,
            clock=self.clock,
            on_event=lambda kind, event_type: self.events.append((kind, event_type)),
            **options,
        )

    def sync(self, *, versions: tuple[Body, ...] = (), models: tuple[Body, ...] = ()) -> None:
        self.informer.take_page(page("versions", *versions))
        self.informer.take_page(page("models", *models))
        self.informer.take_page(page("profiles", profile(10, memory="24Gi")))
        assert self.informer.synced.is_set()
        self.keys.clear()
        self.events.clear()

    def names(self) -> list[tuple[str, str]]:
        found = sorted({(key.kind, key.name) for key in self.keys})
        self.keys.clear()
        return found


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.sync(versions=(body("v1", 10), body("v2", 11)), models=(body("granite", 12),))
    return made


OWN = [("versions", "v1")]


@pytest.mark.parametrize(
    ("change", "enqueued"),
    [
        pytest.param({"metadata": {"generation": 2}}, OWN, id="generation"),
        pytest.param({"metadata": {"deletionTimestamp": "2026-11-21T08:00:00Z"}}, OWN, id="deletionTimestamp"),
        pytest.param({"metadata": {"annotations": {REQUESTED_AT: "now"}}}, OWN, id="reconcile requested"),
        pytest.param({"metadata": {"uid": "recreated"}}, OWN, id="another object of the same name"),
        pytest.param({"metadata": {"labels": {"team": "red"}}}, [], id="labels"),
        pytest.param({"metadata": {"annotations": {"note": "hi"}}}, [], id="other annotations"),
        pytest.param({"metadata": {"finalizers": ["x"]}}, [], id="finalizers"),
    ],
)
def test_a_change_enqueues_its_own_key_only_when_it_means_something(
    bench: Bench, change: dict[str, Any], enqueued: list[tuple[str, str]]
) -> None:
    tell(bench.informer, "versions", "MODIFIED", body("v1", 20, **change))
    assert bench.names() == enqueued


def test_the_same_event_twice_enqueues_once(bench: Bench) -> None:
    for _ in range(2):
        bench.informer.take_events(
            "versions", [WatchEvent(type="MODIFIED", body=body("v1", 20, metadata={"generation": 2}))]
        )
    assert len(bench.keys) == 1


def test_new_and_deleted_objects_enqueue_themselves_and_their_dependents(bench: Bench) -> None:
    tell(bench.informer, "versions", "ADDED", body("v3", 20))
    assert bench.names() == [("models", "granite"), ("versions", "v3")]
    tell(bench.informer, "versions", "DELETED", body("v3", 21))
    assert bench.names() == [("models", "granite"), ("versions", "v3")]


@pytest.mark.parametrize(
    ("spec", "enqueued"),
    [({"memory": "48Gi"}, [("versions", "v1"), ("versions", "v2")]), ({"memory": "24Gi"}, [])],
)
def test_dependents_are_enqueued_only_when_the_relevant_part_changed(
    bench: Bench, spec: dict[str, str], enqueued: list[tuple[str, str]]
) -> None:
    tell(bench.informer, "profiles", "MODIFIED", profile(20, **spec))
    assert bench.names() == enqueued


def test_a_kind_that_is_not_reconciled_never_enqueues_itself(bench: Bench) -> None:
    tell(bench.informer, "profiles", "DELETED", profile(20))
    assert bench.names() == [("versions", "v1"), ("versions", "v2")]


def test_objects_that_are_one_piece_of_work_enqueue_one_key() -> None:
    bench = Bench(watches=(Watch(resource=PROFILES, together="all"),))
    every = ObjectKey("profiles", "", "all")
    shards = [body(f"shard-{number}", number + 1, metadata={"namespace": ""}) for number in range(5)]
    bench.informer.take_page(page("profiles", *shards))
    assert set(bench.keys) == {every}
    bench.keys.clear()
    tell(bench.informer, "profiles", "MODIFIED", body("shard-1", 20, metadata={"namespace": "", "generation": 2}))
    tell(bench.informer, "profiles", "DELETED", body("shard-2", 21, metadata={"namespace": ""}))
    assert bench.keys == [every] * 2
    bench.keys.clear()
    tell(bench.informer, "profiles", "MODIFIED", body("shard-3", 22, metadata={"namespace": ""}, status={"forged": 1}))
    bench.clock.advance(60)
    assert bench.keys == [every]


def test_labels_count_where_the_watch_says_so(bench: Bench) -> None:
    bench.informer.take_events(
        "models", [WatchEvent(type="MODIFIED", body=body("granite", 20, metadata={"labels": {"tier": "high"}}))]
    )
    assert bench.names() == [("versions", "v1"), ("versions", "v2")]


def test_an_object_that_moves_tells_its_old_and_its_new_dependents(bench: Bench) -> None:
    moved = body("v1", 20, spec={"model": "mistral"}, metadata={"generation": 2})
    tell(bench.informer, "versions", "MODIFIED", moved)
    assert bench.names() == [("models", "granite"), ("models", "mistral"), ("versions", "v1")]


def test_an_own_status_write_enqueues_dependents_but_not_itself(bench: Bench) -> None:
    written = body("v1", 20, status={"phase": "Ready"})
    bench.caches["versions"].put_own_write(written)
    tell(bench.informer, "versions", "MODIFIED", written)
    bench.clock.advance(1)
    assert bench.names() == [("models", "granite")]


def test_an_own_write_seen_by_the_watch_first_is_not_taken_for_a_forgery(bench: Bench) -> None:
    written = body("v1", 20, status={"phase": "Ready"})
    tell(bench.informer, "versions", "MODIFIED", written)
    bench.clock.advance(0.1)
    bench.caches["versions"].put_own_write(written)
    bench.clock.advance(1)
    assert ("versions", "v1") not in bench.names()


def test_an_own_write_that_carries_a_newer_spec_enqueues_itself(bench: Bench) -> None:
    """The event of the spec change is older than the write and will be ignored."""
    bench.caches["versions"].put_own_write(body("v1", 21, metadata={"generation": 2}, status={"phase": "x"}))
    bench.informer.take_events(
        "versions", [WatchEvent(type="MODIFIED", body=body("v1", 20, metadata={"generation": 2}))]
    )
    assert ("versions", "v1") in bench.names()


@pytest.mark.parametrize("status", [{"phase": "Ready to Deploy"}, {}, None])
def test_a_status_forged_or_wiped_by_somebody_else_enqueues_its_key(
    bench: Bench, status: dict[str, str] | None
) -> None:
    bench.caches["versions"].put_own_write(body("v1", 20, status={"phase": "Rejected"}))
    bench.names()
    tell(bench.informer, "versions", "MODIFIED", body("v1", 21, status=status or {}))
    bench.clock.advance(0.2)
    assert ("versions", "v1") not in bench.names()
    bench.clock.advance(0.1)
    assert bench.names() == OWN


def test_a_status_forged_and_then_overwritten_by_an_own_write_is_left_alone(bench: Bench) -> None:
    bench.informer.take_events(
        "versions", [WatchEvent(type="MODIFIED", body=body("v1", 20, status={"phase": "forged"}))]
    )
    bench.caches["versions"].put_own_write(body("v1", 21, status={"phase": "Rejected"}))
    bench.names()
    bench.clock.advance(1)
    assert bench.names() == []


def test_before_the_caches_are_complete_objects_enqueue_themselves_only() -> None:
    bench = Bench()
    bench.informer.take_page(page("versions", body("v1", 10)))
    bench.informer.take_page(page("profiles", profile(10)))
    assert bench.names() == [("versions", "v1")]
    assert bench.informer.missing == ["models"]
    assert not bench.informer.synced.is_set()


def test_it_is_synced_only_after_the_last_page_of_every_kind() -> None:
    bench = Bench()
    bench.informer.take_page(page("models"))
    bench.informer.take_page(page("profiles"))
    bench.informer.take_page(page("versions", body("v1", 10), last=False))
    assert not bench.informer.synced.is_set()
    bench.informer.take_page(page("versions", body("v2", 11), first=False))
    assert bench.informer.synced.is_set()
    assert len(bench.caches["versions"]) == 2


def test_it_is_synced_only_after_every_namespace() -> None:
    bench = Bench(namespaces=("red", "blue"))
    bench.informer.take_page(page("profiles"))
    for kind in ("models", "versions"):
        bench.informer.take_page(page(kind, namespace="red"))
    assert bench.informer.missing == ["models", "versions"]
    for kind in ("models", "versions"):
        bench.informer.take_page(page(kind, namespace="blue"))
    assert bench.informer.synced.is_set()


def test_a_new_list_deletes_what_it_does_not_have(bench: Bench) -> None:
    bench.informer.take_page(page("versions", body("v1", 10), version=200))
    assert bench.names() == [("models", "granite"), ("versions", "v2")]
    assert ("versions", "VANISHED") in bench.events


def test_a_new_list_of_unchanged_objects_enqueues_nothing(bench: Bench) -> None:
    bench.informer.take_page(page("versions", body("v1", 10), body("v2", 11), version=200))
    assert bench.names() == []


def test_a_list_that_broke_off_deletes_nothing(bench: Bench) -> None:
    bench.informer.take_page(page("versions", body("v1", 10), version=200, last=False))
    bench.informer.take_page(page("versions", body("v1", 10), version=201, last=False))
    assert bench.names() == []
    bench.informer.take_page(page("versions", body("v2", 11), version=201, first=False))
    assert bench.names() == []


def test_a_page_of_a_list_that_was_not_begun_is_ignored(bench: Bench) -> None:
    bench.informer.take_page(page("versions", version=200, first=False))
    assert len(bench.caches["versions"]) == 2


def test_an_object_that_cannot_be_indexed_does_not_stop_the_others(bench: Bench) -> None:
    broken = body("broken", 20, spec={})
    bench.informer.take_page(page("versions", broken, body("v1", 10), body("v2", 11), body("v3", 21), version=200))
    assert {("versions", "v3"), ("versions", "broken")} <= set(bench.names())
    assert len(bench.caches["versions"]) == 4


def test_dependents_need_a_relevant_part() -> None:
    with pytest.raises(TypeError, match="relevant"):
        FanOut(dependents=versions_of_model)  # type: ignore[call-arg]


def test_only_the_dependents_whose_part_changed_are_enqueued() -> None:
    def key(name: str) -> ObjectKey:
        return ObjectKey("models", "team", name)

    def spec(body: Body) -> object:
        return body["spec"]

    watch = Watch(
        resource=VERSIONS,
        fan_outs=(
            FanOut(relevant=spec, dependents=lambda *_: [key("of spec")]),
            FanOut(relevant=spec, dependents=lambda *_: [key("also of spec")]),
            FanOut(relevant=lambda body: body.get("status"), dependents=lambda *_: [key("of status")]),
        ),
    )
    keys = list[ObjectKey]()
    informer = Informer(watches=[watch], caches=build_caches([watch]), enqueue=keys.append, clock=FakeClock())
    informer.take_page(page("versions", body("v1", 10)))

    def enqueued() -> set[str]:
        names = {key.name for key in keys if key.kind == "models"}
        keys.clear()
        return names

    assert enqueued() == set()
    tell(informer, "versions", "MODIFIED", body("v1", 11, status={"phase": "Ready"}))
    assert enqueued() == {"of status"}
    tell(informer, "versions", "MODIFIED", body("v1", 12, spec={}, status={"phase": "Ready"}))
    assert enqueued() == {"of spec", "also of spec"}
    tell(informer, "versions", "DELETED", body("v1", 13, spec={}))
    assert enqueued() == {"of spec", "also of spec", "of status"}


def test_every_change_wakes_a_kind_that_is_reconciled_as_a_whole() -> None:
    woken = ObjectKey("lists", "", "*")
    watch = Watch(resource=VERSIONS, reconciled=False, wakes=(woken,))
    keys = list[ObjectKey]()
    informer = Informer(watches=[watch], caches=build_caches([watch]), enqueue=keys.append, clock=FakeClock())
    informer.take_events("versions", [WatchEvent(type="ADDED", body=body("v1", 10))])
    assert keys == [woken], "even before the caches are complete"
    informer.take_page(page("versions"))
    tell(informer, "versions", "MODIFIED", body("v1", 111, status={"phase": "Ready"}))
    assert keys[-1] == woken


def summing_informer(clock: FakeClock, keys: list[ObjectKey]) -> Informer:
    summed = Watch(
        resource=VERSIONS,
        fan_outs=(FanOut(relevant=lambda body: body["spec"], dependents=model_of_version, settle=2.0),),
        reconciled=False,
    )
    informer = Informer(watches=[summed], caches=build_caches([summed]), enqueue=keys.append, clock=clock)
    informer.take_page(page("versions"))
    return informer


GRANITE = ObjectKey("models", "team", "granite")


def test_dependents_that_only_sum_up_are_enqueued_once_the_changes_have_settled() -> None:
    clock, keys = FakeClock(), list[ObjectKey]()
    informer = summing_informer(clock, keys)

    for number in range(5):
        tell(informer, "versions", "ADDED", body(f"v{number}", 101 + number))
        clock.advance(1.5)
    assert keys == []

    clock.advance(0.6)
    assert keys == [GRANITE]
    assert clock.pending == 0


def test_one_object_that_changes_puts_off_the_dependents_of_all() -> None:
    clock, keys = FakeClock(), list[ObjectKey]()
    informer = summing_informer(clock, keys)

    tell(informer, "versions", "ADDED", body("v1", 101))
    clock.advance(1.5)
    tell(informer, "versions", "ADDED", body("v2", 102, spec={"model": "llama"}))
    clock.advance(1.5)
    assert keys == []

    clock.advance(0.6)
    assert set(keys) == {GRANITE, ObjectKey("models", "team", "llama")}


def test_changes_that_never_settle_are_summed_up_now_and_then() -> None:
    clock, keys = FakeClock(), list[ObjectKey]()
    informer = summing_informer(clock, keys)

    for number in range(130):
        tell(informer, "versions", "ADDED", body(f"v{number}", 101 + number))
        clock.advance(1.0)

    assert keys == [GRANITE] * 2
