"""Writes objects to one bucket: whole, or in parts that survive an interruption. The operator itself never writes.

Each request announces the SHA-256 of its body, as ``x-amz-checksum-sha256`` and in the signature: a store that checks
either refuses bytes that differ. Where a store refuses the first (Cloudflare R2 and others do, with 501), later
requests omit it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import aiohttp
from botocore.credentials import Credentials

from gatehouse.domain.common.errors import Transient, Waiting
from gatehouse.storage.hashing import ContentHasher
from gatehouse.storage.limits import Limits, RetryPolicy, retried
from gatehouse.storage.metrics import StoreMetrics
from gatehouse.storage.parts import StoredPart, StoredSum
from gatehouse.storage.port import ArtifactUploads, Body, Bucket, bytes_body
from gatehouse.storage.s3.checksums import announced_sha256, stored_sum
from gatehouse.storage.s3.client import S3Store
from gatehouse.storage.s3.errors import StoreAddress, answer_invalid, from_refusal
from gatehouse.storage.s3.multipart import (
    completion,
    parse_begun,
    parse_copied,
    parse_parts,
    parse_unfinished,
)
from gatehouse.storage.s3.refusals import StoreRefusal
from gatehouse.storage.s3.signing import RequestSigner, encode_path
from gatehouse.storage.s3.transport import RequestOptions, StoreRequest, Transport, open_session, shown_key
from gatehouse.storage.s3.xml import DocumentError, error_code

__all__ = ["UPLOAD_LIMITS", "BucketAccess", "Uploads", "open_bucket"]

T = TypeVar("T")

UPLOAD_LIMITS = Limits(
    connect=10.0,
    # A store answers the copy of 5 GiB or the completion of 10,000 parts only when the work is finished.
    read=900.0,
    small=RetryPolicy(attempts=8, backoff=0.25, patience=60.0, deadline=60.0),
    content=RetryPolicy(attempts=8, backoff=0.25, patience=60.0, deadline=900.0),
)
_MAX_ANSWER = 8 * 1024 * 1024
_UNFINISHED_LOOKED_AT = "100"
_LACKS = frozenset({"StoreLacksOperation", "StoreRefused"})
"""The answers of a store to an unknown header: 501, or a 400 of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketAccess:
    """The location and the credentials of a bucket; ``ca_pem`` replaces the system's certificates."""

    endpoint: str
    region: str
    bucket: str
    credentials: Credentials
    ca_pem: str | None = None
    options: RequestOptions = field(default_factory=RequestOptions)

    def __repr__(self) -> str:
        return f"BucketAccess({self.endpoint!r}, {self.bucket!r})"


@asynccontextmanager
async def open_bucket(
    access: BucketAccess, *, metrics: StoreMetrics, limits: Limits = UPLOAD_LIMITS
) -> AsyncIterator[Bucket]:
    """The bucket, open until the context ends. Raises Waiting (CertificateRejected)."""
    address = StoreAddress(access.endpoint.rstrip("/"), access.bucket)
    hasher = ContentHasher()
    async with open_session(address, ca_pem=access.ca_pem, limits=limits) as session:
        transport = Transport(
            session=session,
            address=address,
            signer=RequestSigner(access.credentials, region=access.region),
            metrics=metrics,
            options=access.options,
        )
        try:
            yield Bucket(
                S3Store(transport, hasher=hasher, metrics=metrics, limits=limits), Uploads(transport, limits=limits)
            )
        finally:
            hasher.close()


