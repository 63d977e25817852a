"""Times in a status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["moment"]


def moment(text: str) -> datetime:
    """The time of a status. What another program wrote there counts as long ago."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
