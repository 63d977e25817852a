from __future__ import annotations

import copy
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.runtime.cache import (
    REQUESTED_AT,
    CacheChange,
    Caches,
    ChangeType,
    ObjectCache,
    digest,
    is_newer,
    pack,
)
from gatehouse.runtime.refs import Body, Gvr, ObjectKey, key_of


def body(name: str = "a", version: str = "10", **parts: Any) -> Body:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": version}
    metadata |= parts.pop("metadata", {})
    return {"metadata": metadata, "spec": {"model": "granite"}, **parts}


def by_model(found: Body) -> list[str]:
    return [found["spec"]["model"]]


def key(name: str = "a") -> ObjectKey:
    return ObjectKey("widgets", "team", name)


@pytest.fixture
def cache() -> ObjectCache:
    return ObjectCache("widgets", {"model": by_model})


@pytest.mark.parametrize(
    ("candidate", "known", "newer"),
    [
        ("11", "10", True),
        ("10", "10", False),
        ("9", "10", False),
        ("100", "99", True),
        ("abc", "10", True),
        ("abc", "abc", False),
        ("", "", False),
        ("9" * 5000, "10", True),
        ("٩", "10", True),
    ],
)
def test_resource_versions_compare_as_numbers_where_they_are(candidate: str, known: str, newer: bool) -> None:
    assert is_newer(candidate, known) is newer


def test_a_body_comes_back_without_the_ballast(cache: ObjectCache) -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{...}", "mine": "yes"}
    given_body = body(metadata={"managedFields": [{"manager": "kubectl"}], "annotations": annotations})
    untouched = copy.deepcopy(given_body)
    cache.apply("ADDED", given_body)
    got = cache.get("team", "a")
    assert got is not None
    assert got["spec"] == {"model": "granite"}
    assert got["metadata"]["annotations"] == {"mine": "yes"}
    assert "managedFields" not in got["metadata"]
    assert given_body == untouched


def test_what_get_returns_is_the_callers_own(cache: ObjectCache) -> None:
    cache.apply("ADDED", body())
    first = cache.get("team", "a")
    assert first is not None
    first["spec"]["model"] = "changed"
    assert cache.get("team", "a") != first


@pytest.mark.parametrize("version", ["9", "10"])
def test_older_and_equal_versions_are_ignored(cache: ObjectCache, version: str) -> None:
    cache.apply("ADDED", body(version="10"))
    assert cache.apply("MODIFIED", body(version=version, spec={"model": "stale"})) is None
    assert cache.select("model", "stale") == []


def test_a_change_tells_before_and_after(cache: ObjectCache) -> None:
    added = cache.apply(None, body(version="10", metadata={"generation": 1}))
    changed = cache.apply(
        "MODIFIED",
        body(
            version="11",
            spec={"model": "mistral"},
            metadata={"generation": 2, "deletionTimestamp": "now", "annotations": {REQUESTED_AT: "t"}},
        ),
    )
    assert added is not None
    assert (added.type, added.before, added.body_before) == (ChangeType.ADDED, None, None)
    assert changed is not None
    assert changed.before is not None
    assert changed.after is not None
    assert changed.type is ChangeType.MODIFIED
    assert (changed.before.generation, changed.after.generation) == (1, 2)
    assert (changed.after.deletion_timestamp, changed.after.requested_at) == ("now", "t")
    assert changed.body_before is not None
    assert changed.body_before["spec"] == {"model": "granite"}


def test_indexes_follow_changes_and_deletions(cache: ObjectCache) -> None:
    cache.apply("ADDED", body("a"))
    cache.apply("ADDED", body("b"))
    assert set(cache.select("model", "granite")) == {key("a"), key("b")}
    cache.apply("MODIFIED", body("a", version="11", spec={"model": "mistral"}))
    assert cache.select("model", "granite") == [key("b")]
    assert cache.select("model", "mistral") == [key("a")]
    cache.apply("DELETED", body("b", version="12"))
    assert cache.select("model", "granite") == []
    assert cache._reverse == {"model": {"mistral": {key("a")}}}


