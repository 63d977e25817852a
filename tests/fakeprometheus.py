"""A Prometheus on a socket that answers what a test says, and webhooks beside it. It runs in threads of its own."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

__all__ = ["AskedQuery", "FakePrometheus", "HttpAnswer", "fake_prometheus", "vector"]


@dataclass(frozen=True)
class HttpAnswer:
    """What the server sends: a body that is no bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


Says: TypeAlias = "float | str | HttpAnswer | None"
"""A number or a text is the value of one sample. None is an answer without samples."""


@dataclass(frozen=True)
class AskedQuery:
    """One POST as it came."""

    path: str
    params: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> str:
        return self.form.get("query", "")


@dataclass
class FakePrometheus:
    """``says`` decides the answer to each request; ``asked`` is every request in the order of arrival.

    ``silent`` keeps every request waiting until it is cleared.
    """

    says: Callable[[AskedQuery], Says] = field(default=lambda _: None)
    asked: list[AskedQuery] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    url: str = ""
    _free: threading.Event = field(default_factory=threading.Event)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def silent(self) -> bool:
        return not self._free.is_set()

    @silent.setter
    def silent(self, value: bool) -> None:
        (self._free.clear if value else self._free.set)()

    def until(self, count: int) -> None:
        """Waits until so many requests came."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.asked) >= count, timeout=60)

    def answer(self, asked: AskedQuery) -> HttpAnswer:
        with self._arrived:
            self.asked.append(asked)
            self._arrived.notify_all()
        self._free.wait(timeout=60)
        said = self.says(asked)
        return said if isinstance(said, HttpAnswer) else HttpAnswer(body=vector(said))


def vector(value: float | str | None) -> Any:
    """The JSON of an instant vector with one sample, or with none."""
    result = [] if value is None else [{"metric": {}, "value": [1_790_000_000.123, str(value)]}]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


@contextmanager
def fake_prometheus(*, tls: ssl.SSLContext | None = None) -> Iterator[FakePrometheus]:
    """The server on a free port of the loopback address."""
    fake = FakePrometheus()
    fake.silent = False

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            form = parse_qs(body.decode("utf-8", "replace"))
            url = urlsplit(self.path)
            answer = fake.answer(
                AskedQuery(
                    path=url.path,
                    params={key: values[0] for key, values in parse_qs(url.query).items()},
                    form={key: values[0] for key, values in form.items()},
                    headers={key.lower(): value for key, value in self.headers.items()},
                    body=body,
                )
            )
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            fake.other.append(self.path)
            self.send_error(405)

        def log_message(self, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    fake.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.silent = False
        server.shutdown()
        server.server_close()
        thread.join()
