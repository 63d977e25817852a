"""Periodic work while the process leads."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from gatehouse.runtime.clock import Clock, sleep
from gatehouse.runtime.controller import jittered

__all__ = ["Periodic"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periodic:
    """Does ``work`` every ``interval`` seconds, first after one interval or ``at_once``; logs a failure and retries.

    Repeated failures do not fill the log. The traceback is logged only when the failure differs from the one before.
    After that, one line is logged when the number of failures in a row is a power of two.
    """

    name: str
    interval: float
    work: Callable[[], Awaitable[None]]
    draw: Callable[[], float] = random.random
    at_once: bool = False

    async def run(self, clock: Clock, *, failed: Callable[[str], None] = lambda _name: None) -> None:
        """Work until cancelled. Calls ``failed`` with the name on each failure."""
        known, failures = "", 0
        waits = not self.at_once
        while True:
            if waits:
                await sleep(clock, jittered(self.interval, draw=self.draw))
            waits = True
            try:
                await self.work()
            except Exception as error:
                # A fault of one round must not end the periodic work for the life of the process.
                same = (said := _said(error)) == known
                known, failures = said, failures + 1 if same else 1
                if not same:
                    log.exception("periodic work failed", work=self.name)
                elif failures & (failures - 1) == 0:
                    log.warning("periodic work still fails", work=self.name, error=said, failures=failures)
                failed(self.name)
            else:
                if failures:
                    log.info("periodic work succeeds again", work=self.name, failures=failures)
                known, failures = "", 0


def _said(error: Exception) -> str:
    """The type and place of the failure, without the error's message."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else ""
    return f"{type(error).__name__}{where}"
