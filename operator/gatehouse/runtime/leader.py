"""Leadership by a coordination.k8s.io Lease.

This module does not use `kubernetes.aio.leaderelection`, which writes the local time marked as UTC and judges expiry by
the wall clock. Its requests have no timeout, so a hanging request outlives the lease. It cannot release the lease or
stop on request. It leaves the work running when the lease is lost while a request hangs.

As in client-go, no process compares the timestamps in the record with its own clock. A lease has expired when this
process observed no change of the record for the lease's duration. Clocks may be minutes apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from gatehouse.runtime.clock import Clock, sleep, within
from gatehouse.runtime.lease import LeaderOptions, LeaseClient, LeaseConflict, LeaseRecord, LeaseUnavailable

__all__ = ["Leader", "LeadershipLost"]

log = structlog.get_logger(__name__)


class LeadershipLost(Exception):
    """This process no longer leads and must stop writing."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Leader:
    """One candidate. ``identity`` must differ between processes, even between restarts in one Pod.

    ``elapsed`` counts seconds even while the process is stopped, and within a turn of the event loop. The default is
    the clock's own time.
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
        """Seconds until this process stops leading without a renewal; 0 when this process does not lead."""
        if self._renewed_at is None:
            return 0.0
        return max(0.0, self._renewed_at + self._options.renew_deadline - self._elapsed())

    @property
    def took_over(self) -> bool:
        """Whether the lease expired instead of being released: the earlier holder may still run unaware of its loss."""
        return self._took_over

    @property
    def holder(self) -> str:
        """The holder of the lease when it was last read."""
        return self._observed.holder if self._observed else ""

    async def acquire(self) -> None:
        """Wait until this process leads."""
        log.info("waiting for leadership", identity=self._identity)
        while not await self._attempt(self._options.renew_deadline):
            await sleep(self._clock, self._options.retry_period * (1.0 + 0.2 * self._draw()))
        log.info("leading", identity=self._identity)

    async def hold(self) -> None:
        """Renew the lease until renewal fails for too long; then raise `LeadershipLost`."""
        while self._renewed_at is not None:
            deadline = self._renewed_at + self._options.renew_deadline
            await sleep(self._clock, min(self._options.retry_period, deadline - self._elapsed()))
            remaining = deadline - self._elapsed()
            if remaining <= 0:
                break
            await self._attempt(min(remaining, 2 * self._options.retry_period))
            if self._observed is not None and self._observed.holder != self._identity:
                self._renewed_at = None
                raise LeadershipLost(f"the lease is held by {self._observed.holder or 'no one'!r}")
        self._renewed_at = None
        raise LeadershipLost(f"the lease was not renewed within {self._options.renew_deadline:g} s")

    async def release(self) -> None:
        """Release the lease, if held. A failure is only logged, because the lease then expires."""
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
            # The holder knows its last write, so one request renews the lease; a busy server would answer two too late.
            try:
                self._observe(await self._client.update(self._desired(self._observed)))
            except LeaseConflict:
                log.info("lease changed by another", identity=self._identity)
            else:
                return True
        record = await self._client.get()
        if record is None:
            self._took_over = True
            self._observe(await self._client.create(self._desired(None)))
            return True
        if record != self._observed:
            self._observe(record)
        expires = self._observed_at + (record.duration_seconds or self._options.duration)
        if record.holder not in ("", self._identity):
            if self._elapsed() < expires:
                return False
            # Set before the request: the answer may be lost, and the next read then finds this process as the holder.
            self._took_over = True
        self._observe(await self._client.update(self._desired(record)))
        return True

    def _observe(self, record: LeaseRecord) -> None:
        self._observed = record
        self._observed_at = self._elapsed()

    def _desired(self, current: LeaseRecord | None) -> LeaseRecord:
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
