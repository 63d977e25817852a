"""The cache of answers: bounded, for a time, one load for all who wait."""

from __future__ import annotations

import asyncio

import pytest

from gatehouse.server.identity.expiring import ExpiringCache
from unit.server.parts import Clock


def test_values_expire_and_the_least_used_go_first() -> None:
    clock = Clock()
    cache: ExpiringCache[str, int] = ExpiringCache(size=2, now=clock)
    cache.put("a", 1, seconds=10)
    cache.put("b", 2, seconds=5)
    assert cache.get("a") == 1
    cache.put("c", 3, seconds=10)
    assert (cache.get("b"), len(cache)) == (None, 2)
    clock.seconds += 10
    assert (cache.get("a"), cache.get("c"), len(cache)) == (None, None, 0)
    cache.put("d", 4, seconds=0)
    assert cache.get("d") is None


async def test_those_who_wait_share_one_load_and_one_who_gives_up_ends_it_for_none() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(size=2, now=Clock())
    loads, go = 0, asyncio.Event()

    async def load() -> tuple[int, float]:
        nonlocal loads
        loads += 1
        await go.wait()
        return 7, 10.0

    waiting = [asyncio.create_task(cache.get_or_load("a", load)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    go.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [7, 7, 7, 7]
    assert await cache.get_or_load("a", load) == 7
    assert loads == 1


async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(size=2, now=Clock())
    loads = 0

    async def load() -> tuple[int, float]:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        raise RuntimeError("down")

    results = await asyncio.gather(*(cache.get_or_load("a", load) for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["down"] * 3
    assert loads == 1
    with pytest.raises(RuntimeError):
        await cache.get_or_load("a", load)
    assert loads == 2
