"""Time as a dependency, so that tests advance the clock by hand instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

__all__ = ["Clock", "LoopClock", "Timer", "seconds_since_boot", "sleep", "within"]

T = TypeVar("T")


class Timer(Protocol):
    """A pending callback."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Monotonic seconds, and callbacks at a given time."""

    def now(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


class LoopClock:
    """The clock of the running event loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)


def seconds_since_boot() -> float:
    """Seconds that also count while the process is stopped and while the machine sleeps.

    The event loop reads its own time once, when a turn begins. A process stopped in the middle of a turn would not
    notice the pause.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait for that many seconds of the given clock."""
    woken = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    timer = clock.call_at(clock.now() + seconds, wake)
    try:
        await woken
    finally:
        timer.cancel()


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` for at most that many seconds of the given clock, or raise `TimeoutError`."""
    task = asyncio.ensure_future(work)
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = clock.call_at(clock.now() + seconds, expire)
    try:
        return await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if expired and (current is None or not current.cancelling()):
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
