"""Streamed hashing: ranges read ahead, hashed in order in threads, one bound on memory for all objects together."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

__all__ = ["RANGE_BYTES", "Chunks", "ContentHasher"]

RANGE_BYTES = 8 * 1024 * 1024
_AHEAD = 4
_RANGES_IN_MEMORY = 8
_HASHED_INLINE = 262_144

Chunks: TypeAlias = Sequence[bytes]


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


class ContentHasher:
    """Hashes objects range by range. At most eight ranges of 8 MiB are in memory, four of them of one object.

    An object waits for memory only while it holds none, and holds its ranges in order: the first one can always be
    hashed, so nothing waits in a circle.
    """

    def __init__(self) -> None:
        self._memory = asyncio.Semaphore(_RANGES_IN_MEMORY)
        self._threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="sha256")

    async def sha256(
        self, *, size: int, fetch: Callable[[int, int], Awaitable[Chunks]], progress: Callable[[int], None]
    ) -> str:
        """Hex SHA-256 of the ``size`` bytes that ``fetch(start, length)`` reads; ``progress`` is told of each range."""
        reading = _Reading(self._memory, self._threads, size=size, fetch=fetch, progress=progress)
        try:
            return await reading.run()
        finally:
            await reading.close()

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Reading:
    """One object being hashed."""

    def __init__(
        self,
        memory: asyncio.Semaphore,
        threads: ThreadPoolExecutor,
        *,
        size: int,
        fetch: Callable[[int, int], Awaitable[Chunks]],
        progress: Callable[[int], None],
    ) -> None:
        self._memory = memory
        self._threads = threads
        self._size = size
        self._fetch = fetch
        self._progress = progress
        self._next = 0
        self._ahead: deque[asyncio.Future[Chunks]] = deque()
        self._held = 0
        self._digest = hashlib.sha256()
        self._hashing: asyncio.Future[int] | None = None

    async def run(self) -> str:
        await self._read_ahead()
        while self._ahead:
            chunks = await self._ahead[0]
            self._ahead.popleft()
            await self._finish_hashing()
            self._hash(chunks)
            del chunks
            await self._read_ahead()
        await self._finish_hashing()
        return self._digest.hexdigest()

    async def _read_ahead(self) -> None:
        while self._next < self._size and len(self._ahead) < _AHEAD:
            if self._ahead and self._memory.locked():
                return
            if self._held and self._memory.locked():
                await self._finish_hashing()
            await self._memory.acquire()
            self._held += 1
            length = min(RANGE_BYTES, self._size - self._next)
            self._ahead.append(asyncio.ensure_future(self._fetch(self._next, length)))
            self._next += length

    def _hash(self, chunks: Chunks) -> None:
        if self._size <= _HASHED_INLINE:
            self._hashing = asyncio.get_running_loop().create_future()
            self._hashing.set_result(_update(self._digest, chunks))
        else:
            self._hashing = asyncio.get_running_loop().run_in_executor(self._threads, _update, self._digest, chunks)

    async def _finish_hashing(self) -> None:
        if self._hashing is None:
            return
        hashed = await self._hashing
        self._hashing = None
        self._release()
        self._progress(hashed)

    def _release(self) -> None:
        self._held -= 1
        self._memory.release()

    async def close(self) -> None:
        """Cancels what is being read and gives the memory back."""
        for future in self._ahead:
            future.cancel()
        await asyncio.gather(*self._ahead, return_exceptions=True)
        while self._held:
            self._release()


def _update(digest: _Hash, chunks: Chunks) -> int:
    for chunk in chunks:
        digest.update(chunk)
    return sum(len(chunk) for chunk in chunks)
