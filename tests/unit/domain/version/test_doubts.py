"""What the store shows is not what was verified: the gate is shut at once, and stays so whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.domain.admission.contest import standing_of
from gatehouse.domain.artifact.values import CheckProgress
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.status import version_status
from gatehouse.registry.mappers import dump_artifact, load_artifact

ROW = worlds.row()
DIFFERS = CheckProgress(files_done=1, files=6, bytes_done=1, bytes=9, differs=True)
REREADING = CheckProgress(files_done=1, files=6, bytes_done=1, bytes=9, rereading=True)
DENIED = Finding(reason="AccessDenied", found="GET config.json is refused", expected="the files read", remedy="")


def written(facts: Facts) -> dict[str, Any]:
    status = version_status(facts, decide(facts), registry_id=7, template=None, now=facts.now)
    body = facts.version.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**body, "status": status.wire()}


def test_a_doubt_shuts_the_gate_and_says_why() -> None:
    doubted = worlds.record(doubted=True)
    decision = decide(worlds.facts(row=ROW, artifact=doubted, rereading=DENIED))

    assert (decision.phase, decision.cleared_for, decision.check_due) == ("Verifying", (), worlds.NOW)
    assert decision.first_shut is not None
    assert decision.first_shut.finding.reason == "ListingDiffers"
    assert "AccessDenied: GET config.json is refused" in decision.first_shut.finding.found
    assert decision.record is not None
    assert decision.record.artifact == doubted


def test_a_check_of_another_listing_leaves_a_doubt_in_the_row_that_outlives_the_operator() -> None:
    decision = decide(worlds.facts(row=ROW, artifact=DIFFERS))
    assert decision.record is not None
    assert decision.record.artifact == replace(worlds.record(), doubted=True)

    restarted = decide(worlds.facts(row=decision.record, artifact=decision.record.artifact))
    assert (restarted.phase, restarted.cleared_for) == ("Verifying", ())
    assert restarted.check_due == worlds.NOW


def test_reading_the_same_files_again_is_no_doubt() -> None:
    decision = decide(worlds.facts(row=ROW, artifact=worlds.record(), rereading=REREADING))

    assert decision.record is not None
    assert decision.record.artifact == worlds.record()
    assert decision.cleared_for


def test_files_that_changed_are_changed_whatever_is_shown_later() -> None:
    changed = worlds.record(digest=worlds.OTHER_DIGEST, doubted=True)
    assert decide(worlds.facts(row=ROW, artifact=changed)).phase == "Artifact Changed"


def test_a_doubt_survives_the_row() -> None:
    assert load_artifact(dump_artifact(worlds.record(doubted=True))).doubted
    assert not load_artifact(dump_artifact(worlds.record())).doubted


def test_what_is_doubted_keeps_its_recorded_digest_and_makes_others_look() -> None:
    standing = standing_of(written(worlds.facts(row=ROW, artifact=worlds.record(doubted=True))))

    assert standing is not None
    assert (standing.digest, standing.held, standing.verified) == (worlds.DIGEST, True, False)


@given(
    st.booleans(),
    st.sampled_from([None, DENIED]),
    st.integers(0, 10**6),
    st.sampled_from(["Submitted", "Draft", "Deprecated"]),
)
def test_no_doubt_is_cleared_however_young_the_last_check_is(
    progress: bool, rereading: Finding | None, seconds: int, state: str
) -> None:
    record = worlds.record(doubted=True, verified_at=worlds.NOW - timedelta(seconds=seconds))
    facts = worlds.facts(
        row=worlds.row(artifact=record),
        artifact=DIFFERS if progress else record,
        rereading=None if progress else rereading,
        version=worlds.version(state=state),
    )
    assert decide(facts).cleared_for == ()


def test_what_may_go_on_is_looked_at_also_when_nobody_submits_it_any_more() -> None:
    admitted = {"admittedTo": [{"stage": "staging", "namespace": "chatbots"}]}
    for state in ("Deprecated", "Archived", "Draft"):
        running = worlds.facts(row=ROW, version=worlds.version(state=state, status=admitted))
        assert running.watches_artifact
        assert decide(running).check_due is not None
        assert not decide(running).cleared_for
        gone = worlds.facts(row=ROW, version=worlds.version(state=state))
        assert not gone.watches_artifact
        assert decide(gone).check_due is None
