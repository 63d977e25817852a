"""Requests to a served model, counted: which bytes answered, and which requests failed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

__all__ = ["Client", "Traffic", "send_many", "traffic"]

PATH: Final = "/v1/chat/completions"
_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Client:
    """Somebody who asks a host, behind a gateway at an address, for a model."""

    address: tuple[str, int]
    host: str
    model: str

    def connection(self) -> HTTPConnection:
        """A connection to the gateway."""
        made = HTTPConnection(*self.address, timeout=_SECONDS)
        made.connect()
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def ask(self, connection: HTTPConnection, *, stream: bool = False) -> tuple[int, str]:
        """Status of the answer to one request, and the digest of the bytes that answered; what was said otherwise."""
        message = {"role": "user", "content": "Say one word"}
        body: dict[str, Any] = {"model": self.model, "messages": [message], "max_tokens": 1, "stream": stream}
        head = {"Host": self.host, "Content-Type": "application/json"}
        connection.request("POST", PATH, json.dumps(body), head)
        answer = connection.getresponse()
        content = answer.read().decode()
        if answer.status != 200:
            return answer.status, content[:200]
        first = content.partition("\n")[0].removeprefix("data: ") if stream else content
        return answer.status, str(json.loads(first)["system_fingerprint"])

    def once(self, *, stream: bool = False) -> tuple[int, str]:
        """One request on a connection of its own."""
        with contextlib.closing(self.connection()) as connection:
            return self.ask(connection, stream=stream)


def send_many(client: Client, count: int, *, workers: int = 4) -> Counter[tuple[int, str]]:
    """How often each answer came to `count` requests. A connection that breaks is a request that failed: status 0."""

    def some(number: int) -> Counter[tuple[int, str]]:
        with contextlib.closing(client.connection()) as connection:
            return Counter(_asked(client, connection) for _ in range(number))

    shares = [count // workers + (each < count % workers) for each in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(some, shares), Counter())


def _asked(client: Client, connection: HTTPConnection) -> tuple[int, str]:
    try:
        return client.ask(connection)
    except (OSError, HTTPException) as error:
        connection.close()
        return 0, repr(error)


@dataclass
class Traffic:
    """Answers to requests that go on while something else happens."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def failed(self) -> dict[tuple[int, str], int]:
        """The answers that were not 200."""
        with self.lock:
            return {answer: number for answer, number in self.answers.items() if answer[0] != 200}

    def digests(self) -> Counter[str]:
        """How many requests each artifact answered."""
        with self.lock:
            return Counter({said: number for (status, said), number in self.answers.items() if status == 200})


@contextlib.contextmanager
def traffic(client: Client, *, workers: int = 2) -> Iterator[Traffic]:
    """Requests without a pause for as long as the block lasts."""
    found, ended = Traffic(), threading.Event()

    def work() -> None:
        with contextlib.closing(client.connection()) as connection:
            while not ended.is_set():
                answer = _asked(client, connection)
                with found.lock:
                    found.answers[answer] += 1

    with ThreadPoolExecutor(workers) as pool:
        working = [pool.submit(work) for _ in range(workers)]
        try:
            yield found
        finally:
            ended.set()
    for each in working:
        each.result()
