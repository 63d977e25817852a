from __future__ import annotations

import asyncio

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from gatehouse.runtime.health import Check, HealthServer, LoopLag, stall_check


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


def server(
    *, address: str = "127.0.0.1:0", liveness: dict[str, Check] | None = None, ready: str | None = None
) -> HealthServer:
    registry = CollectorRegistry()
    Counter("widgets", "Widgets made.", registry=registry).inc(3)
    return HealthServer(address, liveness=liveness or {}, readiness={"caches": lambda: ready}, registry=registry)


async def test_all_well() -> None:
    async with server() as health:
        assert await get(health.port, "/healthz") == (200, "ok\n")
        assert await get(health.port, "/readyz") == (200, "ok\n")


async def test_each_failed_check_is_named() -> None:
    liveness: dict[str, Check] = {"queue": lambda: "stuck", "loop": lambda: None, "watch": lambda: "silent"}
    async with server(liveness=liveness, ready="not listed yet") as health:
        assert await get(health.port, "/healthz") == (503, "queue: stuck\nwatch: silent\n")
        assert await get(health.port, "/readyz") == (503, "caches: not listed yet\n")


async def test_metrics_are_those_of_the_given_registry() -> None:
    async with server() as health:
        status, text = await get(health.port, "/metrics")
    assert status == 200
    assert "widgets_total 3.0" in text


@pytest.mark.parametrize("address", ["0", ""])
async def test_it_can_be_turned_off(address: str) -> None:
    async with server(address=address) as health:
        assert health.port == 0


def test_a_stall_is_told_beyond_its_limit() -> None:
    seconds = 0.0
    check = stall_check("the queue", lambda: seconds, 30.0)
    assert check() is None
    seconds = 31.0
    assert check() == "the queue made no progress for 31 s (limit 30 s)"


async def test_lag_is_how_late_callbacks_run() -> None:
    lag = LoopLag(interval=0.01)
    task = asyncio.create_task(lag.run())
    loop = asyncio.get_running_loop()
    while lag.seconds < 0.05:
        blocked_until = loop.time() + 0.1
        while loop.time() < blocked_until:
            pass
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert lag.seconds >= 0.05
