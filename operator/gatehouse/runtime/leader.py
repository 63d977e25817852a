"""Leadership by a coordination.k8s.io Lease.

`kubernetes.aio.leaderelection` is not used: it writes the local time marked as UTC, judges expiry by
the wall clock, has no timeout on its requests (one that hangs outlives the lease), neither releases the
lease nor ends when asked to, and leaves the work running when the lease is lost while a request hangs.

As in client-go, nobody compares the timestamps in the record with a clock of its own: a lease has
expired when the record has not changed for its duration, as observed here. Clocks may be minutes apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from gatehouse.runtime.clock import Clock, sleep, within

__all__ = [
    "Leader",
    "LeaderOptions",
    "LeadershipLost",
    "LeaseClient",
    "LeaseConflict",
    "LeaseRecord",
    "LeaseUnavailable",
]

log = structlog.get_logger(__name__)


class LeaseConflict(Exception):
    """Somebody else created, changed or deleted the lease in between (409, 404)."""


class LeaseUnavailable(Exception):
    """The lease could not be read or written, and trying again may help."""


class LeadershipLost(Exception):
    """This process no longer leads and must not write any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """The spec of a Lease. ``holder`` is empty for a released one; times are UTC."""

    holder: str
    duration_seconds: int
    acquired_at: datetime | None
    renewed_at: datetime | None
    transitions: int
    resource_version: str = ""


class LeaseClient(Protocol):
    """Reads and writes one Lease. Network and server faults are raised as `LeaseUnavailable`."""

    async def get(self) -> LeaseRecord | None:
        """The record, or None when the Lease does not exist."""
        ...

    async def create(self, record: LeaseRecord, /) -> LeaseRecord:
        """Create the Lease and return what was stored. Raises `LeaseConflict` if it exists."""
        ...

    async def update(self, record: LeaseRecord, /) -> LeaseRecord:
        """Replace the record of that resource_version and return what was stored.

        Raises `LeaseConflict` if the Lease has another version by now, or is gone.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderOptions:
    """Seconds. Others take over at most ``duration`` and two and a half ``retry_period`` after the last renewal.

    The holder gives up ``renew_deadline`` after the last renewal that it knows of, counted from when
    that request was sent: before anybody else can take the lease.
    """

    duration: int = 10
    renew_deadline: float = 7.0
    retry_period: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.retry_period < self.renew_deadline < self.duration:
            raise ValueError(
                f"leader options are duration={self.duration}, renew_deadline={self.renew_deadline}, "
                f"retry_period={self.retry_period}; wanted 0 < retry_period < renew_deadline < duration"
            )


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Leader:
    """One candidate. ``identity`` must differ between processes, also between lives of one Pod.

    ``elapsed`` counts seconds also while the process is stopped, in the middle of a turn of the event loop too. It is
    the clock's own time unless said otherwise.
    """

    def __init__(
        self,
        *,
        client: LeaseClient,
        identity: str,
        clock: Clock,
        options: LeaderOptions | None = None,
        wall: Callable[[], datetime] = _utc_now,
        draw: Callable[[], float] = random.random,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._identity = identity
        self._clock = clock
        self._elapsed = elapsed or clock.now
        self._options = options or LeaderOptions()
        self._wall = wall
        self._draw = draw
        self._observed: LeaseRecord | None = None
        self._observed_at = 0.0
        self._renewed_at: float | None = None
        self._took_over = False

    @property
    def leads(self) -> bool:
        """Whether this process holds the lease and has renewed it in time."""
        return self.time_left() > 0

    def time_left(self) -> float:
        """Seconds until this process stops leading unless it renews the lease; 0 when it does not lead."""
        if self._renewed_at is None:
            return 0.0
        return max(0.0, self._renewed_at + self._options.renew_deadline - self._elapsed())

    @property
    def took_over(self) -> bool:
        """Whether the lease was not handed over: who held it before may live, and not know yet."""
        return self._took_over

    @property
    def holder(self) -> str:
        """Who held the lease when it was last read."""
        return self._observed.holder if self._observed else ""

    async def acquire(self) -> None:
        """Wait until this process leads."""
        log.info("waiting for leadership", identity=self._identity)
        while not await self._attempt(self._options.renew_deadline):
            await sleep(self._clock, self._options.retry_period * (1.0 + 0.2 * self._draw()))
        log.info("leading", identity=self._identity)

    async def hold(self) -> None:
        """Renew the lease for as long as it can be; then raise `LeadershipLost`."""
        while self._renewed_at is not None:
            deadline = self._renewed_at + self._options.renew_deadline
            await sleep(self._clock, min(self._options.retry_period, deadline - self._elapsed()))
            remaining = deadline - self._elapsed()
            if remaining <= 0:
                break
            await self._attempt(min(remaining, 2 * self._options.retry_period))
            if self._observed is not None and self._observed.holder != self._identity:
                self._renewed_at = None
                raise LeadershipLost(f"the lease is held by {self._observed.holder or 'nobody'!r}")
        self._renewed_at = None
        raise LeadershipLost(f"the lease was not renewed within {self._options.renew_deadline:g} s")

    async def release(self) -> None:
        """Hand the lease over, if held; that it fails is only logged, as the lease then expires."""
        if self._renewed_at is None or self._observed is None:
            return
        self._renewed_at = None
        released = replace(self._observed, holder="", duration_seconds=1, renewed_at=self._wall())
        try:
            await within(self._clock, self._options.retry_period, self._client.update(released))
        except (LeaseConflict, LeaseUnavailable, OSError) as error:
            log.warning("lease not released", error=str(error))

    async def _attempt(self, timeout: float) -> bool:  # noqa: ASYNC109 - the clock is injected
        sent = self._elapsed()
        try:
            renewed = await within(self._clock, timeout, self._take_or_renew())
        except LeaseConflict:
            return False
        except (LeaseUnavailable, OSError) as error:
            log.warning("lease not reachable", error=str(error))
            return False
        if renewed:
            self._renewed_at = sent
        return renewed

    async def _take_or_renew(self) -> bool:
        if self._renewed_at is not None and self._observed is not None:
            # A holder knows what it wrote last: one request renews the lease, where a busy server answers two late.
            try:
                self._observe(await self._client.update(self._wanted(self._observed)))
            except LeaseConflict:
                log.info("lease changed by another", identity=self._identity)
            else:
                return True
        record = await self._client.get()
        if record is None:
            self._took_over = True
            self._observe(await self._client.create(self._wanted(None)))
            return True
        if record != self._observed:
            self._observe(record)
        expires = self._observed_at + (record.duration_seconds or self._options.duration)
        if record.holder not in ("", self._identity):
            if self._elapsed() < expires:
                return False
            # Before it is sent: the answer may be lost, and the next look then finds this process as the holder.
            self._took_over = True
        self._observe(await self._client.update(self._wanted(record)))
        return True

    def _observe(self, record: LeaseRecord) -> None:
        self._observed = record
        self._observed_at = self._elapsed()

    def _wanted(self, current: LeaseRecord | None) -> LeaseRecord:
        now = self._wall()
        held = current is not None and current.holder == self._identity
        transitions = 0 if current is None else current.transitions + (0 if held else 1)
        return LeaseRecord(
            holder=self._identity,
            duration_seconds=self._options.duration,
            acquired_at=current.acquired_at if current is not None and held else now,
            renewed_at=now,
            transitions=transitions,
            resource_version=current.resource_version if current else "",
        )
