"""Liveness, readiness and metrics over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["Check", "HealthServer", "LoopLag", "stall_check"]

Check = Callable[[], str | None]
"""Returns None when the component is healthy, else the fault."""


def stall_check(what: str, stalled_for: Callable[[], float], limit: float) -> Check:
    """A check that fails after more than ``limit`` seconds without progress."""

    def check() -> str | None:
        seconds = stalled_for()
        return f"{what} made no progress for {seconds:.0f} s (limit {limit:g} s)" if seconds > limit else None

    return check


class LoopLag:
    """How late the event loop runs its callbacks, measured once a second."""

    def __init__(self, *, interval: float = 1.0) -> None:
        self._interval = interval
        self.seconds = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            self.seconds = max(0.0, loop.time() - due)


class HealthServer:
    """Serves /healthz, /readyz and /metrics on ``host:port``; an empty address or 0 serves nothing.

    A probe returns 200, or 503 with a line for each failed check. Port 0 takes a free port; `port` returns its number.
    """

    def __init__(
        self,
        address: str,
        *,
        liveness: Mapping[str, Check],
        readiness: Mapping[str, Check],
        registry: CollectorRegistry,
    ) -> None:
        self._address = address
        self._liveness = liveness
        self._readiness = readiness
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        if self._address in ("", "0"):
            return self
        host, _, port = self._address.rpartition(":")
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, host.strip("[]") or None, int(port)).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(self._liveness)

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._readiness)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(checks: Mapping[str, Check]) -> web.Response:
    failures = {name: problem for name, check in checks.items() if (problem := check()) is not None}
    if failures:
        lines = "".join(f"{name}: {problem}\n" for name, problem in failures.items())
        return web.Response(status=503, text=lines)
    return web.Response(text="ok\n")
