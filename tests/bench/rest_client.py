"""Clients of the server that cost next to nothing themselves: requests written once, on connections that stay open."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["Door", "RestAnswer", "RestClient", "answer_times", "request_bytes"]

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_SECONDS = 120.0


class RestAnswerRefused(Exception):
    """An answer of another status than the expected one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the server listens, and the caller's token."""

    host: str
    port: int
    token: str


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """Status and body of an answer."""

    status: int
    body: bytes


def request_bytes(door: Door, method: str, path: str, body: bytes = b"") -> bytes:
    """One request, as the bytes that are sent."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {door.host}:{door.port}",
        f"Authorization: Bearer {door.token}",
        "Accept: application/json",
        *(["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []),
    ]
    return "\r\n".join(lines).encode("ascii") + _END + body


class RestClient:
    """One connection, used by one request at a time."""

    def __init__(self, door: Door) -> None:
        self._socket = socket.create_connection((door.host, door.port), timeout=_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, request: bytes) -> RestAnswer:
        """The answer of a request."""
        self._socket.sendall(request)
        received = bytearray()
        while (end := received.find(_END)) < 0:
            received += self._part()
        status, length = _head(bytes(received[:end]))
        whole = end + len(_END) + length
        while len(received) < whole:
            received += self._part()
        return RestAnswer(status, bytes(received[end + len(_END) :]))

    def _part(self) -> bytes:
        part = self._socket.recv(1 << 20)
        if not part:
            raise ConnectionError("the server closed the connection")
        return part


async def answer_times(
    door: Door, requests: Sequence[bytes], *, clients: int, count: int, expected: int = 200
) -> list[float]:
    """Seconds of each of ``count`` answers, while ``clients`` connections ask at once.

    The clients take the requests in turns. Raises RestAnswerRefused for an answer of another status.
    """
    numbers = iter(range(count))
    seconds: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(door.host, door.port, limit=1 << 24)
        try:
            for number in numbers:
                started = time.perf_counter()
                writer.write(requests[number % len(requests)])
                head = await reader.readuntil(_END)
                status, length = _head(head)
                body = await reader.readexactly(length)
                seconds.append(time.perf_counter() - started)
                if status != expected:
                    raise RestAnswerRefused(f"status {status}, expected {expected}: {body[:300]!r}")
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return seconds


def _head(head: bytes) -> tuple[int, int]:
    """Status and length of the body."""
    lines = head.lower().split(b"\r\n")
    length = next((int(line.removeprefix(_LENGTH)) for line in lines if line.startswith(_LENGTH)), 0)
    return int(lines[0].split(b" ")[1]), length
