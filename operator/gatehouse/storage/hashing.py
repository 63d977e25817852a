"""Streamed hashing: one connection for each object; a thread hashes a batch while the next arrives.

In a measurement one stream was faster than ranges read ahead, with a fifth of the memory and one request instead of a
thousand.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES

__all__ = ["ContentHasher", "Feed"]

BATCH_BYTES = 2 * 1024 * 1024
_INLINE_BYTES = 262_144
_SMALL_BYTES = 8 * 1024 * 1024
_SMALL_AT_ONCE = 8
_LARGE_AT_ONCE = 6


class ContentHasher:
    """Threads that hash, and a bound on memory: each object being hashed takes some 6 MiB at most.

    Of one ``source`` at most six objects of more than 8 MiB are read at once, and eight smaller ones, which do not wait
    for the large ones. Tiny objects never wait. A slow source does not delay the objects of other sources.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="sha256")
        self._large: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_LARGE_AT_ONCE))
        self._small: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_SMALL_AT_ONCE))

    @asynccontextmanager
    async def feed(self, size: int, progress: Callable[[int], None], *, source: str = "") -> AsyncIterator[Feed]:
        """A hash for the bytes of an object of ``size`` bytes; ``progress`` receives the bytes of each batch hashed.

        ``source`` is the endpoint of the object.
        """
        if size <= _INLINE_BYTES:
            yield Feed(None, progress)
            return
        async with (self._large if size > _SMALL_BYTES else self._small)[source]:
            yield Feed(self._threads, progress)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Feed:
    """The bytes of one object on their way into its hash. Several connections may deliver them."""

    def __init__(self, threads: ThreadPoolExecutor | None, progress: Callable[[int], None]) -> None:
        self._threads = threads
        self._progress = progress
        self._digest = hashlib.sha256()
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._hashing: asyncio.Future[int] | None = None
        self._received = 0
        self._opening = b""

    @property
    def opening(self) -> bytes:
        """The first ``OPENING_BYTES`` written."""
        return self._opening

    @property
    def received(self) -> int:
        """Bytes written so far."""
        return self._received

    async def write(self, chunk: bytes) -> bool:
        """Take the next bytes; return whether they completed a batch, which waits until the one before is hashed."""
        if self._received < OPENING_BYTES:
            self._opening += bytes(chunk[: OPENING_BYTES - self._received])
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        self._received += len(chunk)
        if self._batch_bytes < BATCH_BYTES:
            return False
        await self._hash_batch()
        return True

    async def hexdigest(self) -> str:
        """The hash of all bytes written."""
        await self._hash_batch()
        await self._settle()
        return self._digest.hexdigest()

    async def _hash_batch(self) -> None:
        await self._settle()
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if self._threads is None:
            self._progress(self._update(batch))
        else:
            self._hashing = asyncio.get_running_loop().run_in_executor(self._threads, self._update, batch)

    async def _settle(self) -> None:
        if self._hashing is not None:
            # Shielded: after a cancelled hash, a later connection could not know which bytes are hashed.
            hashed = await asyncio.shield(self._hashing)
            self._hashing = None
            self._progress(hashed)

    def _update(self, batch: list[bytes]) -> int:
        for chunk in batch:
            self._digest.update(chunk)
        return sum(len(chunk) for chunk in batch)
