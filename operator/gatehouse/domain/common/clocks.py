"""Times that were written down earlier, maybe by a clock that was wrong."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

__all__ = ["CLOCK_SKEW", "is_within", "lies_ahead"]

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far clocks of two machines may differ. What is further ahead was written by a clock that was wrong."""


def lies_ahead(at: datetime, *, now: datetime) -> bool:
    """Whether a time that should have passed is so far in the future that nobody can tell when it was."""
    return at > now + CLOCK_SKEW


def is_within(at: datetime, span: timedelta, *, now: datetime) -> bool:
    """Whether what was done at a time is less than ``span`` ago. A time that lies ahead is nobody's age: it is not."""
    return not lies_ahead(at, now=now) and now - at < span
