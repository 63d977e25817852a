"""What an object knows of a row that its database has lost, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

import worlds
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.records import KnownIds
from gatehouse.domain.version.row_recovery import row_id
from gatehouse.domain.version.status import version_status

HERE = {"registry": "gatehouse-system/local", "registryId": "7"}
VERIFIED = [
    {
        "type": "ArtifactVerified",
        "status": "True",
        "reason": "Verified",
        "message": "",
        "lastTransitionTime": "2026-11-21T12:00:00Z",
        "observedGeneration": 1,
    }
]
CHANGED = [{**VERIFIED[0], "status": "False", "reason": "ArtifactChanged"}]
REGISTERED = {**HERE, "phase": "Ready to Deploy", "artifact": {"digest": worlds.DIGEST}, "conditions": VERIFIED}


@pytest.mark.parametrize(
    ("status", "known", "digest"),
    [
        ({}, None, None),
        (HERE, 7, None),
        (REGISTERED, 7, worlds.DIGEST),
        ({**REGISTERED, "registry": "gatehouse-system/other"}, None, None),
        ({**REGISTERED, "registryId": None}, None, None),
        ({**REGISTERED, "conditions": CHANGED}, 7, None),
        ({**REGISTERED, "conditions": []}, 7, None),
        ({**REGISTERED, "conditions": CHANGED, "recordedDigest": worlds.OTHER_DIGEST}, 7, worlds.OTHER_DIGEST),
        ({**HERE, "recordedDigest": worlds.DIGEST}, 7, worlds.DIGEST),
    ],
    ids=[
        "nothing",
        "not verified yet",
        "verified",
        "of another registry",
        "not registered",
        "changed",
        "no condition",
        "changed, and the recorded one",
        "missing",
    ],
)
def test_what_a_status_knows(status: dict[str, Any], known: int | None, digest: str | None) -> None:
    facts = worlds.facts(version=worlds.version(status=status))
    assert facts.known_ids == KnownIds(version=known)
    assert facts.kept_digest == digest
    assert facts.is_lost == (known is not None)
    assert not worlds.facts(version=worlds.version(status=status), row=worlds.row()).is_lost


@pytest.mark.parametrize("text", [None, "", "0", "-1", "1.0", " 1", "１", "seven", str(2**53), "9" * 32])
def test_what_is_no_id(text: str | None) -> None:
    assert row_id(text) is None


def test_a_lost_row_is_made_again_with_the_digest_and_says_so() -> None:
    decision = decide(worlds.facts(version=worlds.version(status=REGISTERED)))
    assert decision.record is not None
    assert decision.change is not None
    assert (decision.phase, decision.record.id, decision.record.digest) == ("Ready to Deploy", None, worlds.DIGEST)
    assert (decision.change.before, decision.change.after) == ("Ready to Deploy", "Ready to Deploy")
    assert decision.change.reason == "Rebuilt"
    assert "every gate is open" in decision.change.message


def test_other_bytes_do_not_take_the_place_of_those_that_a_lost_row_was_of() -> None:
    found = worlds.record(digest=worlds.OTHER_DIGEST)
    facts = worlds.facts(version=worlds.version(status=REGISTERED), artifact=found)
    decision = decide(facts)
    assert decision.phase == "Artifact Changed"
    assert decision.record is not None
    assert decision.record.digest == worlds.DIGEST
    status = version_status(facts, decision, registry_id=7, template=None, now=worlds.NOW)
    assert status.artifact is not None
    assert (status.artifact.digest, status.recorded_digest) == (worlds.OTHER_DIGEST, worlds.DIGEST)


def test_the_recorded_digest_stands_in_the_status_only_where_it_is_not_what_was_found() -> None:
    facts = worlds.facts(row=worlds.row())
    assert version_status(facts, decide(facts), registry_id=7, template=None, now=worlds.NOW).recorded_digest is None
    missing = worlds.facts(row=worlds.row(), artifact=worlds.record(outcome="Missing", digest=None, summary=None))
    kept = version_status(missing, decide(missing), registry_id=7, template=None, now=worlds.NOW)
    assert (kept.artifact, kept.recorded_digest) == (None, worlds.DIGEST)


def test_a_row_with_a_digest_of_its_own_goes_before_what_the_object_knows() -> None:
    row = worlds.row(digest=worlds.OTHER_DIGEST)
    decision = decide(worlds.facts(version=worlds.version(status=REGISTERED), row=row))
    assert decision.phase == "Artifact Changed"
    assert decision.record is not None
    assert decision.record.digest == worlds.OTHER_DIGEST


def test_a_row_of_yesterday_without_a_digest_takes_the_one_that_the_object_knows() -> None:
    row = worlds.row(digest=None, phase="Verifying", artifact=None)
    decision = decide(worlds.facts(version=worlds.version(status=REGISTERED), row=row))
    assert decision.record is not None
    assert (decision.record.id, decision.record.digest, decision.phase) == (7, worlds.DIGEST, "Ready to Deploy")
    assert decision.change is not None
    assert (decision.change.before, decision.change.reason) == ("Verifying", "ReadyToDeploy")
