"""The HTTP protocol of one connection, with limits that uvicorn's protocol does not have.

uvicorn bounds neither the head of a request nor the time that a client takes: 1,000 clients that send one byte a minute
would hold 1,000 connections. Here each connection has one deadline at a time: for the head, for the body, or for the
next request. Bytes that a client trickles do not move a deadline. A connection beyond the limit is answered 503 at
once.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

__all__ = ["BoundedProtocol", "ConnectionLimits"]

_RETRY_AFTER: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Times in seconds. ``head_bytes`` counts the request line and the headers, ``headers`` their number."""

    connections: int = 512
    head_bytes: int = 65_536
    headers: int = 100
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    send_timeout: float = 30.0
    keep_alive: float = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol within limits. It also tells the application the name in a verified client certificate."""

    def __init__(
        self,
        *,
        config: Config,
        server_state: ServerState,
        limits: ConnectionLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={}, _loop=loop)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._certificate_name = ""
        self._refused = False
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._begun = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, or refuses it where there are too many."""
        super().connection_made(transport)
        self._certificate_name = _common_name(transport.get_extra_info("peercert"))
        if len(self.connections) > self._limits.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the server has too many connections; try again later")
        else:
            self._expect_within(self._limits.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the timers."""
        self._stop_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads bytes of the client, unless the connection is refused."""
        if self._refused or self.parser is None:
            return
        idle = not self._in_head and not self._in_body
        self._begun = 0
        super().data_received(data)
        # Where several requests are in these bytes, the parser alone knows how many are of the last one.
        if self._in_head and (not self._begun or (idle and self._begun == 1)):
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refuse_head()

    def timeout_keep_alive_handler(self) -> None:
        """No request came in time."""
        self._close()

    # The parser

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        state: dict[str, Any] = self.scope["state"]
        state["certificate_name"] = self._certificate_name
        self._in_head, self._head_bytes = True, 0
        self._begun += 1
        # The deadline of a new connection stands; a later request gets its own.
        if self._deadline is None or self.cycle is not None:
            self._expect_within(self._limits.head_timeout)

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(name + value)
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:
            raise _HeadTooLargeError

    def on_headers_complete(self) -> None:
        """The head is read: the application starts."""
        self._in_head, self._in_body = False, True
        self._expect_within(self._limits.body_timeout)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is read."""
        self._in_body = False
        self._stop_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_later()
        elif not self._in_head and not self._in_body:
            # uvicorn's own timer ends with any byte, also with one that begins no request.
            self._unset_keepalive_if_required()
            self._expect_within(self._limits.keep_alive)

    def send_400_response(self, msg: str) -> None:
        """The request is not HTTP, or its head is too large."""
        if self._head_bytes > self._limits.head_bytes or len(self.headers or ()) > self._limits.headers:
            self._refuse_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, msg)

    # The client does not read

    def pause_writing(self) -> None:
        """The client does not read the answer."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.send_timeout, self._abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    # Limits

    def _count(self, part: bytes) -> None:
        """Counts the head within one chunk of bytes, which may hold a whole request."""
        read = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if read + len(part) > self._limits.head_bytes:
            self._head_bytes = self._limits.head_bytes + 1
            raise _HeadTooLargeError

    def _expect_within(self, seconds: float) -> None:
        self._stop_deadline()
        self._deadline = self.loop.call_later(seconds, self._expired)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._answering() and (self._in_head or self.flow.read_paused):
            # The client waits for the server, not the server for the client.
            self._expect_within(self._limits.body_timeout)
        elif self._in_head or (self._in_body and not self._answer_began()):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
        else:
            self._close()

    def _answering(self) -> bool:
        """Whether the application has a request whose answer is not complete."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _answer_began(self) -> bool:
        """Whether a part of the answer to the last request is written."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.response_started

    def _refuse_head(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head of the request is larger than {self._limits.head_bytes} bytes, or has more than "
            f"{self._limits.headers} headers",
        )

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answers without the application, and ends the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_deadline()
        self._unset_keepalive_if_required()
        if not self._answering() or not self._answer_began():
            body = json.dumps({"code": status.phrase, "message": message}).encode()
            again = f"retry-after: {_RETRY_AFTER}\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n{again}"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self._close()

    def _close(self) -> None:
        """Ends the connection; a client that does not read the rest loses it."""
        if not self.transport.is_closing():
            self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.send_timeout, self._abort)

    def _abort(self) -> None:
        self._unread = None
        self.transport.abort()


class _HeadTooLargeError(Exception):
    """Ends the parser; the protocol says which limit was passed."""


def _common_name(certificate: Any) -> str:
    """The common name of a verified client certificate, as :mod:`ssl` decodes it; empty for none or several."""
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return str(names[0]) if len(names) == 1 else ""