class Uploads(ArtifactUploads):
    """Writes to one bucket by generic S3 alone. Keys are whole.

    Raises the errors that :mod:`gatehouse.storage.s3.refusals` lists; each request is retried after an outage.
    """

    def __init__(self, transport: Transport, *, limits: Limits) -> None:
        self._transport = transport
        self._limits = limits
        self._announces = True

    @property
    def limits(self) -> Limits:
        return self._limits

    async def head(self, key: str) -> StoredSum | None:

        def request(headers: Mapping[str, str]) -> StoreRequest:
            return StoreRequest(
                operation="head", method="HEAD", key=key, headers=headers, what=f"asking for {shown_key(key)}"
            )

        async def consume(response: aiohttp.ClientResponse) -> StoredSum:
            if response.content_length is None:
                raise self._invalid(request({}), "an answer without Content-Length")
            return stored_sum(response.headers, size=response.content_length)

        try:
            return await self._announcing(
                {"x-amz-checksum-mode": "ENABLED"}, lambda headers: self._small(request(headers), consume)
            )
        except Transient as error:
            if error.reason == "ObjectChanged":
                return None
            raise

    async def put(self, key: str, body: Body) -> None:
        await self._announcing(
            announced_sha256(body),
            lambda headers: self._large(
                StoreRequest(
                    operation="put",
                    method="PUT",
                    key=key,
                    headers={**headers, "content-type": "application/octet-stream"},
                    body=body,
                    what=f"sending {shown_key(key)}",
                ),
                self._ignore,
            ),
        )

    async def unfinished(self, key: str) -> tuple[str, ...]:
        # Some stores list unfinished uploads only for a prefix that is the whole key.
        query = {"uploads": "", "prefix": key, "max-uploads": _UNFINISHED_LOOKED_AT}
        request = StoreRequest(
            operation="uploads", query=query, what=f"looking for unfinished uploads of {shown_key(key)}"
        )
        try:
            return await self._document(request, lambda body: parse_unfinished(body, key=key))
        except Waiting as error:
            if error.reason != "StoreLacksOperation":
                raise
            return ()

    async def begin(self, key: str) -> str:
        return await self._announcing(
            {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "COMPOSITE"},
            lambda headers: self._document(
                StoreRequest(
                    operation="begin",
                    method="POST",
                    key=key,
                    query={"uploads": ""},
                    headers={**headers, "content-type": "application/octet-stream"},
                    what=f"beginning {shown_key(key)}",
                ),
                parse_begun,
            ),
        )

    async def put_part(self, key: str, upload: str, number: int, body: Body) -> StoredPart:

        def request(headers: Mapping[str, str]) -> StoreRequest:
            return StoreRequest(
                operation="part",
                method="PUT",
                key=key,
                query={"partNumber": str(number), "uploadId": upload},
                headers=headers,
                body=body,
                what=f"sending part {number} of {shown_key(key)}",
            )

        async def consume(response: aiohttp.ClientResponse) -> StoredPart:
            etag = response.headers.get("ETag")
            if not etag:
                raise self._invalid(request({}), "an answer without ETag")
            return StoredPart(number=number, size=body.size, etag=etag, sha256=body.sha256)

        return await self._announcing(announced_sha256(body), lambda headers: self._large(request(headers), consume))

    async def parts(self, key: str, upload: str) -> tuple[StoredPart, ...]:
        stored: list[StoredPart] = []
        marker: int | None = 0
        while marker is not None:
            query = {"uploadId": upload, "max-parts": "1000", "part-number-marker": str(marker)}
            request = StoreRequest(
                operation="parts", key=key, query=query, what=f"listing the parts of {shown_key(key)}"
            )
            page = await self._document(request, parse_parts)
            stored += page.parts
            if page.next_marker is not None and page.next_marker <= marker:
                raise self._invalid(request, "a page that does not lead on")
            marker = page.next_marker
        return tuple(stored)

    async def complete(self, key: str, upload: str, parts: Sequence[StoredPart]) -> None:
        # A store without checksums may not know their element either.
        known = parts if self._announces else [replace(part, sha256=None) for part in parts]
        body = bytes_body(completion(known))
        request = StoreRequest(
            operation="complete",
            method="POST",
            key=key,
            query={"uploadId": upload},
            headers={"content-type": "application/xml"},
            body=body,
            what=f"completing {shown_key(key)}",
        )

        async def consume(response: aiohttp.ClientResponse) -> None:
            await self._finished(request, response)

        await self._large(request, consume)

    async def copy_in_place(self, key: str, *, etag: str) -> str:
        request = StoreRequest(
            operation="copy",
            method="PUT",
            key=key,
            headers={
                "x-amz-copy-source": encode_path(f"/{self._transport.address.bucket}/{key}"),
                "x-amz-copy-source-if-match": etag,
                "x-amz-metadata-directive": "REPLACE",
                "x-amz-checksum-algorithm": "SHA256",
                "content-type": "application/octet-stream",
            },
            what=f"having the checksum of {shown_key(key)} computed",
        )

        async def consume(response: aiohttp.ClientResponse) -> str:
            return self._parsed(request, await self._finished(request, response), parse_copied)

        return await self._transport.send(request, consume, deadline=self._limits.content.deadline)

    async def delete(self, key: str) -> None:
        await self._small(
            StoreRequest(operation="delete", method="DELETE", key=key, what=f"deleting {shown_key(key)}"), self._ignore
        )

    async def _announcing(self, checksums: Mapping[str, str], ask: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """The result of ``ask`` with the headers of checksums, or without them for a store that refuses them."""
        if not self._announces:
            return await ask({})
        try:
            return await ask(checksums)
        except Waiting as error:
            if error.reason not in _LACKS:
                raise
        result = await ask({})
        self._announces = False
        return result

    async def _small(self, request: StoreRequest, consume: Callable[[aiohttp.ClientResponse], Awaitable[T]]) -> T:
        return await self._retried(self._limits.small, request, consume)

    async def _large(self, request: StoreRequest, consume: Callable[[aiohttp.ClientResponse], Awaitable[T]]) -> T:
        return await self._retried(self._limits.content, request, consume)

    async def _retried(
        self, policy: RetryPolicy, request: StoreRequest, consume: Callable[[aiohttp.ClientResponse], Awaitable[T]]
    ) -> T:
        return await retried(policy, lambda: self._transport.send(request, consume, deadline=policy.deadline))

    async def _document(self, request: StoreRequest, parse: Callable[[bytes], T]) -> T:
        async def consume(response: aiohttp.ClientResponse) -> T:
            body = await self._transport.bounded_body(response, most=_MAX_ANSWER, what=request.what)
            return self._parsed(request, body, parse)

        return await self._small(request, consume)

    def _parsed(self, request: StoreRequest, body: bytes, parse: Callable[[bytes], T]) -> T:
        try:
            return parse(body)
        except DocumentError as error:
            raise self._invalid(request, str(error)) from error

    async def _finished(self, request: StoreRequest, response: aiohttp.ClientResponse) -> bytes:
        """The answer to a long operation: the answer begins with 200 before the store knows the result."""
        body = await self._transport.bounded_body(response, most=_MAX_ANSWER, what=request.what)
        if b"<Error>" in body[:1024]:
            refusal = StoreRefusal(status=500, code=error_code(body))
            raise from_refusal(self._transport.address, refusal, what=request.what)
        return body

    async def _ignore(self, response: aiohttp.ClientResponse) -> None:
        await self._transport.bounded_body(response, most=_MAX_ANSWER, what="the answer")

    def _invalid(self, request: StoreRequest, answer: str) -> Transient:
        return answer_invalid(self._transport.address, what=request.what, found=answer)
