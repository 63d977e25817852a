"""A limit on the time of several steps, which tells people what takes time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatehouse.errors import NotRegistered
from gatehouse.runtime.clock import Clock, sleep

__all__ = ["Patience"]

_POLL: Final = 0.5
_HEARTBEAT: Final = 15.0


class Patience:
    """Time that several steps share. ``say`` receives each new reason to wait once, and a line every 15 seconds."""

    def __init__(self, *, seconds: float, clock: Clock, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._say = say
        self._until = clock.now() + seconds
        self._said = ""
        self._topic = ""
        self._said_at = clock.now()

    def within(self, seconds: float) -> Patience:
        """Patience for one step: ``seconds``, or the rest of the time if that is less."""
        left = max(self._until - self._clock.now(), 0.0)
        return Patience(seconds=min(seconds, left), clock=self._clock, say=self._say)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    async def wait(self, why: str, *, topic: str | None = None) -> None:
        """Waits half a second for ``why``, such as "X does not exist yet: do Y".

        A ``topic`` is the same for texts that differ only in figures.

        Raises NotRegistered with ``why`` when the time is over.
        """
        now, topic = self._clock.now(), topic or why
        if now >= self._until:
            raise NotRegistered(f"not done after {self._seconds:g} s; {why}")
        if topic != self._topic or (why != self._said and now - self._said_at >= _HEARTBEAT):
            self._topic, self._said, self._said_at = topic, why, now
            self._say(f"waiting: {why}")
        await sleep(self._clock, _POLL)
