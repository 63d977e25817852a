"""Streamed hashing: the right hash, bounded memory, small objects not behind large ones."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from gatehouse.storage import hashing
from gatehouse.storage.hashing import ContentHasher


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 2_097_152, 2_097_153, 9_000_000])
@pytest.mark.parametrize("chunk", [1_000_003, 262_144])
async def test_the_hash_is_that_of_all_bytes_in_order(size: int, chunk: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    told: list[int] = []
    hasher = ContentHasher()
    async with hasher.feed(size, told.append) as feed:
        for start in range(0, size, chunk):
            await feed.write(data[start : min(start + chunk, size)])
        assert await feed.hexdigest() == hashlib.sha256(data[:size]).hexdigest()
    assert (sum(told), feed.received) == (size, size)
    hasher.close()


async def test_at_most_so_many_large_objects_at_once_and_small_ones_pass() -> None:
    hasher = ContentHasher()
    entered: list[int] = []
    go_on = asyncio.Event()

    async def hold(size: int) -> None:
        async with hasher.feed(size, lambda _: None):
            entered.append(size)
            await go_on.wait()

    async with asyncio.TaskGroup() as group:
        large = hashing._SMALL_BYTES + 1
        for _ in range(20):
            group.create_task(hold(large))
        for _ in range(20):
            group.create_task(hold(1_000_000))
        for _ in range(20):
            group.create_task(hold(100))
        await asyncio.sleep(0)
        counts = {size: entered.count(size) for size in (large, 1_000_000, 100)}
        go_on.set()
    assert counts == {large: hashing._LARGE_AT_ONCE, 1_000_000: hashing._SMALL_AT_ONCE, 100: 20}
    assert len(entered) == 60
    hasher.close()


async def test_a_cancelled_write_loses_no_byte() -> None:
    hasher = ContentHasher()
    data = bytes(range(256)) * 8192
    async with hasher.feed(3 * len(data), lambda _: None) as feed:
        await feed.write(data)
        writing = asyncio.create_task(feed.write(data))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert feed.received == 2 * len(data)
        await feed.write(data)
        assert await feed.hexdigest() == hashlib.sha256(data * 3).hexdigest()
    hasher.close()


async def test_a_source_that_is_silent_keeps_no_other_one_waiting() -> None:
    hasher = ContentHasher()
    large, go_on = hashing._SMALL_BYTES + 1, asyncio.Event()

    async def hold() -> None:
        async with hasher.feed(large, lambda _: None, source="http://silent"):
            await go_on.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(hold())
        await asyncio.sleep(0)
        async with asyncio.timeout(5), hasher.feed(large, lambda _: None, source="http://fine") as feed:
            assert feed.received == 0
        go_on.set()
    hasher.close()
