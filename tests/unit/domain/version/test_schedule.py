"""Which hashes count for a version, and when its files are read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import worlds
from gatehouse.domain.artifact.values import CheckProgress, content_source
from gatehouse.domain.version.lifecycle import check_due, decide
from gatehouse.domain.version.schedule import asks_store, distrusted, owes_reading, reread_since
from policies import policy

READ: dict[str, Any] = {"artifact": {"verification": "Content"}}
NOT_READ = {"StoreChecksum", "Mixed", None}


@pytest.mark.parametrize(
    ("verification", "policies", "asks", "not_counting"),
    [
        ({}, (), True, set()),
        ({"trustStoreChecksums": False}, (), False, {"StoreChecksum", "Mixed"}),
        ({}, (policy(**READ),), False, NOT_READ),
        ({"trustStoreChecksums": False}, (policy(**READ),), False, NOT_READ),
        ({}, (policy(mode="Audit", **READ),), True, set()),
        ({"trustStoreChecksums": False}, (policy(mode="Audit", **READ),), False, NOT_READ),
        ({}, (policy(),), True, set()),
        # A registry that reads nothing has nothing to put in the place of what is known.
        ({"content": False}, (policy(**READ),), True, set()),
        ({"content": False, "trustStoreChecksums": False}, (), False, set()),
    ],
)
def test_what_counts_follows_from_the_registry_and_its_policies(
    verification: dict[str, Any], policies: tuple[Any, ...], asks: bool, not_counting: set[str | None]
) -> None:
    facts = worlds.facts(registry=worlds.registry(verification=verification), policies=policies)

    assert (asks_store(facts), distrusted(facts)) == (asks, not_counting)


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (["Bytes", "Bytes"], "Bytes"),
        (["StoreChecksum"], "StoreChecksum"),
        (["Bytes", "StoreChecksum"], "Mixed"),
        (["StoreChecksum", None], "Mixed"),
        (["Bytes", None], None),
        ([None], None),
        ([], None),
    ],
)
def test_one_file_that_is_not_known_to_be_read_makes_the_artifact_one_that_is_not(
    sources: list[Any], found: str | None
) -> None:
    assert content_source(sources) == found


def test_only_what_is_verified_is_read_again() -> None:
    wants = {"policies": (policy(**READ),)}

    assert owes_reading(worlds.facts(**wants))
    assert not owes_reading(worlds.facts(artifact=worlds.record(content_source="Bytes"), **wants))
    assert not owes_reading(worlds.facts(artifact=worlds.record(outcome="Missing", digest=None), **wants))
    assert not owes_reading(worlds.facts(artifact=None, **wants))
    assert not owes_reading(worlds.facts())


def test_a_version_whose_files_are_being_read_waits_for_that() -> None:
    progress = CheckProgress(files_done=0, files=1, bytes_done=0, bytes=9, rereading=True)

    assert check_due(worlds.facts()) is not None
    assert check_due(worlds.facts(rereading=progress)) is None


@pytest.mark.parametrize(
    ("verification", "days", "outcome", "due"),
    [
        ({}, 14, "Verified", False),
        ({}, 30, "Verified", True),
        ({"reread": "24h"}, 1, "Verified", True),
        ({"reread": "24h"}, 0, "Verified", False),
        ({"content": False}, 30, "Verified", False),
        ({}, 30, "Invalid", False),
    ],
)
def test_files_are_due_again_however_the_store_shows_them(
    verification: dict[str, Any], days: int, outcome: str, due: bool
) -> None:
    artifact = worlds.record(outcome=outcome, read_at=worlds.NOW - timedelta(days=days), verified_at=worlds.NOW)
    facts = worlds.facts(registry=worlds.registry(verification=verification), artifact=artifact)

    since = reread_since(facts)

    assert (since is not None) is due
    # It is the same moment at every look, so that a check that goes on is the same check.
    assert since == reread_since(replace(facts, now=facts.now + timedelta(hours=1))) or not due


def test_reading_again_opens_and_shuts_nothing() -> None:
    old = worlds.facts(artifact=worlds.record(read_at=worlds.NOW - timedelta(days=400)))
    progress = CheckProgress(files_done=0, files=3, bytes_done=0, bytes=10, rereading=True)

    assert reread_since(old) is not None
    for facts in (old, replace(old, rereading=progress)):
        assert decide(facts).cleared_for == decide(worlds.facts()).cleared_for != ()