def test_an_unknown_index_is_named_with_the_known_ones(cache: ObjectCache) -> None:
    with pytest.raises(LookupError, match=r"no index 'modle', only \['model'\]"):
        cache.select("modle", "granite")


def test_an_index_that_fails_finds_the_object_no_more_and_the_old_body_does_not_go_on_counting(
    cache: ObjectCache,
) -> None:
    cache.apply("ADDED", body())
    assert cache.apply("MODIFIED", body(version="11", spec={})) is not None
    assert cache.select("model", "granite") == []
    assert cache.knows(key(), "11")
    newest = cache.get("team", "a")
    assert newest is not None
    assert newest["spec"] == {}


def test_a_listener_that_fails_keeps_no_other_from_hearing(cache: ObjectCache) -> None:
    heard: list[str] = []
    cache.subscribe(lambda _change: heard.append(str(1 / 0)))
    cache.subscribe(lambda change: heard.append(change.type))
    assert cache.apply("ADDED", body()) is not None
    assert heard == ["ADDED"]


def test_a_late_event_does_not_bring_a_deleted_object_back(cache: ObjectCache) -> None:
    cache.apply("ADDED", body(version="10"))
    cache.apply("DELETED", body(version="12"))
    assert cache.apply("MODIFIED", body(version="11")) is None
    assert len(cache) == 0
    assert cache.apply("ADDED", body(version="13")) is not None


def test_a_late_deletion_of_an_earlier_life_is_ignored(cache: ObjectCache) -> None:
    cache.apply("ADDED", body(version="20", metadata={"uid": "second"}))
    assert cache.apply("DELETED", body(version="15", metadata={"uid": "first"})) is None
    assert len(cache) == 1


def test_deleting_the_unknown_changes_nothing(cache: ObjectCache) -> None:
    assert cache.apply("DELETED", body()) is None


def test_tombstones_are_bounded(cache: ObjectCache) -> None:
    for number in range(10_000):
        cache.apply("DELETED", body(f"n{number}", version=str(number)))
    assert len(cache._gone.versions) == 4096


def test_an_own_write_is_read_at_once_and_its_event_is_nothing_new(cache: ObjectCache) -> None:
    cache.apply("ADDED", body(version="10"))
    written = body(version="11", status={"phase": "Ready"})
    change = cache.put_own_write(written)
    assert change is not None
    assert change.own
    got = cache.get("team", "a")
    assert got is not None
    assert got["status"] == {"phase": "Ready"}
    assert cache.apply("MODIFIED", written) is None
    assert cache.is_own_version(key(), "11")
    assert not cache.is_own_version(key(), "12")


def test_an_own_write_whose_event_came_first_is_still_known_as_own(cache: ObjectCache) -> None:
    cache.apply("ADDED", body(version="10"))
    cache.apply("MODIFIED", body(version="11", status={"phase": "Ready"}))
    assert not cache.is_own_version(key(), "11")
    assert cache.put_own_write(body(version="11", status={"phase": "Ready"})) is None
    assert cache.is_own_version(key(), "11")


def test_an_own_write_does_not_bring_a_deleted_object_back(cache: ObjectCache) -> None:
    cache.apply("ADDED", body(version="10"))
    cache.apply("DELETED", body(version="12"))
    assert cache.put_own_write(body(version="11")) is None
    assert len(cache) == 0
    assert cache._own_versions == {}


def test_retain_drops_what_a_list_did_not_have_but_nothing_newer(cache: ObjectCache) -> None:
    told: list[CacheChange] = []
    for name, version in (("kept", "10"), ("gone", "11"), ("newer", "21")):
        cache.apply("ADDED", body(name, version))
    cache.apply("ADDED", body("elsewhere", "12", metadata={"namespace": "other"}))
    cache.subscribe(told.append)
    dropped = cache.retain({key("kept")}, namespace="team", resource_version="20")
    assert [change.key for change in dropped] == [key("gone")]
    assert told == dropped
    assert {found.name for found in cache.keys(None)} == {"kept", "newer", "elsewhere"}
    assert cache.apply("MODIFIED", body("gone", "19")) is None


