"""What clients read of a decision, and when that is written; what a recorded row means to a decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.entries.measurements import MOST_MEASUREMENTS, MOST_METRICS, Estimate, Measurement
from gatehouse.domain.version.facts import Registration, Unmet
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.records import VersionRecord
from gatehouse.domain.version.shown import ShownDecision, owes_write
from policies import evaluation

BY_ALICE = worlds.version(submittedBy="alice")


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


def seen(**changes: Any) -> ShownDecision:
    record = decide(worlds.facts(version=BY_ALICE, artifact=worlds.record(), row=worlds.row(), **changes)).record
    assert record is not None
    return ShownDecision.parse(record.shown)


def test_what_others_measured_of_these_bytes_is_shown_the_newest_first() -> None:
    found = seen(
        evaluations=(
            evaluation("old", days=3),
            evaluation("new", days=1, task="arc_challenge"),
            evaluation("own", evaluator="alice"),
            evaluation("other-bytes", digest=worlds.OTHER_DIGEST),
            evaluation("of-a-deleted-version", versionRef={"name": "granite-1", "uid": "gone"}),
            evaluation("to-come", days=-3),
        )
    )
    assert [measured.name for measured in found.measured] == ["new", "old"]
    assert found.measured[0] == Measurement(
        name="new",
        kind="Task",
        suite="lm-eval",
        task="arc_challenge",
        dataset="arc",
        at=timestamp(worlds.NOW - timedelta(days=1)),
        metrics=(("acc", 0.71),),
    )
    assert seen().measured == ()


def test_what_is_shown_of_evaluations_is_bounded() -> None:
    metrics = [{"name": f"m{number:02}", "value": "-123456789012.12345678901234567e-99"} for number in range(64)]
    name = "n" * 63
    many = tuple(
        evaluation(f"{name}.{number}", days=number + 1, metrics=metrics, suite=name, task=name)
        for number in range(3 * MOST_MEASUREMENTS)
    )
    found = seen(evaluations=many)
    assert [len(measured.metrics) for measured in found.measured] == [MOST_METRICS] * MOST_MEASUREMENTS
    assert found.measured[0].name == f"{name}.0"
    assert len(found.text()) < 12_000


def test_the_figures_of_the_fit_are_shown_as_an_estimate() -> None:
    decision = decide(worlds.facts(artifact=worlds.record(), row=worlds.row()))
    assert decision.fit is not None
    estimate = seen().estimate
    assert estimate is not None
    assert estimate == Estimate(
        accelerators=decision.fit.tensor_parallel_size,
        max_model_len=decision.fit.max_model_len or 0,
        sequences=decision.fit.sequences or 0,
    )
    assert estimate.max_model_len > 0
    small = worlds.profile(memory="4Gi")
    assert (seen(profile=small).fit, seen(profile=small).estimate) == ("DoesNotFit", None)


def test_another_estimate_is_written_and_a_first_one_waits_for_another_change() -> None:
    row, record = settled()
    shown = ShownDecision.parse(record.shown)
    assert shown.estimate is not None
    other = replace(shown, estimate=replace(shown.estimate, max_model_len=256)).text()
    without = replace(shown, estimate=None).text()
    assert owes_write(record, replace(row, shown=other))
    assert not owes_write(record, replace(row, shown=without))


def test_a_withdrawn_evaluation_is_written_at_once() -> None:
    world = {"version": BY_ALICE, "artifact": worlds.record()}
    before = decide(worlds.facts(**world, row=worlds.row(), evaluations=(evaluation(),))).record
    assert before is not None
    assert len(ShownDecision.parse(before.shown).measured) == 1
    after = decide(worlds.facts(**world, row=before)).record
    assert after is not None
    assert owes_write(after, before)
    assert ShownDecision.parse(after.shown).measured == ()


@given(
    st.builds(
        ShownDecision,
        cleared_for=st.lists(st.text(max_size=9), max_size=2).map(tuple),
        estimate=st.none() | st.builds(Estimate),
        measured=st.lists(
            st.builds(
                Measurement,
                name=st.text(max_size=9),
                kind=st.text(max_size=9),
                suite=st.text(max_size=9),
                dataset=st.text(max_size=9),
                at=st.text(max_size=9),
                metrics=st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False)).map(
                    lambda each: tuple(sorted(each.items()))
                ),
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_text_reads_back(shown: ShownDecision) -> None:
    assert ShownDecision.parse(shown.text()) == shown


@pytest.mark.parametrize(
    "text", ['{"measured": 3}', '{"measured": [7]}', '{"measured": [{}]}', '{"estimate": {}}', '{"estimate": [1]}']
)
def test_text_of_another_program_measures_nothing(text: str) -> None:
    assert ShownDecision.parse(text) == ShownDecision()
