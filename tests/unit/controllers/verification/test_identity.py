"""What tells an object from another, when a hash of it stands no more, and when everything is read again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collisions import ONE, OTHER
from fakestore import FakeStore
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import HEAVY_BYTES, CheckRequest, CheckResult, Verifier
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.errors import Transient
from gatehouse.domain.version.schedule import reread_due
from modelfiles import config_json, safetensors_file
from worlds import record

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FILES = {
    "m/config.json": config_json(),
    "m/model.safetensors": safetensors_file({"a": ("BF16", (4, 4))}),
    "m/tokenizer.json": b"{}",
    "m/vocabulary.dat": ONE,
}


class FixedClock:
    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


class Rests:
    """Counts the times that a check rests, and may change the store meanwhile."""

    def __init__(self, store: FakeStore, *answers: datetime) -> None:
        self.store = store
        self.answers = list(answers)
        self.count = 0

    async def __call__(self, _seconds: float) -> None:
        self.count += 1
        if self.answers:
            self.store.answered_at = self.answers.pop(0)


def verification(store: FakeStore, at: datetime, before: CheckResult | None, **options: Any) -> Verifier:
    rest = options.pop("rest", None)
    request = CheckRequest(
        store=store,
        prefix="m/",
        artifact_format="safetensors",
        previous=before.record if before else None,
        known={file.path: file for file in before.files or ()} if before else {},
        **options,
    )
    slots = CheckSlots()
    if rest is None:
        return Verifier(request, clock=FixedClock(at), slots=slots)
    return Verifier(request, clock=FixedClock(at), slots=slots, rest=rest)


async def check(
    store: FakeStore, *, at: datetime = NOW, before: CheckResult | None = None, **options: Any
) -> CheckResult:
    return await verification(store, at, before, **options).run()


def test_the_pair_is_one() -> None:
    assert ONE != OTHER
    assert len(ONE) == len(OTHER)
    assert hashlib.md5(ONE, usedforsecurity=False).digest() == hashlib.md5(OTHER, usedforsecurity=False).digest()


async def test_another_file_of_the_same_etag_and_size_is_seen_at_the_next_listing() -> None:
    store = FakeStore(dict(FILES))
    first = await check(store)
    before = {each.path: each.etag for each in (await store.list("m/", limit=10) or Listing(())).objects}
    store.objects["m/vocabulary.dat"] = OTHER
    after = {each.path: each.etag for each in (await store.list("m/", limit=10) or Listing(())).objects}
    assert before == after
    second = await check(store, at=NOW + DAY, before=first)
    assert second.record.digest not in {None, first.record.digest}


async def test_a_store_whose_clock_stands_hides_nothing_for_longer_than_the_reread() -> None:
    """As with an upload in parts that was begun before the files were verified: its time is that of its beginning."""
    store = FakeStore(dict(FILES), clock_stands=True)
    first = await check(store)
    store.objects["m/vocabulary.dat"] = OTHER
    assert (await check(store, at=NOW + DAY, before=first)).record.digest == first.record.digest
    due = reread_due(first.record, now=NOW, uid="v-1", interval=30 * DAY)
    assert due is not None
    assert NOW + 15 * DAY <= due <= NOW + 30 * DAY
    second = await check(store, at=due, before=first, reread=due)
    assert second.record.digest not in {None, first.record.digest}


async def test_reading_again_what_did_not_change_reads_each_file_once_and_keeps_the_outcome() -> None:
    store = FakeStore(dict(FILES))
    first = await check(store)
    store.read_keys.clear()
    at = NOW + 30 * DAY
    running = verification(store, at, first, reread=NOW + 20 * DAY)
    again = await running.run()
    assert running.progress.rereading
    assert sorted(store.read_keys) == sorted(FILES)
    assert again.record == replace(first.record, verified_at=at, read_at=at)
    assert again.files is not None
    store.read_keys.clear()
    last = await check(store, at=at + DAY, before=again, reread=None)
    assert (store.read_keys, last.record.read_at) == ([], at)


async def test_reading_again_goes_on_where_it_was_stopped() -> None:
    store = FakeStore(dict(FILES))
    first = await check(store)
    due = NOW + 20 * DAY
    known = {file.path: file for file in first.files or ()}
    for path in ("vocabulary.dat", "tokenizer.json"):
        known[path] = replace(known[path], hashed_at=due)
    store.read_keys.clear()
    again = await check(store, at=due + DAY, before=CheckResult(first.record, tuple(known.values())), reread=due)
    # The structure is read anew, and with it the small files that it is in.
    assert sorted(store.read_keys) == ["m/config.json", "m/model.safetensors"]
    assert (again.record.digest, again.record.read_at) == (first.record.digest, due)


async def test_reading_again_asks_a_store_that_is_trusted_for_its_checksums() -> None:
    large = b"x" * (9 * 1024 * 1024)
    store = FakeStore({**FILES, "m/large.dat": large})
    store.checksums = {"m/large.dat"}
    first = await check(store)
    store.requests.clear()
    read = store.bytes_read
    again = await check(store, at=NOW + 30 * DAY, before=first, reread=NOW + 20 * DAY)
    assert (store.requests["head"], again.record.digest) == (1, first.record.digest)
    assert store.bytes_read - read < len(large)


async def test_new_artifacts_do_not_wait_behind_those_that_are_read_again() -> None:
    store = FakeStore({**FILES, "m/large.dat": b"x" * (HEAVY_BYTES + 1)})
    first = await check(store)
    request = CheckRequest(
        store=store, prefix="m/", artifact_format="safetensors", previous=first.record, reread=NOW + 20 * DAY
    )
    slots = CheckSlots()
    await slots.rereads.acquire()
    new = Verifier(replace(request, previous=None, reread=None), clock=FixedClock(NOW), slots=slots)
    assert (await new.run()).record.outcome == "Verified"
    slots.rereads.release()
    again = Verifier(request, clock=FixedClock(NOW + 30 * DAY), slots=slots)
    assert (await again.run()).record.digest == first.record.digest


OBJECTS = st.builds(
    StoredObject,
    path=st.sampled_from(["a", "b", "a 1"]),
    size=st.integers(0, 12),
    etag=st.sampled_from(['"e"', '"f"', '"e-2"']),
    modified=st.sampled_from(["", "2026-11-01T00:00:00.000Z", "2026-11-01T00:00:01.000Z"]),
    version_id=st.sampled_from(["", "null", "v1", "v2"]),
)
LISTINGS = st.lists(OBJECTS, max_size=3, unique_by=lambda stored: stored.path).map(Listing.of)


@given(one=LISTINGS, other=LISTINGS)
def test_two_listings_have_one_fingerprint_only_if_they_are_the_same(one: Listing, other: Listing) -> None:
    assert (one.fingerprint == other.fingerprint) == (one.objects == other.objects)


@given(uid=st.uuids().map(str), days=st.integers(1, 400))
def test_no_hash_gets_older_than_the_interval_and_not_all_are_due_at_once(uid: str, days: int) -> None:
    found = record(read_at=NOW)
    due = reread_due(found, now=NOW, uid=uid, interval=days * DAY)
    assert due is not None
    assert NOW + days * DAY / 2 <= due <= NOW + days * DAY
    assert due == reread_due(found, now=NOW, uid=uid, interval=days * DAY)


def test_what_was_never_read_is_due_and_what_is_not_verified_never() -> None:
    due = reread_due(record(read_at=None), now=NOW, uid="v-1", interval=DAY)
    assert due is not None
    assert due < NOW - 365 * DAY
    assert reread_due(record(outcome="Invalid", digest=None), now=NOW, uid="v-1", interval=DAY) is None


# A store that counts whole seconds writes the same time on two objects of one second.

WHOLE = "2026-11-21T12:00:05.000Z"
WRITTEN = datetime(2026, 11, 21, 12, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("modified", "answered_at", "settling"),
    [
        (WHOLE, WRITTEN, True),
        (WHOLE, WRITTEN + timedelta(seconds=1), False),
        (WHOLE, WRITTEN - timedelta(seconds=1), True),
        (WHOLE, None, False),
        ("2026-11-21T12:00:05.001Z", WRITTEN, False),
        ("2026-11-21T12:00:05", WRITTEN, False),
        ("yesterday", WRITTEN, False),
    ],
)
def test_a_listing_settles(modified: str, answered_at: datetime | None, settling: bool) -> None:
    stored = StoredObject(path="a", size=1, etag='"e"', modified=modified)
    assert Listing.of([stored], answered_at=answered_at).settling is settling


async def test_nothing_is_read_in_the_second_in_which_it_was_written() -> None:
    store = FakeStore(dict(FILES), answered_at=WRITTEN, modified=dict.fromkeys(FILES, WHOLE), clock_stands=True)
    rests = Rests(store, WRITTEN + timedelta(seconds=1))

    def replaced(operation: str, _key: str) -> None:
        if operation == "list" and store.requests["list"] == 2:
            store.objects["m/vocabulary.dat"] = OTHER
        assert operation != "read" or store.requests["list"] == 2

    store.before = replaced
    result = await check(store, rest=rests)
    assert (rests.count, result.record.outcome) == (1, "Verified")
    assert {file.path: file.sha256 for file in result.files or ()}["vocabulary.dat"] == hashlib.sha256(
        OTHER
    ).hexdigest()


async def test_a_store_whose_clock_is_ahead_is_read_all_the_same() -> None:
    store = FakeStore(dict(FILES), answered_at=WRITTEN, modified=dict.fromkeys(FILES, "2036-11-21T12:00:05Z"))
    store.clock_stands = True
    rests = Rests(store)
    result = await check(store, rest=rests)
    assert (rests.count, result.record.outcome) == (2, "Verified")


async def test_a_change_while_files_are_read_again_ends_it() -> None:
    store = FakeStore(dict(FILES))
    first = await check(store)

    def swap(operation: str, key: str) -> None:
        if (operation, key) == ("read", "m/config.json"):
            store.objects["m/vocabulary.dat"] = bytes(store.objects["m/vocabulary.dat"][:-1]) + b"?"

    store.before = swap
    with pytest.raises(Transient) as raised:
        await check(store, at=NOW + 30 * DAY, before=first, reread=NOW + 20 * DAY)
    assert raised.value.reason == "ObjectChanged"


async def test_what_is_missing_is_missing_since_it_was_first_looked_for() -> None:
    store = FakeStore({})
    first = await check(store)
    assert (first.record.outcome, first.record.missing_since) == ("Missing", NOW)
    again = await check(store, at=NOW + DAY, before=first)
    assert (again.record.verified_at, again.record.missing_since) == (NOW + DAY, NOW)
    store.objects["m/sub/"] = b""
    folder = await check(store, at=NOW + 2 * DAY, before=again)
    assert (folder.record.outcome, folder.record.missing_since) == ("Missing", NOW)
    store.objects.update(FILES)
    there = await check(store, at=NOW + 3 * DAY, before=folder)
    assert (there.record.outcome, there.record.missing_since) == ("Verified", None)
    store.objects.clear()
    gone = await check(store, at=NOW + 4 * DAY, before=there)
    assert (gone.record.outcome, gone.record.missing_since) == ("Missing", NOW + 4 * DAY)
