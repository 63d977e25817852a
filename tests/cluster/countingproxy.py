"""A proxy before a real S3 server that counts what goes through, and can hold, refuse or cut a request on its way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

__all__ = ["CountingProxy", "cut", "hold", "operation_of", "refuse", "running"]

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""What meets a request before it is passed on; None lets it go on."""


@dataclass
class CountingProxy:
    """``requests`` and ``body_bytes`` by operation; ``faults`` meet the next requests of an operation, in order."""

    target: str
    requests: Counter[str] = field(default_factory=Counter)
    body_bytes: Counter[str] = field(default_factory=Counter)
    parts: list[int] = field(default_factory=list)
    keys: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    bodies_at_once: int = 0
    most_bodies_at_once: int = 0
    url: str = ""
    session: aiohttp.ClientSession | None = None

    def fail(self, operation: str, *faults: Fault) -> None:
        """The next requests of an operation meet these."""
        self.faults[operation] = list(faults)

    def reset(self) -> None:
        """Count from nothing."""
        self.requests.clear()
        self.body_bytes.clear()
        self.parts.clear()
        self.keys.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on, as it is: its signature is over its headers."""
        operation = operation_of(request)
        self.requests[operation] += 1
        self.keys.append((operation, request.path.split("/", 2)[-1]))
        if operation == "part":
            self.parts.append(int(request.query["partNumber"]))
        has_body = operation in {"put", "part"}
        self.bodies_at_once += has_body
        self.most_bodies_at_once = max(self.most_bodies_at_once, self.bodies_at_once)
        try:
            waiting = self.faults.get(operation, [])
            if waiting and (answer := await waiting.pop(0)(request)) is not None:
                return answer
            return await self.pass_on(request, operation)
        finally:
            self.bodies_at_once -= has_body

    async def pass_on(self, request: web.Request, operation: str) -> web.StreamResponse:
        """What the server answers."""

        async def body() -> AsyncIterator[bytes]:
            async for chunk in request.content.iter_any():
                self.body_bytes[operation] += len(chunk)
                yield chunk

        assert self.session is not None
        async with self.session.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            headers=request.headers,
            data=body() if request.body_exists else None,
            skip_auto_headers=("Content-Type", "User-Agent"),
            allow_redirects=False,
        ) as answer:
            headers = {name: value for name, value in answer.headers.items() if name != "Transfer-Encoding"}
            if request.method == "HEAD":
                return web.Response(status=answer.status, headers=headers)
            headers.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=headers, body=await answer.read())


def operation_of(request: web.Request) -> str:
    """The names that the transport's metrics have for operations."""
    query, key = request.query, request.path.removeprefix("/").partition("/")[2]
    match request.method:
        case "HEAD" | "DELETE":
            return {"HEAD": "head", "DELETE": "delete"}[request.method]
        case "GET":
            if key:
                return "parts" if "uploadId" in query else "read"
            return "uploads" if "uploads" in query else "list"
        case "POST":
            return "begin" if "uploads" in query else "complete"
        case _ if "uploadId" in query:
            return "part"
        case _:
            return "copy" if "x-amz-copy-source" in request.headers else "put"


def refuse(status: int, code: str, **headers: str) -> Fault:
    """A refusal by the store."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", headers=named)

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection breaks after the first bytes of the body."""
    await request.content.readany()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def hold(reached: asyncio.Event) -> Fault:
    """The body is taken and never answered; ``reached`` is set then."""

    async def answer(request: web.Request) -> web.StreamResponse:
        # While a body is not read, aiohttp does not see that the client has gone.
        await request.read()
        reached.set()
        await asyncio.Event().wait()
        return web.Response()

    return answer


@asynccontextmanager
async def running(target: str) -> AsyncIterator[CountingProxy]:
    """Serves the proxy on a free port of the loopback."""
    proxy = CountingProxy(target)
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{tail:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    proxy.url = f"http://{host}:{port}"
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        proxy.session = session
        try:
            yield proxy
        finally:
            await runner.cleanup()
