"""A Lease as values: its record, its client, and the times of leadership, which the settings declare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ["LeaderOptions", "LeaseClient", "LeaseConflict", "LeaseRecord", "LeaseUnavailable"]


class LeaseConflict(Exception):
    """Another process created, changed or deleted the lease in between (409, 404)."""


class LeaseUnavailable(Exception):
    """The lease could not be read or written; a retry may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """The spec of a Lease. ``holder`` is empty for a released lease; times are UTC."""

    holder: str
    duration_seconds: int
    acquired_at: datetime | None
    renewed_at: datetime | None
    transitions: int
    resource_version: str = ""


class LeaseClient(Protocol):
    """Reads and writes one Lease. Raises `LeaseUnavailable` for faults of the network or the server."""

    async def get(self) -> LeaseRecord | None:
        """The record, or None when the Lease does not exist."""
        ...

    async def create(self, record: LeaseRecord, /) -> LeaseRecord:
        """Create the Lease and return the stored record. Raises `LeaseConflict` if the Lease exists."""
        ...

    async def update(self, record: LeaseRecord, /) -> LeaseRecord:
        """Replace the record of that resource_version and return the stored record.

        Raises `LeaseConflict` if the Lease has another version or was deleted.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderOptions:
    """Seconds. Others take over at most ``duration`` and two and a half ``retry_period`` after the last renewal.

    The holder stops leading ``renew_deadline`` after its last confirmed renewal, counted from the sending of that
    request. Until then no other process can take the lease.
    """

    duration: int = 10
    renew_deadline: float = 7.0
    retry_period: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.retry_period < self.renew_deadline < self.duration:
            raise ValueError(
                f"leader options are duration={self.duration}, renew_deadline={self.renew_deadline}, "
                f"retry_period={self.retry_period}; expected 0 < retry_period < renew_deadline < duration"
            )
