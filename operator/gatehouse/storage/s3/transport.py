"""Signed requests to one bucket, over the session of its endpoint: refusals and outages as errors, and metrics."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Literal, TypeVar

import aiohttp
from yarl import URL

from gatehouse.domain.common.errors import ReconcileError, Waiting
from gatehouse.storage.limits import Limits
from gatehouse.storage.metrics import Operation, StoreMetrics
from gatehouse.storage.port import Body, BodyError
from gatehouse.storage.s3.errors import StoreAddress, answer_invalid, from_exception, from_refusal
from gatehouse.storage.s3.refusals import StoreRefusal
from gatehouse.storage.s3.signing import CONTENT_SHA256, RequestSigner, encode_path, encode_query
from gatehouse.storage.s3.xml import error_code, error_field

__all__ = ["RequestOptions", "StoreRequest", "Transport", "open_session", "shown_key"]

T = TypeVar("T")

_MAX_REFUSAL = 65_536
_READ_BUFFER = 256 * 1024
_CONNECTIONS = 64
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SUCCESS = frozenset({HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.PARTIAL_CONTENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """One request; ``key`` is the object's, empty for the bucket itself. ``what`` names the request in messages."""

    operation: Operation
    what: str
    key: str = ""
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    method: Literal["GET", "HEAD", "PUT", "POST", "DELETE"] = "GET"
    body: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """The form of requests that a store requires.

    ``virtual_host``: the bucket is in the host's name rather than in the path. ``requester_pays``: the request accepts
    that the requester pays.
    """

    virtual_host: bool = False
    requester_pays: bool = False


class Transport:
    """Requests to one bucket with one set of credentials, over a session that the endpoint's buckets share."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        address: StoreAddress,
        signer: RequestSigner | None,
        metrics: StoreMetrics,
        options: RequestOptions | None = None,
    ) -> None:
        self._session = session
        self._address = address
        self._signer = signer
        self._metrics = metrics
        options = options or RequestOptions()
        self._scheme = (base := URL(address.endpoint)).scheme
        self._host = base.host_port_subcomponent or base.raw_authority
        self._root = f"/{address.bucket}"
        if options.virtual_host:
            # The endpoint may already contain the bucket. Requests only go to the endpoint's host or a host below it.
            before = f"{address.bucket}."
            self._host = self._host if self._host.startswith(before) else before + self._host
            self._root = ""
        self._headers: Mapping[str, str] = {"x-amz-request-payer": "requester"} if options.requester_pays else {}

    @property
    def address(self) -> StoreAddress:
        """The bucket and its endpoint."""
        return self._address

    async def send(
        self,
        request: StoreRequest,
        consume: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        *,
        deadline: float | None,
    ) -> T:
        """Send once and hand the successful response to ``consume``; ``deadline`` bounds the seconds of both.

        While a body is sent, the deadline restarts with each chunk that the connection takes.

        Raises Waiting and Transient as :mod:`gatehouse.storage.s3.refusals` lists them, and the errors of reading a
        body.
        """
        began = time.monotonic()
        outcome = "cancelled"
        sending: _Sending | None = None
        try:
            async with asyncio.timeout(deadline) as timer:
                if request.body is not None:
                    sending = _Sending(request.body, timer, deadline)
                async with self._response(request, sending) as response:
                    consumed = await consume(response)
            outcome = "ok"
        except ReconcileError as error:
            outcome = error.reason
            raise
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            if sending is not None and sending.failure is not None:
                raise sending.failure from None
            known = from_exception(self._address, error, what=request.what)
            outcome = known.reason
            raise known from error
        finally:
            self._metrics.request(request.operation, outcome, time.monotonic() - began)
        return consumed

    @asynccontextmanager
    async def _response(self, request: StoreRequest, sending: _Sending | None) -> AsyncIterator[aiohttp.ClientResponse]:
        path = self._root + (f"/{encode_path(request.key)}" if request.key else "") or "/"
        query = encode_query(request.query or {})
        headers: Mapping[str, str] = {
            # botocore would parse the URL twice for it.
            "host": self._host,
            "accept-encoding": "identity",
            **self._headers,
            **(request.headers or {}),
            **_body_headers(request.body),
        }
        url = f"{self._scheme}://{self._host}{path}{'?' if query else ''}{query}"
        if self._signer is not None:
            headers = await self._signer.sign(request.method, url=url, headers=headers)
        # A redirect could lead anywhere, with the signature.
        async with self._session.request(
            request.method,
            URL(url, encoded=True),
            headers=headers,
            data=None if sending is None else sending.chunks(),
            allow_redirects=False,
        ) as response:
            if response.status not in _SUCCESS:
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


def shown_key(key: str) -> str:
    """A key for messages: escaped, at most 200 characters."""
    return ascii(key)[1:-1][:200]


def _body_headers(body: Body | None) -> Mapping[str, str]:
    return {} if body is None else {"content-length": str(body.size), CONTENT_SHA256: body.sha256}


class _Sending:
    """A body being sent: each chunk that the connection takes restarts the deadline."""

    def __init__(self, body: Body, timer: asyncio.Timeout, deadline: float | None) -> None:
        self._body = body
        self._timer = timer
        self._deadline = deadline
        self.failure: BodyError | OSError | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body.read():
                yield chunk
                self._again()
        except (BodyError, OSError) as error:
            # aiohttp would report a broken connection instead.
            self.failure = error
            raise

    def _again(self) -> None:
        if self._deadline is not None:
            # A store may answer before it has taken the whole body: the timer ends then.
            with suppress(RuntimeError):
                self._timer.reschedule(asyncio.get_running_loop().time() + self._deadline)


async def _refusal(response: aiohttp.ClientResponse) -> StoreRefusal:
    body = b""
    async for part in response.content.iter_any():
        body += part
        if len(body) > _MAX_REFUSAL:
            break
    body = body[:_MAX_REFUSAL]
    headers = response.headers
    # HEAD has no body: MinIO puts the body's statements into a header.
    code = error_code(body) or _plain_code(headers.get("x-minio-error-code") or headers.get("x-amz-error-code"))
    if not code and response.method == "HEAD" and response.status == HTTPStatus.NOT_FOUND:
        code = "NoSuchKey"
    return StoreRefusal(
        status=response.status,
        code=code,
        message=error_field(body, "Message"),
        retry_after=headers.get("Retry-After"),
        region=headers.get("x-amz-bucket-region") or error_field(body, "Region") or None,
        endpoint=error_field(body, "Endpoint") or None,
        location=headers.get("Location"),
        date=headers.get("Date"),
    )


def _plain_code(value: str | None) -> str:
    return value if value is not None and _CODE.fullmatch(value) else ""


def open_session(
    address: StoreAddress, *, ca_pem: str | None, limits: Limits, proxy: str | None = None
) -> aiohttp.ClientSession:
    """A session through a ``proxy`` or direct, which the caller must close.

    Raises Waiting (CertificateRejected) when ``ca_pem`` holds no certificates.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.read)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=_trust(address, ca_pem)),
        timeout=timeout,
        proxy=proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=_READ_BUFFER,
    )


def _trust(address: StoreAddress, ca_pem: str | None) -> ssl.SSLContext | bool:
    """Only the certificates in ``ca_pem``, or the system's without it."""
    if ca_pem is None:
        return True
    # Not create_default_context: for an empty text, that would trust the system's certificates.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise Waiting(
            reason="CertificateRejected",
            message=f"{address}: the caSecret holds no PEM certificates",
            after=timedelta(minutes=1),
            remedy="Put the PEM certificate of the store's authority into the caSecret.",
        ) from None
    return context
