"""One POST to an address that was compared with the settings: bounded in time and bytes, without a redirect."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from gatehouse.domain.deployment.answers import LARGEST_ANSWER

__all__ = ["LARGEST_FILE", "NoReply", "Poster", "Reply", "read_text"]

LARGEST_FILE: Final = 1_048_576
_TOGETHER: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answered."""

    status: int
    content_type: str
    body: bytes


class NoReply(Exception):
    """There is no answer that can be read. The text says why, and has nothing that the server sent."""


class Poster:
    """Posts at most eight requests at once to one server, so that a silent server takes nothing from another one."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._free: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_TOGETHER))
        self.requests = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=_TOGETHER),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        seconds: float,
        tls: ssl.SSLContext,
    ) -> Reply:
        """A redirect is an answer, and is not followed. Raises NoReply, also for an answer of more than 1 MiB."""
        if self._session is None:
            raise RuntimeError("the poster is not open")
        address = URL(url, encoded=True)
        async with self._free[str(address.origin())]:
            self.requests += 1
            try:
                async with self._session.post(
                    address,
                    data=body,
                    headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
                    timeout=aiohttp.ClientTimeout(total=seconds),
                    allow_redirects=False,
                    ssl=tls,
                ) as response:
                    return await _reply(response)
            except TimeoutError:
                raise NoReply(f"no answer within {seconds:g} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise NoReply(f"no answer: {type(error).__name__}") from None


async def _reply(response: aiohttp.ClientResponse) -> Reply:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise NoReply("an answer with a Content-Encoding that was not asked for")
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65_536):
        size += len(part)
        if size > LARGEST_ANSWER:
            raise NoReply("an answer of more than 1 MiB")
        parts.append(part)
    return Reply(status=response.status, content_type=response.headers.get("Content-Type", ""), body=b"".join(parts))


async def read_text(path: Path) -> str:
    """A small file of the operator's Pod, as it is now: tokens and certificates rotate. Raises NoReply."""

    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)

    try:
        data = await asyncio.to_thread(read)
        text = data.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise NoReply(f"{path} cannot be read: {type(error).__name__}") from None
    if len(data) > LARGEST_FILE:
        raise NoReply(f"{path} has more than 1 MiB")
    return text.strip()
