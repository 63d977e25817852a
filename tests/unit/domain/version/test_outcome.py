from __future__ import annotations

from datetime import timedelta

import pytest

import worlds
from gatehouse.api.meta import Condition
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, ConditionState, find, merge
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting
from gatehouse.domain.version.outcome import Requeue, conditions_after_error, requeue_after_error, transition

GRACE = timedelta(hours=24)
TRANSIENT = Transient(reason="StoreUnavailable", message="no answer")
WAITING = Waiting(reason="SecretNotFound", message="no Secret a/b", after=timedelta(seconds=30), remedy="create it")
STALLED_ERROR = Stalled(reason="SchemaTooNew", message="newer", remedy="upgrade")


def conditions(*states: ConditionState, ago: timedelta = timedelta(0)) -> list[Condition]:
    return merge([], states, generation=1, now=worlds.NOW - ago)


READY_CONDITIONS = (
    ConditionState(READY, "True", "ReadyToDeploy", "open"),
    ConditionState("Registered", "True", "R", "r"),
)


@pytest.mark.parametrize(
    ("error", "requeue"),
    [
        (TRANSIENT, Requeue(retry=True)),
        (Transient(reason="R", message="m", not_before=timedelta(seconds=7)), Requeue(retry=True, after=7.0)),
        (WAITING, Requeue(after=30.0)),
        (STALLED_ERROR, Requeue(after=600.0)),
    ],
    ids=["transient", "transient with Retry-After", "waiting", "stalled"],
)
def test_an_error_carries_when_to_look_again(error: ReconcileError, requeue: Requeue) -> None:
    assert requeue_after_error(error) == requeue


def after(error: ReconcileError, before: list[Condition], *, verified_ago: timedelta | None = None) -> list[Condition]:
    verified_at = None if verified_ago is None else worlds.NOW - verified_ago
    states = conditions_after_error(before, error, now=worlds.NOW, verified_at=verified_at, grace=GRACE)
    return merge(before, states, generation=1, now=worlds.NOW)


@pytest.mark.parametrize(
    ("verified_ago", "status"),
    [(timedelta(hours=23), "True"), (timedelta(hours=24), "False"), (None, "True")],
    ids=["within the grace", "past the grace", "not known, the outage begins"],
)
def test_ready_holds_through_an_outage_for_the_grace(verified_ago: timedelta | None, status: str) -> None:
    found = after(TRANSIENT, conditions(*READY_CONDITIONS), verified_ago=verified_ago)

    ready, reconciling = find(found, READY), find(found, RECONCILING)
    assert ready is not None
    assert ready.status == status
    assert reconciling is not None
    assert (reconciling.status, reconciling.reason) == ("True", "ProgressingWithRetry")
    assert "StoreUnavailable" in reconciling.message
    assert find(found, "Registered") is not None


def test_an_outage_whose_verification_is_not_known_is_counted_from_its_begin() -> None:
    began = conditions(*READY_CONDITIONS, ConditionState(RECONCILING, "True", "ProgressingWithRetry", "x"), ago=GRACE)

    ready = find(after(TRANSIENT, began), READY)

    assert ready is not None
    assert ready.status == "False"


def test_what_somebody_must_mend_shuts_at_once_and_is_not_in_progress() -> None:
    found = after(STALLED_ERROR, conditions(*READY_CONDITIONS), verified_ago=timedelta(0))

    ready, stalled = find(found, READY), find(found, STALLED)
    assert ready is not None
    assert stalled is not None
    assert (ready.status, ready.reason) == ("False", "SchemaTooNew")
    assert "upgrade" in stalled.message
    assert find(found, RECONCILING) is None


def test_the_same_error_again_changes_nothing() -> None:
    once = after(TRANSIENT, conditions(*READY_CONDITIONS), verified_ago=timedelta(hours=1))

    assert after(TRANSIENT, once, verified_ago=timedelta(hours=1)) == once


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    old = conditions(ConditionState(READY, "False", "A", "a"), ago=timedelta(hours=1))
    same = merge(old, [ConditionState(READY, "False", "B", "b")], generation=2, now=worlds.NOW)
    flipped = merge(same, [ConditionState(READY, "True", "C", "c")], generation=2, now=worlds.NOW)

    assert same[0].last_transition_time == old[0].last_transition_time
    assert flipped[0].last_transition_time != old[0].last_transition_time


def test_one_event_a_transition() -> None:
    waiting = conditions(ConditionState(READY, "False", "ModelNotFound", "m"))
    ready = conditions(*READY_CONDITIONS)
    down = after(TRANSIENT, ready, verified_ago=timedelta(0))

    def note(
        before: list[Condition], now: list[Condition], phases: tuple[str | None, str | None]
    ) -> tuple[str, str] | None:
        found = transition(before, now, phase_before=phases[0], phase_after=phases[1])
        return None if found is None else (found.type, found.reason)

    assert note([], waiting, (None, "Waiting")) == ("Warning", "ModelNotFound")
    assert note(waiting, ready, ("Waiting", "Ready to Deploy")) == ("Normal", "ReadyToDeploy")
    assert note(ready, ready, ("Ready to Deploy", "Ready to Deploy")) is None
    assert note(ready, down, ("Ready to Deploy", "Ready to Deploy")) == ("Warning", "ProgressingWithRetry")
    assert note(down, ready, ("Ready to Deploy", "Ready to Deploy")) == ("Normal", "ReadyToDeploy")


def test_a_condition_that_says_the_same_is_kept_and_any_other_word_makes_it_anew() -> None:
    state = ConditionState(READY, "True", "Fine", "all is well")
    (known,) = merge([], [state], generation=1, now=worlds.NOW)
    later = worlds.NOW + timedelta(hours=1)
    assert merge([known], [state], generation=1, now=later) == [known]
    for other, generation in (
        (ConditionState(READY, "True", "Better", "all is well"), 1),
        (ConditionState(READY, "True", "Fine", "all is very well"), 1),
        (state, 2),
    ):
        (made,) = merge([known], [other], generation=generation, now=later)
        assert (made.reason, made.message, made.observed_generation) == (other.reason, other.message, generation)
        assert made.last_transition_time == known.last_transition_time
    (flipped,) = merge([known], [ConditionState(READY, "False", "Fine", "all is well")], generation=1, now=later)
    assert flipped.last_transition_time != known.last_transition_time
