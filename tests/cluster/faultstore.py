"""A small S3 server that fails as it is told: refusals, throttling, silence, half answers, replaced objects.

It keeps to S3 where no fault is set: prefixes, paging, url encoding of names, ranges, If-Match.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web

__all__ = ["Answer", "Fault", "FaultStore", "abort", "code", "hang", "running", "truncated"]

BUCKET = "models"


@dataclass(slots=True)
class Answer:
    """What would be answered, for a fault to change."""

    status: int
    body: bytes
    headers: dict[str, str]


Fault = Callable[[web.Request, Answer], Awaitable[web.StreamResponse]]


MODIFIED = "2026-11-01T00:00:00.000Z"
"""When every object was written."""


@dataclass
class FaultStore:
    """Objects by key. ``faults`` has, by operation, what the next requests meet; the last one stays if ``forever``."""

    objects: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    forever: set[str] = field(default_factory=set)
    url_encoding: bool = True
    honours_if_match: bool = True
    page_keys: int = 1000
    requests: Counter[str] = field(default_factory=Counter)
    ranges: list[str | None] = field(default_factory=list)
    keys_asked: list[str] = field(default_factory=list)
    after: Callable[[str, str], None] = lambda _operation, _key: None
    url: str = ""
    bucket: str = BUCKET

    def fail(self, operation: str, *faults: Fault, forever: bool = False) -> None:
        """The next requests of an operation meet these faults, in order; the last one for good if ``forever``."""
        self.faults[operation] = list(faults)
        if forever:
            self.forever.add(operation)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        bucket, _, key = request.path.removeprefix("/").partition("/")
        operation = "list" if not key else ("head" if request.method == "HEAD" else "read")
        self.requests[operation] += 1
        if operation == "read":
            self.ranges.append(request.headers.get("Range"))
            self.keys_asked.append(key)
        answer = self._list(request) if operation == "list" else self._object(request, key)
        if bucket != self.bucket:
            answer = _refusal(404, "NoSuchBucket")
        fault = self._next_fault(operation)
        try:
            if fault is not None:
                return await fault(request, answer)
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        finally:
            self.after(operation, key)

    def etag(self, key: str) -> str:
        """The ETag of an object, with its quotes."""
        return f'"{hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()}"'

    def _next_fault(self, operation: str) -> Fault | None:
        faults = self.faults.get(operation, [])
        if not faults:
            return None
        return faults[0] if len(faults) == 1 and operation in self.forever else faults.pop(0)

    def _list(self, request: web.Request) -> Answer:
        prefix = request.query["prefix"]
        begin = request.query.get("continuation-token", "")
        most = min(int(request.query["max-keys"]), self.page_keys)
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > begin)
        encode = (lambda key: quote(key, safe="/")) if self.url_encoding else escape
        entries = "".join(
            f"<Contents><Key>{encode(key)}</Key><Size>{len(self.objects[key])}</Size>"
            f"<ETag>{escape(self.etag(key))}</ETag><LastModified>{MODIFIED}</LastModified></Contents>"
            for key in keys[:most]
        )
        more = len(keys) > most
        token = f"<NextContinuationToken>{escape(keys[most - 1])}</NextContinuationToken>" if more else ""
        encoding = "<EncodingType>url</EncodingType>" if self.url_encoding else ""
        return Answer(
            200,
            f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{encoding}'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>".encode(),
            {"Content-Type": "application/xml"},
        )

    def _object(self, request: web.Request, key: str) -> Answer:
        if key not in self.objects:
            return _refusal(404, "NoSuchKey")
        wanted = request.headers.get("If-Match")
        if self.honours_if_match and wanted is not None and wanted != self.etag(key):
            return _refusal(412, "PreconditionFailed")
        data, headers = self.objects[key], {"ETag": self.etag(key)}
        if "Range" not in request.headers:
            return Answer(200, data, headers)
        first, last = (int(end) for end in request.headers["Range"].removeprefix("bytes=").split("-"))
        if first >= len(data):
            return _refusal(416, "InvalidRange")
        part = data[first : last + 1]
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        return Answer(206, part, headers)


def _refusal(status: int, s3_code: str) -> Answer:
    body = f"<Error><Code>{s3_code}</Code><Message>signature AKIDSECRET</Message></Error>" if s3_code else ""
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


def code(status: int, s3_code: str = "", **headers: str) -> Fault:
    """A refusal; ``retry_after="3"`` is the header Retry-After."""
    refusal = _refusal(status, s3_code)
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_request: web.Request, _answer: Answer) -> web.StreamResponse:
        return web.Response(status=refusal.status, body=refusal.body, headers={**refusal.headers, **named})

    return answer


async def abort(request: web.Request, _answer: Answer) -> web.StreamResponse:
    """The connection ends without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(request: web.Request, _answer: Answer) -> web.StreamResponse:
    """No answer at all, until the client gives up."""
    await asyncio.Event().wait()
    return web.Response()


def truncated(sent: int, *, announced: bool = True) -> Fault:
    """``sent`` bytes of the body; with ``announced`` the length of all of it was promised before."""

    async def answer(request: web.Request, would_be: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=would_be.status, headers=would_be.headers)
        if announced:
            response.content_length = len(would_be.body)
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(would_be.body[:sent])
        if announced:
            assert request.transport is not None
            # Closing sends what was written; aborting would drop it.
            request.transport.close()
        else:
            await response.write_eof()
        return response

    return answer


def changed(**changes: object) -> Fault:
    """The answer with another status or body, or with headers added: ``changed(body=..., etag='"x"')``."""

    async def answer(_request: web.Request, would_be: Answer) -> web.StreamResponse:
        status = changes.get("status", would_be.status)
        body = changes.get("body", would_be.body)
        assert isinstance(status, int)
        assert isinstance(body, bytes)
        headers = dict(would_be.headers)
        for name, value in changes.items():
            if name not in {"status", "body"}:
                headers = {known: kept for known, kept in headers.items() if known.lower() != name.replace("_", "-")}
                if value is not None:
                    headers[name.replace("_", "-")] = str(value)
        return web.Response(status=status, body=body, headers=headers)

    return answer


def stalling(sent: int) -> Fault:
    """``sent`` bytes of the body, then silence."""

    async def answer(request: web.Request, would_be: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=would_be.status, headers=would_be.headers)
        response.content_length = len(would_be.body)
        await response.prepare(request)
        await response.write(would_be.body[:sent])
        await asyncio.Event().wait()
        return response

    return answer


@asynccontextmanager
async def running(store: FaultStore) -> AsyncIterator[FaultStore]:
    """Serves the store on a free port of the loopback."""
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{tail:.*}", store.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    store.url = f"http://{host}:{port}"
    try:
        yield store
    finally:
        await runner.cleanup()
