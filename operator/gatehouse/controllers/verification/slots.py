"""How many checks run at once, and how many of them one store may take.

Checks of a silent or very slow store may hold their turns for hours. One store therefore never takes all turns: the
rest is for artifacts of other stores.
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
    """The turns of one store."""

    checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHECKS_OF_ONE_STORE))
    heavy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HEAVY_OF_ONE_STORE))


@dataclass(frozen=True, slots=True)
class CheckSlots:
    """How much runs at once: checks, contents of large artifacts, headers of many shards; and the parsers.

    Large artifacts have a queue of their own, so that small ones do not wait for them. Of large artifacts that are only
    read again, one runs at a time, so that new ones do not wait for them.
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
