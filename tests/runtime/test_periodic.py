"""Periodic work on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib

from structlog.testing import capture_logs

from gatehouse.runtime.periodic import Periodic
from runtime.fakes import FakeClock


async def test_work_is_done_each_interval_whatever_one_of_them_does() -> None:
    clock, done = FakeClock(), []

    async def work() -> None:
        done.append(clock.now())
        if len(done) == 2:
            raise RuntimeError("the second one fails")

    periodic = Periodic(name="work", interval=10.0, work=work, draw=lambda: 0.5)
    task = asyncio.create_task(periodic.run(clock))
    await clock.run(35.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert done == [1010.0, 1020.0, 1030.0]


async def test_work_that_fails_each_second_fills_no_log() -> None:
    clock, failed, fails = FakeClock(), [], True

    async def work() -> None:
        if fails:
            raise TypeError("always the same")

    periodic = Periodic(name="work", interval=1.0, work=work, draw=lambda: 0.5)
    with capture_logs() as logs:
        task = asyncio.create_task(periodic.run(clock, failed=failed.append))
        await clock.run(100.5)
        fails = False
        await clock.run(1.0)
        fails = True
        await clock.run(1.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    assert len(failed) == 101
    events = [entry["event"] for entry in logs]
    assert events.count("periodic work failed") == 2, "once, and once more after it worked"
    assert [entry["failures"] for entry in logs if entry["event"] == "periodic work still fails"] == [
        2,
        4,
        8,
        16,
        32,
        64,
    ]
    assert events.count("periodic work succeeds again") == 1


async def test_work_that_is_done_at_once_waits_from_the_second_time() -> None:
    clock, done = FakeClock(), []

    async def work() -> None:
        done.append(clock.now())

    periodic = Periodic(name="work", interval=10.0, work=work, draw=lambda: 0.5, at_once=True)
    task = asyncio.create_task(periodic.run(clock))
    await clock.run(25.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert done == [1000.0, 1010.0, 1020.0]
