"""When an artifact is to be looked at again."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Final

from gatehouse.domain.artifact import ArtifactRecord
from gatehouse.domain.clocks import lies_ahead

__all__ = ["BROKEN_INTERVAL", "MISSING_INTERVAL", "next_check", "reread_due"]

MISSING_FIRST: Final = timedelta(seconds=2)
MISSING_INTERVAL: Final = timedelta(seconds=30)
"""An upload is expected, and a listing of nothing is cheap: after 2 s, then 4 s, 8 s, 16 s, and each 30 s."""
BROKEN_INTERVAL: Final = timedelta(seconds=60)
"""Somebody may be mending the files."""
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
REREAD_SPREAD: Final = 0.5
SPREAD: Final = 0.1
"""Checks of versions that were registered together drift apart by up to a tenth of the interval either way."""


def next_check(
    record: ArtifactRecord, *, now: datetime, uid: str, interval: timedelta, recorded_digest: str | None
) -> datetime:
    """When the store is to be listed again: at once if the row's time is one that no right clock can have written.

    The spread comes from the object's uid and the times from the row, so that a restart moves nothing. What is missing
    is looked for after as long as it has been missing, and two seconds more.
    """
    if lies_ahead(record.verified_at, now=now):
        return now
    if record.outcome == "Missing":
        missing = record.verified_at - (record.missing_since or LONG_AGO)
        return record.verified_at + min(interval, MISSING_INTERVAL, max(missing, timedelta(0)) + MISSING_FIRST)
    healthy = record.outcome == "Verified" and recorded_digest in {None, record.digest}
    if not healthy:
        return record.verified_at + min(interval, BROKEN_INTERVAL)
    return record.verified_at + interval * (1 - SPREAD + 2 * SPREAD * _fraction(uid))


def reread_due(record: ArtifactRecord, *, now: datetime, uid: str, interval: timedelta) -> datetime | None:
    """When every file is to be read once more although the store shows no change; None when nothing was verified.

    No file gets older than the interval. Versions that were registered together are spread over the last half of it, by
    their uids, so that a restart moves nothing.
    """
    if record.outcome != "Verified":
        return None
    if record.read_at is None:
        return LONG_AGO
    if lies_ahead(record.read_at, now=now):
        return now
    return record.read_at + interval * (1 - REREAD_SPREAD * _fraction(uid))


def _fraction(uid: str) -> float:
    return zlib.crc32(uid.encode()) / 0xFFFFFFFF
