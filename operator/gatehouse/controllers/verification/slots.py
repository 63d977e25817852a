"""How much is checked at once, and how much of that one store may take.

A store that is silent, or that hands out its bytes one by one, holds what its checks hold for hours. So none may take
all: the rest is for the artifacts of other stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from gatehouse.controllers.verification.parsing import InProcess, Parsing

__all__ = ["CheckSlots"]

CHECKS: Final = 64
CHECKS_OF_ONE_STORE: Final = 48
HEAVY: Final = 8
HEAVY_OF_ONE_STORE: Final = 4


@dataclass(frozen=True, slots=True)
class _Share:
    """What one store may take."""

    checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHECKS_OF_ONE_STORE))
    heavy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HEAVY_OF_ONE_STORE))


@dataclass(frozen=True, slots=True)
class CheckSlots:
    """How much runs at once: checks, contents of large artifacts, headers of many shards; and what parses.

    Large artifacts queue apart, so that small ones do not wait behind them. Of those that are only read once more there
    is one at a time, so that new ones do not wait behind them.
    """

    checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHECKS))
    heavy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HEAVY))
    rereads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    many_shards: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    parsing: Parsing = field(default_factory=InProcess)
    _shares: WeakKeyDictionary[Any, _Share] = field(default_factory=WeakKeyDictionary)

    @asynccontextmanager
    async def check(self, store: object) -> AsyncIterator[None]:
        """A turn for a check of an artifact in a store."""
        async with self._share(store).checks, self.checks:
            yield

    @asynccontextmanager
    async def large(self, store: object) -> AsyncIterator[None]:
        """A turn for the content of a large artifact in a store."""
        async with self._share(store).heavy, self.heavy:
            yield

    def _share(self, store: object) -> _Share:
        return self._shares.setdefault(store, _Share())
