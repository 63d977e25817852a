"""The listener on real sockets: slow clients, clients that send too much, that hang up, and a stop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gatehouse.server.calls import read_body
from gatehouse.server.listener import Listener, tls_context
from gatehouse.server.protocol import ConnectionLimits
from gatehouse_local.pki import ensure_certificate, ensure_client_certificate

GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
QUICK = ConnectionLimits(
    connections=20, head_bytes=4_096, headers=20, head_timeout=0.2, body_timeout=0.2, send_timeout=0.3, keep_alive=0.3
)
PATIENT = ConnectionLimits(
    connections=20, head_bytes=4_096, headers=20, head_timeout=60, body_timeout=60, send_timeout=60, keep_alive=60
)


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """The status of the next answer, whose head and body are read."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        length = next(int(line[15:]) for line in lines if line.lower().startswith("content-length:"))
        self.head = head.decode().lower()
        self.body = await self.reader.readexactly(length)
        return int(lines[0].split()[1])

    async def ended(self) -> bytes:
        """What came until the server ended the connection."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


class Bench:
    """A listener and its clients."""

    def __init__(self, listener: Listener, serving: asyncio.Task[None], tls: ssl.SSLContext | None = None) -> None:
        self.listener = listener
        self.serving = serving
        self._tls = tls
        self._clients: list[Client] = []

    async def connect(self, data: bytes = b"", *, tls: ssl.SSLContext | None = None) -> Client:
        host, port = self.listener.address
        name = "localhost" if tls else None
        client = Client(*await asyncio.open_connection(host, port, ssl=tls, server_hostname=name))
        self._clients.append(client)
        if data:
            await client.send(data)
        return client

    async def close(self) -> None:
        for client in self._clients:
            client.writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await client.writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(
    app: ASGIApp, limits: ConnectionLimits = PATIENT, *, grace: float = 30, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Bench]:
    listener = Listener(app, host="127.0.0.1", port=0, limits=limits, grace=grace, tls=tls)
    serving = asyncio.create_task(listener.serve())
    await listener.listening.wait()
    bench = Bench(listener, serving)
    try:
        yield bench
    finally:
        await bench.close()
        listener.stop()
        await serving


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the listener counts connections and announces none
            await asyncio.sleep(0.01)


def answers(handler: Callable[[Scope, Receive], Awaitable[Response]]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(scope, receive)
        await response(scope, receive, send)

    return app


async def ok(scope: Scope, receive: Receive) -> Response:
    return PlainTextResponse("ok")


async def reads(scope: Scope, receive: Receive) -> Response:
    return PlainTextResponse(str(len(await read_body(receive, scope["headers"], limit=1_000_000))))


async def test_requests_of_one_connection_are_answered_in_order() -> None:
    async with listening(answers(ok)) as bench:
        client = await bench.connect()
        for _ in range(3):
            await client.send(GET)
            assert await client.status() == 200
            assert "server:" not in client.head
        await client.send(GET * 5)
        assert [await client.status() for _ in range(5)] == [200] * 5
        assert bench.listener.connections == 1


@pytest.mark.parametrize("start", [b"GET /x HTTP/1.1\r\nHost: a\r\nX-", b"GET /", b"P"])
async def test_a_head_that_does_not_end_is_answered_408_and_closed(start: bytes) -> None:
    async with listening(answers(ok), QUICK) as bench:
        client = await bench.connect(start)
        assert await client.status() == 408
        assert await client.ended() == b""


@pytest.mark.parametrize("start", [b"", b"\r\n\r\n"])
async def test_a_client_that_begins_no_request_is_closed(start: bytes) -> None:
    async with listening(answers(ok), QUICK) as bench:
        assert await (await bench.connect(start)).ended() == b""


@pytest.mark.parametrize("before", [b"", GET])
@pytest.mark.parametrize("trickle", [b"\r\n", b"GET /x HTTP/1.1\r\nX: "])
async def test_a_client_that_trickles_gains_no_time(before: bytes, trickle: bytes) -> None:
    async with listening(answers(ok), QUICK) as bench:
        client = await bench.connect(before)
        if before:
            assert await client.status() == 200
        await client.send(trickle)

        async def drip() -> None:
            while True:
                await client.send(b"\r\n" if trickle == b"\r\n" else b"y")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(10):
            await client.ended()
        dripping.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await dripping


async def test_a_body_that_does_not_end_is_answered_408() -> None:
    async with listening(answers(reads), QUICK) as bench:
        client = await bench.connect(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert await client.status() == 408
        assert await client.ended() == b""


async def test_the_rest_of_a_body_after_an_early_answer_is_not_waited_for_without_end() -> None:
    async with listening(answers(ok), QUICK) as bench:
        client = await bench.connect(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert await client.status() == 200
        assert await client.ended() == b""


async def test_a_client_that_does_not_read_its_answer_loses_it() -> None:
    async def large(scope: Scope, receive: Receive) -> Response:
        return PlainTextResponse("x" * 50_000_000)

    async with listening(answers(large), QUICK) as bench:
        await bench.connect(GET)
        await until(lambda: bench.listener.connections == 1)
        await until(lambda: bench.listener.connections == 0)


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"a" * 5_000,
        b"\r\n".join(b"X%d: %s" % (number, b"a" * 500) for number in range(10)),
        b"\r\n".join(b"X%d: a" % number for number in range(30)),
        b"X: " + b"a" * 200_000,
    ],
)
async def test_a_head_that_is_too_large_is_answered_431(head: bytes) -> None:
    async with listening(answers(ok)) as bench:
        client = await bench.connect(b"GET /x HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
        assert await client.status() == 431


async def test_a_head_that_grows_in_parts_is_answered_431_before_it_ends() -> None:
    async with listening(answers(ok)) as bench:
        client = await bench.connect(b"GET /x HTTP/1.1\r\nX: ")
        for _ in range(5):
            await client.send(b"a" * 1_000)
        assert await client.status() == 431


async def test_a_long_path_is_answered_431_and_a_long_query_below_the_limit_is_read() -> None:
    async with listening(answers(ok)) as bench:
        client = await bench.connect(b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await client.status() == 431
        client = await bench.connect(b"GET /x?q=" + b"a" * 3_900 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await client.status() == 200


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
        b"nonsense\r\n\r\n",
        b"GET /x\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_answered_400_as_json(rubbish: bytes) -> None:
    async with listening(answers(ok), QUICK) as bench:
        client = await bench.connect(rubbish)
        assert await client.status() == 400
        assert client.body.startswith(b'{"code": "Bad Request"')
        assert await client.ended() == b""


async def test_an_upgrade_is_not_taken() -> None:
    async with listening(answers(ok)) as bench:
        client = await bench.connect(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert await client.status() == 200


async def test_connections_beyond_the_limit_are_answered_503_and_others_go_on() -> None:
    async with listening(answers(ok)) as bench:
        slow = [await bench.connect(b"GET /x HTTP/1.1\r\nX") for _ in range(PATIENT.connections - 1)]
        served = await bench.connect(GET)
        assert await served.status() == 200
        refused = [await bench.connect() for _ in range(100)]
        for client in refused:
            assert await client.status() == 503
            assert "retry-after: 5" in client.head
            assert await client.ended() == b""
        await served.send(GET)
        assert await served.status() == 200
        slow[0].writer.close()
        await until(lambda: bench.listener.connections < PATIENT.connections)
        assert await (await bench.connect(GET)).status() == 200


async def test_a_thousand_slow_clients_keep_no_one_out() -> None:
    async with listening(answers(ok), QUICK) as bench:
        slow = await asyncio.gather(*(bench.connect(b"GET /x HTTP/1.1\r\nX") for _ in range(1_000)))
        assert bench.listener.connections <= QUICK.connections + 1_000
        endings = await asyncio.gather(*(client.ended() for client in slow))
        assert {ending.split()[1] for ending in endings if ending} <= {b"408", b"503"}
        assert await (await bench.connect(GET)).status() == 200


async def test_a_client_that_hangs_up_does_not_end_what_was_begun() -> None:
    begun, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive) -> Response:
        begun.set()
        await go.wait()
        ended.set()
        return PlainTextResponse("done")

    async with listening(answers(slow)) as bench:
        client = await bench.connect(GET)
        await begun.wait()
        client.writer.close()
        await until(lambda: bench.listener.connections == 0)
        go.set()
        await ended.wait()


async def test_a_stop_lets_requests_in_flight_end_and_takes_no_more() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive) -> Response:
        begun.set()
        await go.wait()
        return PlainTextResponse("done")

    async with listening(answers(slow)) as bench:
        running = await bench.connect(GET)
        idle = await bench.connect()
        half = await bench.connect(b"GET /x HTTP/1.1\r\nX")
        await begun.wait()
        address = bench.listener.address
        bench.listener.stop()
        assert await idle.ended() == b""
        assert await half.ended() == b""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)
        assert not bench.serving.done()
        go.set()
        assert await running.status() == 200
        assert await running.ended() == b""
        await bench.serving


async def test_a_stop_waits_no_longer_than_the_grace() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def endless(scope: Scope, receive: Receive) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response()

    async with listening(answers(endless), grace=0.2) as bench:
        await bench.connect(GET)
        await begun.wait()
        bench.listener.stop()
        await bench.serving
        await cancelled.wait()


async def test_an_address_that_is_taken_is_an_error_and_no_exit() -> None:
    async with listening(answers(ok)) as bench:
        host, port = bench.listener.address
        with pytest.raises(OSError, match="address already in use"):
            await Listener(answers(ok), host=host, port=port, limits=PATIENT, grace=1).serve()


async def test_the_name_of_a_verified_client_certificate_reaches_the_application(tmp_path: Path) -> None:
    async def name(scope: Scope, receive: Receive) -> Response:
        return JSONResponse([scope["state"]["certificate_name"], scope["client"][0], scope["scheme"]])

    own = ensure_certificate(tmp_path / "server", authority="of the server")
    proxy, stranger = (
        ensure_client_certificate(tmp_path / folder, authority=folder, common_name="proxy", organization="proxies")
        for folder in ("proxy", "stranger")
    )
    context = tls_context(certificate=own.certificate, key=own.key, client_ca=proxy.authority)
    async with listening(answers(name), tls=context) as bench:
        for shown in ("proxy", ""):
            tls = ssl.create_default_context(cafile=own.authority)
            if shown:
                tls.load_cert_chain(proxy.certificate, proxy.key)
            client = await bench.connect(GET, tls=tls)
            assert await client.status() == 200
            assert client.body == f'["{shown}","127.0.0.1","https"]'.encode()
        tls = ssl.create_default_context(cafile=own.authority)
        tls.load_cert_chain(stranger.certificate, stranger.key)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await (await bench.connect(GET, tls=tls)).status()
