"""Work that is done now and then while the process leads."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from gatehouse.engine.clock import Clock, sleep
from gatehouse.engine.controller import jittered

__all__ = ["Periodic"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periodic:
    """``work`` is done each ``interval`` seconds, first after one of them; a failure is logged and made up for."""

    name: str
    interval: float
    work: Callable[[], Awaitable[None]]
    draw: Callable[[], float] = random.random

    async def run(self, clock: Clock, *, failed: Callable[[str], None] = lambda _name: None) -> None:
        """Work until cancelled. ``failed`` is told the name for each failure."""
        while True:
            await sleep(clock, jittered(self.interval, draw=self.draw))
            try:
                await self.work()
            except Exception:
                log.exception("periodic work failed", work=self.name)
                failed(self.name)