def test_keys_and_bodies_of_one_namespace(cache: ObjectCache) -> None:
    cache.apply("ADDED", body("a"))
    cache.apply("ADDED", body("b", metadata={"namespace": "other"}))
    assert [found.name for found in cache.keys("team")] == ["a"]
    assert [found["metadata"]["name"] for found in cache.bodies("other")] == ["b"]
    assert len(list(cache.bodies())) == 2


def test_caches_find_by_kind_and_name_the_kinds_they_have(cache: ObjectCache) -> None:
    cache.apply("ADDED", body())
    caches = Caches([cache])
    assert caches.get(key()) is not None
    assert caches.select("widgets", "model", "granite") == [key()]
    with pytest.raises(LookupError, match=r"no cache for 'gadgets', only for \['widgets'\]"):
        caches["gadgets"]


def test_cluster_scoped_objects_have_an_empty_namespace() -> None:
    assert key_of("profiles", {"metadata": {"name": "l4"}}) == ObjectKey("profiles", "", "l4")


def test_paths_of_collections() -> None:
    widgets, pods = Gvr("example.dev", "v1", "widgets", True), Gvr("", "v1", "pods", True)
    profiles = Gvr("example.dev", "v1", "profiles", False)
    assert widgets.path() == "/apis/example.dev/v1/widgets"
    assert widgets.path("team") == "/apis/example.dev/v1/namespaces/team/widgets"
    assert pods.path("team") == "/api/v1/namespaces/team/pods"
    assert profiles.path("team") == "/apis/example.dev/v1/profiles"


def test_digests_ignore_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[tuple[str, Body]], set[str]]:
    """The events of some objects' lives in any order, some twice, and the names that live at the end."""
    events: list[tuple[str, Body]] = []
    live: dict[str, int] = {}
    for version, (name, deletes) in enumerate(
        draw(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=15)), start=1
    ):
        born = live.setdefault(name, version)
        state = body(name, str(version), metadata={"uid": f"{name}-{born}"})
        events.append(("DELETED" if deletes else "MODIFIED", state))
        if deletes:
            del live[name]
    delivered = draw(st.permutations(events))
    return delivered + draw(st.permutations(events)), set(live)


@given(deliveries())
def test_in_whatever_order_events_come_the_newest_wins(
    delivered: tuple[list[tuple[str, Body]], set[str]],
) -> None:
    events, live = delivered
    cache = ObjectCache("widgets", {"model": by_model})
    for event_type, state in events:
        cache.apply(event_type, state)
    assert {found.name for found in cache.keys(None)} == live
    assert {found.name for found in cache.select("model", "granite")} == live


def test_an_older_deletion_does_not_hide_a_newer_one(cache: ObjectCache) -> None:
    cache.apply("DELETED", body(version="12"))
    cache.apply("DELETED", body(version="10"))
    assert cache.apply("MODIFIED", body(version="11")) is None


def test_only_what_is_to_be_kept_is_kept_and_told() -> None:
    def keep(found: Body) -> Body:
        return {"metadata": found["metadata"], "spec": {"model": found["spec"]["model"]}}

    cache, told = ObjectCache("widgets", {"model": by_model}, keep=keep), list[CacheChange]()
    cache.subscribe(told.append)
    cache.apply("ADDED", body(spec={"model": "granite", "ballast": "x" * 10_000}))
    cache.apply("MODIFIED", body(version="11", spec={"model": "mistral", "ballast": "y" * 10_000}))
    cache.apply("DELETED", body(version="12", spec={"model": "mistral", "ballast": "y" * 10_000}))
    assert [change.body["spec"]["model"] for change in told] == ["granite", "mistral", "mistral"]
    assert all(change.body["spec"].keys() == {"model"} for change in told)
    assert told[1].body_before == body(spec={"model": "granite"})


def test_a_short_body_takes_little_more_than_its_bytes() -> None:
    """What orjson returns keeps 4 KiB, however short the body is."""
    bodies = [body(f"w{number}") for number in range(1000)]
    tracemalloc.start()
    try:
        kept = [pack(each) for each in bodies]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < sum(len(each) + 100 for each in kept)
