"""A deduplicating, delaying, rate-limited queue of keys, modelled on controller-runtime's queue.

Each key has at most one state at a time: ready, delayed until its due time, or being processed. A key added during its
processing becomes ready again when its worker is done. No key is therefore processed twice at once, and any number of
additions costs one more pass. The whole queue has one timer and no task per key.

With `Shares`, the queue sets aside a ready key whose group holds its share of the workers. The key stays ready, no
worker waits for the key, and the key is the next of its group when a worker of the group is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gatehouse.runtime.clock import Clock, Timer
from gatehouse.runtime.shares import Shares

__all__ = ["Backoff", "QueueClosed", "WorkQueue"]

K = TypeVar("K", bound=Hashable)

_STALE_HEAP_ENTRIES = 64
_LARGEST_EXPONENT = 62
_TRIED_AT_ONCE = 256


class QueueClosed(Exception):
    """The queue was closed and hands out no more keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential delays: ``base * 2**failures`` seconds, at most ``cap``, shortened by up to ``jitter``.

    ``random`` returns a number in [0, 1) and is injected so that tests know the delay.
    """

    base: float = 0.2
    cap: float = 300.0
    jitter: float = 0.2
    random: Callable[[], float] = random.random

    def delay(self, failures: int) -> float:
        longest = min(self.cap, self.base * 2.0 ** min(failures, _LARGEST_EXPONENT))
        return longest * (1.0 - self.jitter * self.random())


def _ignore_wait(_seconds: float) -> None:
    pass


def _ignore_retry() -> None:
    pass


class WorkQueue(Generic[K]):
    """The queue. All methods belong to one event loop; only `get` waits.

    ``on_wait`` is called with the seconds for which each key was ready before a worker took the key; ``on_retry`` is
    called for each rate-limited addition. Without ``shares`` any key may take any worker.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        backoff: Backoff | None = None,
        on_wait: Callable[[float], None] = _ignore_wait,
        on_retry: Callable[[], None] = _ignore_retry,
        shares: Shares[K] | None = None,
    ) -> None:
        self._clock = clock
        self._shares = shares
        self._aside: dict[Hashable, deque[K]] = {}
        self._backoff = backoff or Backoff()
        self._on_wait = on_wait
        self._on_retry = on_retry
        self._order: deque[K] = deque()
        self._ready_since: dict[K, float] = {}
        self._started: dict[K, float] = {}
        self._again_since: dict[K, float] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._progressed_at = clock.now()

    @property
    def depth(self) -> int:
        """The number of keys that are ready and wait for a worker."""
        return len(self._order) + self.set_aside

    @property
    def set_aside(self) -> int:
        """The number of ready keys that wait for their group's share of the workers."""
        return sum(map(len, self._aside.values()))

    def set_aside_of(self, group: Hashable) -> int:
        """The number of keys of a group that wait for the group's share of the workers."""
        return len(self._aside.get(group, ()))

    @property
    def delayed(self) -> int:
        """The number of keys that wait for their due time."""
        return len(self._due)

    @property
    def processing(self) -> int:
        """The number of keys that workers hold."""
        return len(self._started)

    @property
    def idle(self) -> bool:
        """Whether no key is ready and no key is being processed."""
        return not self._ready_since and not self._started

    def oldest_wait(self) -> float:
        """Seconds the longest-waiting ready key has waited; 0 when none waits."""
        return self._clock.now() - self._oldest() if self._ready_since else 0.0

    def longest_processing(self) -> float:
        """Seconds the longest-running worker has held its key; 0 when none runs."""
        return self._clock.now() - min(self._started.values()) if self._started else 0.0

    def stalled_for(self) -> float:
        """Seconds for which a key has been ready while no worker took or finished any key; 0 when none waits."""
        if not self._ready_since or self._closed:
            return 0.0
        return max(0.0, self._clock.now() - max(self._progressed_at, self._oldest()))

    def failures(self, key: K) -> int:
        """The number of rate-limited additions of the key since the last `forget`."""
        return self._failures.get(key, 0)

    def add(self, key: K) -> None:
        """Make the key ready now, or as soon as its worker is done with the key."""
        if self._closed:
            return
        self._due.pop(key, None)
        if key in self._started:
            self._again_since.setdefault(key, self._clock.now())
        elif key not in self._ready_since:
            self._make_ready(key, self._clock.now())

    def add_after(self, key: K, seconds: float) -> None:
        """Make the key ready after ``seconds``; the earliest requested due time wins.

        Raises `ValueError` for a number that is not finite.
        """
        if not math.isfinite(seconds):
            raise ValueError(f"the delay of {key!r} is {seconds!r} seconds, expected a finite number")
        if seconds <= 0:
            self.add(key)
            return
        if self._closed or key in self._ready_since or key in self._again_since:
            return
        due = self._clock.now() + seconds
        if due >= self._due.get(key, math.inf):
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        self._drop_stale_entries()
        self._arm()

    def add_rate_limited(self, key: K, *, at_least: float = 0.0) -> None:
        """Make the key ready after its next backoff, or after ``at_least`` seconds if that is longer."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._on_retry()
        self.add_after(key, max(self._backoff.delay(failures), at_least))

    def forget(self, key: K) -> None:
        """Reset the key's backoff."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a ready key and take the key. The caller must call `done`. Raises `QueueClosed`."""
        while True:
            if self._closed:
                raise QueueClosed
            key = self._next()
            if key is not None:
                break
            if self._order:
                await asyncio.sleep(0)  # more keys remain to try, and other tasks get a turn first
            else:
                await self._wait_for_key()
        if self._aside:
            self._wake_one()  # the freed share may be enough for another key
        now = self._clock.now()
        self._on_wait(now - self._ready_since.pop(key))
        self._started[key] = now
        self._progressed_at = now
        return key

    def done(self, key: K) -> None:
        """Give the key back. Raises `KeyError` for a key that no worker holds."""
        del self._started[key]
        if self._shares is not None:
            self._shares.give_back(key)
        self._progressed_at = self._clock.now()
        again_since = self._again_since.pop(key, None)
        if again_since is not None and not self._closed:
            self._make_ready(key, again_since)
        elif self._aside:
            self._wake_one()

    def close(self) -> None:
        """Hand out no more keys; workers that wait or return get `QueueClosed`."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            self._wake_one()

    def _next(self) -> K | None:
        """The longest-ready key that may take a worker; None when none was found.

        Keys set aside are older than all untried keys. One turn of the event loop tries a limited number of keys,
        because thousands may be set aside when a database becomes silent.
        """
        shares = self._shares
        if shares is None:
            return self._order.popleft() if self._order else None
        while (group := self._oldest_group(shares)) is not None:
            aside = self._aside[group]
            key = aside.popleft()
            if not aside:
                del self._aside[group]
            if self._took(shares, key):
                return key
        for _ in range(min(len(self._order), _TRIED_AT_ONCE)):
            key = self._order.popleft()
            if self._took(shares, key):
                return key
        return None

    def _took(self, shares: Shares[K], key: K) -> bool:
        """Take the key, or set the key aside. The key's group may have changed."""
        group = shares.group(key)
        if not shares.may_take(group):
            self._aside.setdefault(group, deque()).append(key)
            return False
        shares.take(key, group)
        return True

    def _oldest_group(self, shares: Shares[K]) -> Hashable | None:
        """The group with the longest-ready first key among groups with keys aside that may take a worker."""
        ready = [group for group in self._aside if shares.may_take(group)]
        return min(ready, key=lambda group: self._ready_since[self._aside[group][0]], default=None)

    def _oldest(self) -> float:
        """The time since which the first of the ready keys is ready."""
        heads = [keys[0] for keys in (self._order, *self._aside.values()) if keys]
        return min(self._ready_since[key] for key in heads)

    def _make_ready(self, key: K, since: float) -> None:
        self._ready_since[key] = since
        self._order.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _wait_for_key(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake_one()  # the wake-up went to a worker that will not take a key
            else:
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)
            raise

    def _arm(self) -> None:
        due = self._heap[0][0] if self._heap else math.inf
        if due == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = due
        if self._heap and not self._closed:
            self._timer = self._clock.call_at(due, self._release_due)

    def _release_due(self) -> None:
        self._timer = None
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                self.add(key)
        self._arm()

    def _drop_stale_entries(self) -> None:
        """Rebuild the heap when most of its due times were replaced or cancelled."""
        if len(self._heap) > 2 * len(self._due) + _STALE_HEAP_ENTRIES:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
