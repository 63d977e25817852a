"""Times in objects of Kubernetes, and times that were written earlier, perhaps by a clock that was wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["CLOCK_SKEW", "is_within", "lies_ahead", "moment", "read_timestamp", "timestamp"]

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far clocks of two machines may differ. A time that is further ahead was written by a wrong clock."""


_TIMESTAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)


def timestamp(at: datetime) -> str:
    """RFC 3339 in whole seconds, as Kubernetes writes it."""
    return at.strftime(_TIMESTAMP)


def read_timestamp(text: object) -> datetime | None:
    """The time that ``timestamp`` wrote; None for anything else."""
    try:
        return datetime.strptime(str(text), _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def moment(text: str) -> datetime:
    """The time of a status. What another program wrote there counts as long ago."""
    return read_timestamp(text) or _LONG_AGO


def lies_ahead(at: datetime, *, now: datetime) -> bool:
    """Whether a time that should be past is so far in the future that its real value is unknown."""
    return at > now + CLOCK_SKEW


def is_within(at: datetime, span: timedelta, *, now: datetime) -> bool:
    """Whether a time is less than ``span`` ago. False for a time that lies ahead: its age is unknown."""
    return not lies_ahead(at, now=now) and now - at < span
