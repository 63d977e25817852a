"""Conditions as data: what a status shows of gates and errors, in the order of their weight.

kstatus reads ``Stalled`` (failed: a person must act) and ``Reconciling`` (in progress) before ``Ready``. Both are
abnormal when True and absent when healthy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gatehouse.api.meta import Condition
from gatehouse.domain.common.clocks import timestamp

__all__ = [
    "MESSAGE_LIMIT",
    "READY",
    "RECONCILING",
    "RUNNING_UNCLEARED",
    "STALLED",
    "UNREADABLE_OBJECTS",
    "ConditionState",
    "find",
    "merge",
]

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
RUNNING_UNCLEARED: Final = "RunningUncleared"
"""A service runs a version that is not cleared for the service's stage."""
UNREADABLE_OBJECTS: Final = "UnreadableObjects"
"""Approvals or evaluations of a version are unreadable, and do not count."""
MESSAGE_LIMIT: Final = 2048


@dataclass(frozen=True, slots=True)
class ConditionState:
    """A condition without its times."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def merge(
    before: Sequence[Condition], states: Iterable[ConditionState], *, generation: int, now: datetime
) -> list[Condition]:
    """The conditions to write: ``states`` in their order, each with the time of its last change of status."""
    known = {condition.type: condition for condition in before}
    return [_condition(known.get(state.type), state, generation=generation, now=now) for state in states]


def _condition(known: Condition | None, state: ConditionState, *, generation: int, now: datetime) -> Condition:
    message = state.message[:MESSAGE_LIMIT]
    kept = known is not None and known.status == state.status
    if (
        known
        and kept
        and (known.observed_generation, known.reason, known.message) == (generation, state.reason, message)
    ):
        return known
    return Condition(
        type=state.type,
        status=state.status,
        observed_generation=generation,
        last_transition_time=known.last_transition_time if known and kept else timestamp(now),
        reason=state.reason,
        message=message,
    )


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of a type."""
    return next((condition for condition in conditions if condition.type == type_), None)
