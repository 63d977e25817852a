"""What clients read of a decision, and when that is written; what a recorded row means to a decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

import worlds
from gatehouse.domain.version.facts import Registration, Unmet
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.records import VersionRecord
from gatehouse.domain.version.shown import ShownDecision, owes_write


def recorded(**changes: object) -> VersionRecord:
    """The row that a client recorded."""
    nothing = {"object_name": "", "uid": "", "uri": "", "phase": "", "digest": None, "hardware_profile": ""}
    said = {"artifact": None, "spec": "{}", "governance": None, "state": "RECORDED", "id": 7, "model_id": 3}
    return worlds.row(**nothing | said | changes)


def settled(**changes: object) -> tuple[VersionRecord, VersionRecord]:
    """A row and the record of a decision that found nothing new."""
    row = decide(worlds.facts(artifact=worlds.record(), row=worlds.row())).record
    assert row is not None
    again = decide(worlds.facts(artifact=worlds.record(), row=row, **changes)).record
    assert again is not None
    return row, again


def test_the_stages_the_fit_and_the_first_shut_gate_are_shown() -> None:
    decision = decide(worlds.facts(artifact=worlds.record()))
    assert decision.record is not None
    shown = ShownDecision.parse(decision.record.shown)
    assert (shown.cleared_for, shown.fit, shown.blocked_by) == (decision.cleared_for, "Fits", "")
    assert shown.cleared_for
    shut = decide(worlds.facts(artifact=None))
    assert shut.record is not None
    assert shut.first_shut is not None
    shown = ShownDecision.parse(shut.record.shown)
    assert (shown.cleared_for, shown.reason) == ((), shut.first_shut.finding.reason)
    assert shown.blocked_by == shut.first_shut.message


@pytest.mark.parametrize("text", [None, "", "null", "[]", "7", "{", '{"clearedFor": 3}', '{"fit": null}'])
def test_text_of_another_program_shows_nothing(text: str | None) -> None:
    assert ShownDecision.parse(text).cleared_for == ()


def test_a_long_message_of_any_characters_is_kept_short() -> None:
    text = ShownDecision(blocked_by="a\udcff\x00" * 2_000).text()
    assert len(ShownDecision.parse(text).blocked_by) == 1_000
    assert "\x00" not in text


def test_nothing_new_is_no_write_even_where_a_row_shows_nothing_yet() -> None:
    row, record = settled()
    assert not owes_write(record, row)
    assert not owes_write(record, replace(row, shown=None))
    assert owes_write(replace(record, phase="Draft"), replace(row, shown=None))


def test_another_fit_or_cause_is_a_write_and_another_message_alone_is_none() -> None:
    row, record = settled()
    shown = ShownDecision.parse(row.shown)
    assert owes_write(record, replace(row, shown=replace(shown, fit="Tight").text()))
    assert owes_write(record, replace(row, shown=replace(shown, reason="PolicyDenied").text()))
    assert not owes_write(record, replace(row, shown=replace(shown, blocked_by="other words").text()))
    verifying = replace(record, phase="Verifying")
    assert not owes_write(verifying, replace(row, phase="Verifying", shown=replace(shown, reason="Queued").text()))


def test_the_version_of_the_same_namespace_takes_a_recorded_row_over() -> None:
    facts = worlds.facts(artifact=worlds.record(), row=recorded())
    assert isinstance(facts.registration, Registration)
    record = decide(facts).record
    assert record is not None
    assert (record.id, record.model_id, record.state, record.uid) == (7, 3, "LIVE", "v-1")
    change = decide(facts).change
    assert change is not None
    assert change.before is None


def test_a_recorded_row_of_another_namespace_keeps_the_version_out() -> None:
    facts = worlds.facts(artifact=worlds.record(), row=recorded(namespace="others"))
    assert isinstance(facts.registration, Unmet)
    assert facts.registration.finding.reason == "NameTaken"
    decision = decide(facts)
    assert (decision.phase, decision.record, decision.cleared_for) == ("Waiting", None, ())


def test_a_recorded_row_clears_nothing_before_the_bytes_are_verified() -> None:
    lies = ShownDecision(cleared_for=("production",), fit="Fits").text()
    for row in (recorded(), recorded(shown=lies), recorded(phase="Ready to Deploy")):
        decision = decide(worlds.facts(artifact=None, row=row))
        assert (decision.phase, decision.cleared_for) == ("Verifying", ())
        assert decision.record is not None
        assert decision.record.digest is None
