"""One table from (decision or error) to conditions, event and the time of the next reconcile, for all kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from gatehouse.api.meta import Condition
from gatehouse.domain.common.clocks import is_within, moment
from gatehouse.domain.common.conditions import (
    READY,
    RECONCILING,
    RUNNING_UNCLEARED,
    STALLED,
    UNREADABLE_OBJECTS,
    ConditionState,
    find,
)
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting

__all__ = ["EventNote", "Requeue", "alarms", "conditions_after_error", "requeue_after_error", "transition"]

PROGRESSING_WITH_RETRY: Final = "ProgressingWithRetry"
"""kstatus' word for an outage that heals by itself."""

STALLED_SECONDS: Final = 600.0
"""A person may have to correct an object that the operator does not watch, such as a table or a ConfigMap."""

EXPECTED_REASONS: Final = frozenset({"Verifying", "Draft", "Archived", "Deprecated"})
"""Not ready, as intended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue:
    """When to reconcile again: with backoff, after ``after`` seconds, or at the next change."""

    retry: bool = False
    after: float | None = None


@dataclass(frozen=True, slots=True)
class EventNote:
    """The content of one Event."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def requeue_after_error(error: ReconcileError) -> Requeue:
    """Stalled waits for a change or a long time, Waiting for its time, Transient backs off."""
    match error:
        case Waiting():
            return Requeue(after=error.after.total_seconds())
        case Transient():
            not_before = error.not_before
            return Requeue(retry=True, after=not_before.total_seconds() if not_before else None)
        case _:
            return Requeue(after=STALLED_SECONDS)


def conditions_after_error(
    before: Sequence[Condition],
    error: ReconcileError,
    *,
    now: datetime,
    grace: timedelta,
    verified_at: datetime | None = None,
    decided: Iterable[ConditionState] | None = None,
) -> list[ConditionState]:
    """The ``decided`` conditions, or else the earlier ones, stand; the outage is reported beside them.

    Ready keeps its value while the last verification (or, if unknown, the beginning of the outage) is younger than
    ``grace``; an error that a person must correct shuts Ready at once. A time in the future has no age.
    """
    states = [_same(condition) for condition in before] if decided is None else list(decided)
    ready = next((state for state in states if state.type == READY), None)
    since = verified_at or _began(before) or now
    holds = is_within(since, grace, now=now)
    if ready is not None and ready.status == "True" and not isinstance(error, Stalled) and holds:
        shown = ready
    else:
        shown = ConditionState(READY, "False", error.reason, error.advice)
    kept = (state for state in states if state.type not in {READY, RECONCILING, STALLED})
    return [shown, _abnormal(error), *kept]


def _abnormal(error: ReconcileError) -> ConditionState:
    match error:
        case Stalled():
            return ConditionState(STALLED, "True", error.reason, error.advice)
        case Transient():
            return ConditionState(RECONCILING, "True", PROGRESSING_WITH_RETRY, f"{error.reason}: {error.advice}")
        case _:
            return ConditionState(RECONCILING, "True", error.reason, error.advice)


def _same(condition: Condition) -> ConditionState:
    return ConditionState(condition.type, condition.status, condition.reason, condition.message)


def _began(before: Sequence[Condition]) -> datetime | None:
    reconciling = find(before, RECONCILING)
    if reconciling is None or reconciling.status != "True":
        return None
    # Another program may have written the condition: the length of the outage is unknown then, and counts as too long.
    return moment(reconciling.last_transition_time)


def transition(
    before: Sequence[Condition], after: Sequence[Condition], *, phase_before: str | None, phase_after: str | None
) -> EventNote | None:
    """The Event of a transition: of the phase, of Ready, into or out of an outage. None when nothing changed."""
    was, now = _headline(before), _headline(after)
    if now is None:
        return None
    unchanged = was is not None and (was.type, was.status, was.reason) == (now.type, now.status, now.reason)
    if unchanged and phase_before == phase_after:
        return None
    healthy = (now.type == READY and now.status == "True") or now.reason in EXPECTED_REASONS
    return EventNote("Normal" if healthy else "Warning", now.reason, now.message)


ALARMS: Final = (RUNNING_UNCLEARED, UNREADABLE_OBJECTS)
"""Conditions that a person should see whenever they begin or their message changes."""


def alarms(before: Sequence[Condition], after: Sequence[Condition]) -> Iterator[EventNote]:
    """The Events for services without clearance and unreadable objects that were not reported yet."""
    for alarm in ALARMS:
        was, now = find(before, alarm), find(after, alarm)
        if now is not None and (was is None or was.message != now.message):
            yield EventNote("Warning", alarm, now.message)


def _headline(conditions: Sequence[Condition]) -> Condition | None:
    """What a person should read first: an abnormal condition, or else Ready."""
    return find(conditions, STALLED) or find(conditions, RECONCILING) or find(conditions, READY)
