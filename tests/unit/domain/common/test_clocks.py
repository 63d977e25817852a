"""A clock that was ahead when it wrote a time puts nothing off: what lies ahead is due now, and is nobody's age."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies
import worlds
from gatehouse.api import KINDS
from gatehouse.api.meta import Condition
from gatehouse.domain.admission.contest import VersionStanding
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.common.clocks import CLOCK_SKEW, is_within, lies_ahead, timestamp
from gatehouse.domain.common.conditions import READY, RECONCILING, ConditionState, find, merge
from gatehouse.domain.common.errors import Transient
from gatehouse.domain.governance.evaluations import Results, counting
from gatehouse.domain.version.claims import suspected_at
from gatehouse.domain.version.lifecycle import check_due, decide
from gatehouse.domain.version.outcome import conditions_after_error
from gatehouse.domain.version.records import FileRecord, StateChange, VersionRecord
from gatehouse.domain.version.schedule import next_check, reread_due
from gatehouse.registry.tables import UtcDateTime, metadata

NOW = worlds.NOW
AHEAD = st.timedeltas(min_value=CLOCK_SKEW + timedelta(seconds=1), max_value=timedelta(days=365 * 900))
SPANS = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=400))
ANY_TIME = st.timedeltas(min_value=timedelta(days=-365 * 100), max_value=timedelta(days=365 * 900))
OUTAGE = Transient(reason="StoreUnavailable", message="no answer")

DECIDED: dict[str, str] = {
    "ArtifactRecord.verified_at": "the next look, and the grace of an outage",
    "ArtifactRecord.missing_since": "how soon what is missing is looked for again, and never later than each 30 s",
    "ArtifactRecord.read_at": "when files are read again",
    "FileRecord.hashed_at": "which files are read again",
    "StateChange.at": "nothing: it is shown",
    "entries.created_at": "nothing: it is shown, and orders lists",
    "entries.updated_at": "nothing: it is shown, and orders lists",
    "artifact_files.hashed_at": "which files are read again",
    "audit_checkpoints.at": "nothing: it is shown, and how long a copy is locked is counted from it",
    "history.at": "nothing: it is shown",
    "model_versions.archived_at": "nothing: it is shown",
    "model_versions.created_at": "nothing: it is shown",
    "model_versions.updated_at": "nothing: it is shown",
    "registered_models.archived_at": "nothing: it is shown",
    "registered_models.created_at": "nothing: it is shown",
    "registered_models.updated_at": "nothing: it is shown",
    "ObjectMeta.creation_timestamp": "the order of decisions: the API server writes it",
    "ObjectMeta.deletion_timestamp": "whether it is there, not when",
    "ModelEvaluationSpec.evaluated_at": "whether an evaluation counts, and until when",
    "Condition.last_transition_time": "the grace of an outage, and when a rival was judged",
    "ModelVersionStatus.claimed_at": "who registered a URI first: the order, not the age",
    "ServiceStatus.written_at": "how soon an edit by others is put back, and never later than after ten seconds",
    "RouteStatus.written_at": "how soon an edit by others is put back, and never later than after ten seconds",
    "StepStatus.measured_at": "when a step is measured again, and never later than after an interval",
    "ConditionedStatus.last_handled_reconcile_at": "nothing: it is compared as a text",
}
"""Every time that is kept, and what it decides. A new one has to be thought of here, and tested below."""


def test_every_time_that_is_kept_is_thought_of() -> None:
    kept = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, UtcDateTime)
    }
    for record in (ArtifactRecord, FileRecord, VersionRecord, StateChange):
        hints = typing.get_type_hints(record)
        kept |= {f"{record.__name__}.{each.name}" for each in fields(record) if _is_time(hints[each.name])}
    for model in {found for kind in KINDS for found in _models(kind)}:
        for name, field in model.model_fields.items():
            if name in model.__annotations__ and (_is_time(field.annotation) or name.endswith(("_at", "_time"))):
                kept.add(f"{model.__name__}.{name}")
    assert kept == set(DECIDED)


def _is_time(hint: Any) -> bool:
    return datetime in (typing.get_args(hint) or (hint,))


def _models(model: Any) -> set[Any]:
    found = {base for base in model.__mro__ if hasattr(base, "model_fields") and base.model_fields}
    for base in set(found):
        for field in base.model_fields.values():
            for part in _parts(field.annotation):
                if part not in found:
                    found |= _models(part)
    return found


def _parts(hint: Any) -> set[Any]:
    if hasattr(hint, "model_fields"):
        return {hint}
    if typing.get_origin(hint) is not None or isinstance(hint, types.UnionType):
        return {part for each in typing.get_args(hint) for part in _parts(each)}
    return set()


@given(at=ANY_TIME, span=SPANS)
def test_what_is_within_a_span_is_no_older_and_not_ahead(at: timedelta, span: timedelta) -> None:
    assert is_within(NOW + at, span, now=NOW) == (-span < at <= CLOCK_SKEW)
    assert lies_ahead(NOW + at, now=NOW) == (at > CLOCK_SKEW)


@given(at=ANY_TIME, interval=SPANS, outcome=st.sampled_from(["Verified", "Missing", "Invalid", "Unverified"]))
def test_the_next_look_is_never_further_away_than_the_interval(
    at: timedelta, interval: timedelta, outcome: str
) -> None:
    record = worlds.record(verified_at=NOW + at, outcome=outcome)
    due = next_check(record, now=NOW, uid="v-1", interval=interval, recorded_digest=None)
    assert due <= NOW + CLOCK_SKEW + 1.1 * interval
    if at > CLOCK_SKEW:
        assert due == NOW


@given(at=ANY_TIME, interval=SPANS)
def test_files_are_never_read_later_than_the_interval(at: timedelta, interval: timedelta) -> None:
    due = reread_due(worlds.record(read_at=NOW + at), now=NOW, uid="v-1", interval=interval)
    assert due is not None
    assert due <= NOW + CLOCK_SKEW + interval


@given(ahead=AHEAD)
def test_a_version_that_was_verified_in_the_future_is_looked_at_now(ahead: timedelta) -> None:
    facts = worlds.facts(artifact=worlds.record(verified_at=NOW + ahead, read_at=NOW + ahead))
    assert check_due(facts) == NOW
    decided = decide(facts).check_due
    assert decided is not None
    assert decided <= NOW


@given(ahead=AHEAD, how=st.sampled_from(["verified", "outage"]))
def test_no_grace_lasts_longer_because_a_clock_was_ahead(ahead: timedelta, how: str) -> None:
    before = merge([], [ConditionState(READY, "True", "ReadyToDeploy", "open")], generation=1, now=NOW)
    if how == "outage":
        before += merge([], [ConditionState(RECONCILING, "True", "R", "m")], generation=1, now=NOW + ahead)
    states = conditions_after_error(
        before,
        OUTAGE,
        now=NOW,
        verified_at=NOW + ahead if how == "verified" else None,
        grace=timedelta(hours=24),
    )
    assert (states[0].type, states[0].status) == (READY, "False")


@pytest.mark.parametrize("written", ["", "yesterday", "2026-11-21T12:00:00.5Z", "2026-11-21T12:00:00+00:00"])
def test_an_outage_whose_begin_does_not_read_has_lasted_too_long(written: str) -> None:
    before = merge([], [ConditionState(READY, "True", "ReadyToDeploy", "open")], generation=1, now=NOW)
    odd = Condition(type=RECONCILING, status="True", reason="R", last_transition_time=written)
    states = conditions_after_error([*before, odd], OUTAGE, now=NOW, verified_at=None, grace=timedelta(hours=24))
    ready = find(merge([], states, generation=1, now=NOW), READY)
    assert ready is not None
    assert ready.status == "False"


@given(ahead=AHEAD)
def test_an_evaluation_of_the_future_does_not_count(ahead: timedelta) -> None:
    evaluation = policies.evaluation(days=-(ahead / timedelta(days=1))) if ahead < timedelta(days=60_000) else None
    if evaluation is not None:
        results = Results(version=worlds.version(), digest=worlds.DIGEST, now=NOW, evaluations=[evaluation])
        assert counting(results) == ()


@pytest.mark.parametrize("judged_at", [timestamp(NOW + timedelta(days=4000)), "", "soon", "2026-11-21"])
def test_a_rival_of_the_future_has_nobody_look_each_second(judged_at: str) -> None:
    rival = VersionStanding(
        registry="gatehouse-system/local",
        version="other/granite-1",
        uid="v-2",
        uri=worlds.URI,
        digest=worlds.DIGEST,
        phase="Artifact Changed",
        cleared_for=(),
        policies=(),
        shut="",
        claimed_at="",
        verified=False,
        judged_at=judged_at,
        held=True,
        refusals=(),
        admitted_to=(),
    )
    assert suspected_at(worlds.facts(row=worlds.row(), rivals=(rival,))) is None
