"""A bounded cache whose values expire. Callers that miss the same key at once share one load."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["ExpiringCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """At most ``size`` values, the least recently used go first. ``now`` returns seconds that only grow.

    An error of a load is not kept: each of the callers that waited for it gets the error, and the next one loads again.
    """

    def __init__(self, *, size: int, now: Callable[[], float]) -> None:
        self._size = size
        self._now = now
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._loads: dict[K, asyncio.Task[tuple[float, V]]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value of a key, or None where there is none or it expired."""
        kept = self._values.get(key)
        if kept is None:
            return None
        until, value = kept
        if self._now() >= until:
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V, *, seconds: float) -> None:
        """Keeps a value for that time."""
        if seconds <= 0:
            self._values.pop(key, None)
            return
        self._values[key] = (self._now() + seconds, value)
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)

    async def get_or_load(self, key: K, load: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """The value of a key. ``load`` returns a value and for how many seconds it is kept.

        A caller that gives up does not end the load for the others.
        """
        value = self.get(key)
        if value is not None:
            return value
        task = self._loads.get(key)
        if task is None:
            task = asyncio.create_task(self._load(key, load))
            self._loads[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        _, loaded = await asyncio.shield(task)
        return loaded

    async def _load(self, key: K, load: Callable[[], Awaitable[tuple[V, float]]]) -> tuple[float, V]:
        value, seconds = await load()
        self.put(key, value, seconds=seconds)
        return seconds, value

    def _ended(self, key: K, task: asyncio.Task[tuple[float, V]]) -> None:
        self._loads.pop(key, None)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it where every caller gave up
