"""Times that were written earlier, perhaps by a clock that was wrong."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

__all__ = ["CLOCK_SKEW", "is_within", "lies_ahead"]

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far clocks of two machines may differ. A time that is further ahead was written by a wrong clock."""


def lies_ahead(at: datetime, *, now: datetime) -> bool:
    """Whether a time that should be past is so far in the future that its real value is unknown."""
    return at > now + CLOCK_SKEW


def is_within(at: datetime, span: timedelta, *, now: datetime) -> bool:
    """Whether a time is less than ``span`` ago. False for a time that lies ahead: its age is unknown."""
    return not lies_ahead(at, now=now) and now - at < span
