"""Periodic work on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib

from engine.fakes import FakeClock
from gatehouse.engine.periodic import Periodic


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
