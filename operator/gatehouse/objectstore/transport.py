"""Signed requests to one bucket: refusals and outages as errors that carry a policy, and what is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

import aiohttp
from yarl import URL

from gatehouse.domain.errors import ReconcileError
from gatehouse.objectstore.errors import (
    Refusal,
    StoreAddress,
    answer_invalid,
    from_exception,
    from_refusal,
)
from gatehouse.objectstore.listing import error_code
from gatehouse.objectstore.metrics import Operation, StoreMetrics
from gatehouse.objectstore.signing import Signer, encode_path, encode_query

__all__ = ["Request", "Transport"]

T = TypeVar("T")

_MAX_REFUSAL = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; ``key`` is the object's, empty for the bucket itself. ``what`` names it in messages."""

    operation: Operation
    what: str
    key: str = ""
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    method: Literal["GET", "HEAD"] = "GET"


class Transport:
    """Requests to one bucket with one set of credentials, over a session that is shared by endpoint."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        address: StoreAddress,
        signer: Signer | None,
        metrics: StoreMetrics,
    ) -> None:
        self._session = session
        self._address = address
        self._signer = signer
        self._metrics = metrics
        self._base = URL(address.endpoint)
        self._host = self._base.raw_authority

    @property
    def address(self) -> StoreAddress:
        """Which bucket of which endpoint."""
        return self._address

    async def send(
        self,
        request: Request,
        consume: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        *,
        deadline: float | None,
    ) -> T:
        """Send once and hand the successful response to ``consume``; ``deadline`` bounds the seconds of both.

        Raises Waiting and Transient as :mod:`gatehouse.objectstore.errors` lists them.
        """
        began = time.monotonic()
        outcome = "cancelled"
        try:
            async with asyncio.timeout(deadline), self._response(request) as response:
                consumed = await consume(response)
            outcome = "ok"
        except ReconcileError as error:
            outcome = error.reason
            raise
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            known = from_exception(self._address, error, what=request.what)
            outcome = known.reason
            raise known from error
        finally:
            self._metrics.request(request.operation, outcome, time.monotonic() - began)
        return consumed

    @asynccontextmanager
    async def _response(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        path = f"/{self._address.bucket}" + (f"/{encode_path(request.key)}" if request.key else "")
        query = encode_query(request.query or {})
        headers: Mapping[str, str] = {"accept-encoding": "identity", **(request.headers or {})}
        url = f"{self._base.scheme}://{self._host}{path}{'?' if query else ''}{query}"
        if self._signer is not None:
            headers = self._signer.sign(request.method, url=url, headers=headers)
        # A redirect could lead anywhere, with the signature.
        async with self._session.request(
            request.method, URL(url, encoded=True), headers=headers, allow_redirects=False
        ) as response:
            if response.status not in (200, 206):
                raise from_refusal(self._address, await _refusal(response), what=request.what)
            yield response

    async def bounded_body(self, response: aiohttp.ClientResponse, *, most: int, what: str) -> bytes:
        """The body, if it has at most ``most`` bytes. Raises Transient (StoreAnswerInvalid)."""
        parts: list[bytes] = []
        left = most
        async for part in response.content.iter_any():
            left -= len(part)
            if left < 0:
                raise answer_invalid(self._address, what=what, found=f"an answer of more than {most} bytes")
            parts.append(part)
        return b"".join(parts)


async def _refusal(response: aiohttp.ClientResponse) -> Refusal:
    body = b""
    async for part in response.content.iter_any():
        body += part
        if len(body) > _MAX_REFUSAL:
            break
    code = error_code(body[:_MAX_REFUSAL])
    if not code and response.method == "HEAD" and response.status == HTTPStatus.NOT_FOUND:
        code = "NoSuchKey"
    return Refusal(
        status=response.status,
        code=code,
        retry_after=response.headers.get("Retry-After"),
        region=response.headers.get("x-amz-bucket-region"),
    )
