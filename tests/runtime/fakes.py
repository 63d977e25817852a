"""A clock that tests advance by hand, and other stand-ins."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gatehouse.runtime.lease import LeaseConflict, LeaseRecord, LeaseUnavailable

__all__ = ["FakeClock", "FakeLease", "settle"]


@dataclass
class FakeTimer:
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class FakeClock:
    """Time moves only in `advance` and `run`; callbacks run in order of their times."""

    time: float = 1000.0
    timers: list[tuple[float, int, FakeTimer]] = field(default_factory=list)
    sequence: itertools.count[int] = field(default_factory=itertools.count)

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[], None], /) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self.timers, (when, next(self.sequence), timer))
        return timer

    @property
    def pending(self) -> int:
        return sum(1 for _, _, timer in self.timers if not timer.cancelled)

    def advance(self, seconds: float) -> None:
        """Move time and run what becomes due, without letting tasks run in between."""
        until = self.time + seconds
        while self._fire_next(until):
            pass
        self.time = until

    async def run(self, seconds: float) -> None:
        """Move time and let tasks run after each callback."""
        until = self.time + seconds
        await settle()
        while self._fire_next(until):
            await settle()
        self.time = until
        await settle()

    def _fire_next(self, until: float) -> bool:
        while self.timers and self.timers[0][2].cancelled:
            heapq.heappop(self.timers)
        if not self.timers or self.timers[0][0] > until:
            return False
        when, _, timer = heapq.heappop(self.timers)
        self.time = max(self.time, when)
        timer.callback()
        return True


@dataclass
class FakeLease:
    """One Lease on a server, with faults."""

    record: LeaseRecord | None = None
    version: int = 0
    down: bool = False
    hanging: asyncio.Event | None = None
    conflicts: int = 0
    writes: list[LeaseRecord] = field(default_factory=list)
    reads: int = 0

    async def get(self) -> LeaseRecord | None:
        self.reads += 1
        if self.hanging is not None:
            await self.hanging.wait()
        if self.down:
            raise LeaseUnavailable("503")
        return self.record

    async def create(self, record: LeaseRecord, /) -> LeaseRecord:
        if self.record is not None:
            raise LeaseConflict
        return self.store(record)

    async def update(self, record: LeaseRecord, /) -> LeaseRecord:
        if self.hanging is not None:
            await self.hanging.wait()
        if self.down:
            raise LeaseUnavailable("503")
        if self.conflicts:
            self.conflicts -= 1
            raise LeaseConflict
        if self.record is None or record.resource_version != self.record.resource_version:
            raise LeaseConflict
        return self.store(record)

    def store(self, record: LeaseRecord) -> LeaseRecord:
        self.version += 1
        self.record = replace(record, resource_version=str(self.version))
        self.writes.append(self.record)
        return self.record


async def settle() -> None:
    """Let every task run until it waits for something that only the test can bring about."""
    for _ in range(25):
        await asyncio.sleep(0)
