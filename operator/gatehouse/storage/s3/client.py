"""Artifacts in S3 stores, by generic S3 alone: ListObjectsV2, HeadObject and GetObject with If-Match.

Listing needs every name unchanged, and errors need the store's own code and Retry-After. This module therefore sends
its own requests with aiohttp: a library alters the names and hides the codes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import NamedTuple, TypeVar

import aiohttp
from botocore.credentials import Credentials

from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.errors import Transient, Waiting
from gatehouse.domain.common.locations import place_of
from gatehouse.storage.hashing import ContentHasher
from gatehouse.storage.limits import Limits, retried
from gatehouse.storage.metrics import StoreMetrics
from gatehouse.storage.port import ArtifactStore, ArtifactStores
from gatehouse.storage.s3.archive import Archive
from gatehouse.storage.s3.checksums import full_object_sha256
from gatehouse.storage.s3.errors import StoreAddress, answer_invalid, cut_short, object_archived, object_changed
from gatehouse.storage.s3.identity import RequestCredentials, WorkloadIdentity
from gatehouse.storage.s3.listing import ListingPage, parse_page, parse_versions_page
from gatehouse.storage.s3.signing import RequestSigner
from gatehouse.storage.s3.transport import RequestOptions, StoreRequest, Transport, open_session, shown_key
from gatehouse.storage.s3.xml import DocumentError

__all__ = ["S3Store", "S3Stores"]

T = TypeVar("T")

_PAGE_KEYS = 1_000
_MOST_PAGES = 200
_MOST_EMPTY_PAGES = 100
"""The most empty pages in a row. A store that skips many delete markers or other names returns empty pages."""
_ARCHIVED_ASKED = 8
"""The number of objects in an archive class of which one byte is read: lifecycle rules move all files of a folder."""
_MAX_PAGE = 8 * 1024 * 1024
_LARGE_PAGE = 64 * 1024
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")


class _Key(NamedTuple):
    """The identity of a connection; the credentials come last, because they change."""

    endpoint: str
    bucket: str
    region: str
    ca_pem: str | None
    proxy: str | None
    workload_identity: bool
    versioned: bool
    options: RequestOptions
    credentials: tuple[str, ...] | None


class S3Stores(ArtifactStores):
    """Opens buckets. One session for each endpoint and certificate authority, kept open; one hasher for all."""

    def __init__(
        self, metrics: StoreMetrics, *, limits: Limits | None = None, identity: RequestCredentials | None = None
    ) -> None:
        self._metrics = metrics
        self._limits = limits or Limits()
        self._hasher = ContentHasher()
        self._identity = identity or WorkloadIdentity()
        self._sessions: dict[tuple[str, str | None, str | None], aiohttp.ClientSession] = {}
        self._stores: dict[_Key, S3Store] = {}

    def open(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, ...] | None, ca_pem: str | None
    ) -> S3Store:
        """As the port says. Raises Waiting (CertificateRejected) for a ``ca_pem`` without certificates, and Stalled."""
        place = place_of(store)
        key = _Key(
            place.endpoint,
            bucket,
            place.region,
            ca_pem,
            store.proxy,
            store.workload_identity,
            store.versioned,
            _options(store),
            credentials,
        )
        known = self._stores.get(key)
        if known is not None:
            return known
        transport = self._transport(store, bucket, credentials=credentials, ca_pem=ca_pem)
        # After a rotation of credentials no caller asks for the store with the old ones.
        for other in [other for other in self._stores if other[:-1] == key[:-1]]:
            del self._stores[other]
        opened = self._stores[key] = S3Store(
            transport, hasher=self._hasher, metrics=self._metrics, limits=self._limits, versioned=store.versioned
        )
        return opened

    def archive(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, ...] | None, ca_pem: str | None
    ) -> Archive:
        transport = self._transport(store, bucket, credentials=credentials, ca_pem=ca_pem)
        return Archive(transport, policy=self._limits.small)

    async def aclose(self) -> None:
        self._stores.clear()
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        self._hasher.close()

    def _transport(
        self, store: ObjectStore, bucket: str, *, credentials: tuple[str, ...] | None, ca_pem: str | None
    ) -> Transport:
        place = place_of(store)
        address = StoreAddress(place.endpoint, bucket)
        return Transport(
            session=self._session(address, ca_pem, store.proxy),
            address=address,
            signer=self._signer(store, credentials, region=place.region),
            metrics=self._metrics,
            options=_options(store),
        )

    def _signer(self, store: ObjectStore, credentials: tuple[str, ...] | None, *, region: str) -> RequestSigner | None:
        if credentials is not None:
            access_key, secret_key = credentials
            return RequestSigner(Credentials(access_key, secret_key), region=region)
        return RequestSigner(self._identity, region=region) if store.workload_identity else None

    def _session(self, address: StoreAddress, ca_pem: str | None, proxy: str | None) -> aiohttp.ClientSession:
        key = (address.endpoint, ca_pem, proxy)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = open_session(address, ca_pem=ca_pem, limits=self._limits, proxy=proxy)
        return session


def _options(store: ObjectStore) -> RequestOptions:
    return RequestOptions(virtual_host=store.addressing == "VirtualHost", requester_pays=store.requester_pays)


class S3Store(ArtifactStore):
    """One bucket. Two stores with the same connection are the same object. A versioned store lists versions."""

    def __init__(
        self,
        transport: Transport,
        *,
        hasher: ContentHasher,
        metrics: StoreMetrics,
        limits: Limits,
        versioned: bool = False,
    ) -> None:
        self._transport = transport
        self._versioned = versioned
        self._hasher = hasher
        self._metrics = metrics
        self._limits = limits

    async def list(self, prefix: str, *, limit: int, readable: bool = False) -> Listing | None:
        """As the port says. ``readable`` reads a byte of the objects that are listed in an archive class."""
        objects: dict[str, StoredObject] = {}
        archived: list[tuple[StoredObject, str]] = []
        following: Mapping[str, str] = {}
        answered_at: datetime | None = None
        pages = empty = 0
        while len(objects) <= limit:
            # A page may have no object that counts: after the first such page, smaller pages are not worthwhile.
            most = _PAGE_KEYS if self._versioned or empty else min(_PAGE_KEYS, limit + 1 - len(objects))
            answer = await self._page(prefix, following, most=most)
            if answer is None:
                return None
            page, dated = answer
            answered_at = answered_at or dated
            before = len(objects)
            for listed in page.keys:
                if not listed.key.startswith(prefix) or listed.key in objects:
                    raise self._invalid(prefix, "an object outside the prefix, or twice")
                stored = objects[listed.key] = StoredObject(
                    path=listed.key.removeprefix(prefix),
                    size=listed.size,
                    etag=listed.etag,
                    modified=listed.modified,
                    version_id=listed.version_id,
                )
                if listed.archive:
                    archived.append((stored, listed.archive))
            if page.following is None:
                break
            pages, empty = pages + 1, empty + 1 if len(objects) == before else 0
            self._check_paging(prefix, page, following, pages=pages, empty=empty)
            following = page.following
        if readable and len(objects) <= limit:
            await self._check_archived(prefix, archived)
        return Listing.of(islice(objects.values(), limit + 1), answered_at=answered_at)

    def _check_paging(
        self, prefix: str, page: ListingPage, following: Mapping[str, str], *, pages: int, empty: int
    ) -> None:
        """Raises Transient (StoreAnswerInvalid) where the pages repeat or are too many."""
        if page.following == following:
            raise self._invalid(prefix, "a page that leads to itself")
        if empty > _MOST_EMPTY_PAGES and not self._versioned:
            raise self._invalid(
                prefix, f"more than {_MOST_EMPTY_PAGES} pages in a row without objects: remove delete markers"
            )
        if pages > _MOST_PAGES:
            raise self._invalid(prefix, f"more than {_MOST_PAGES} pages: remove old versions of the objects")

    async def _check_archived(self, prefix: str, archived: Sequence[tuple[StoredObject, str]]) -> None:
        """Raises Waiting (ObjectArchived) for an object that the store does not return; restored copies pass."""
        for stored, storage_class in [pair for pair in archived if pair[0].size][:_ARCHIVED_ASKED]:
            try:
                await self.read(prefix, stored, start=0, length=1)
            except Waiting as error:
                if error.reason != "ObjectArchived":
                    raise
                raise object_archived(
                    self._transport.address,
                    what=f"reading {shown_key(prefix + stored.path)}",
                    storage_class=storage_class,
                ) from error

    async def read(self, prefix: str, stored: StoredObject, *, start: int, length: int) -> bytes:
        request = _get(prefix, stored, start=start, length=length)

        async def consume(response: aiohttp.ClientResponse) -> bytes:
            return b"".join([chunk async for chunk in self._body(response, stored, start, length, request.what)])

        return await self._retried(request, consume)

    async def sha256(
        self,
        prefix: str,
        stored: StoredObject,
        *,
        progress: Callable[[int], None],
        opened: Callable[[bytes], None] | None = None,
    ) -> str:
        """As the port says. When a connection ends early, another connection continues from there."""
        limits = self._limits
        async with self._hasher.feed(stored.size, progress, source=self._transport.address.endpoint) as feed:

            async def attempt() -> None:
                start, length = feed.received, stored.size - feed.received
                if length == 0:
                    return
                request = _get(prefix, stored, start=start, length=length)

                async def consume(response: aiohttp.ClientResponse) -> None:
                    async with asyncio.timeout(limits.batch) as batch:
                        async for chunk in self._body(response, stored, start, length, request.what):
                            if await feed.write(chunk):
                                batch.reschedule(asyncio.get_running_loop().time() + limits.batch)

                await self._transport.send(request, consume, deadline=limits.content.deadline)

            while True:
                before = feed.received
                try:
                    await retried(limits.content, attempt)
                except Transient as error:
                    if feed.received == before or error.reason != "StoreUnavailable":
                        raise
                else:
                    if opened is not None:
                        opened(feed.opening)
                    return await feed.hexdigest()

    async def stored_sha256(self, prefix: str, stored: StoredObject) -> str | None:
        key = prefix + stored.path
        request = StoreRequest(
            operation="head",
            method="HEAD",
            key=key,
            headers={"if-match": stored.etag, "x-amz-checksum-mode": "ENABLED"},
            what=f"asking for the checksum of {shown_key(key)}",
        )

        async def consume(response: aiohttp.ClientResponse) -> str | None:
            self._same_object(response, stored, what=request.what)
            return full_object_sha256(response.headers)

        try:
            return await self._retried(request, consume)
        except Waiting as error:
            if error.reason != "StoreLacksOperation":
                raise
            return None

    async def _retried(self, request: StoreRequest, consume: Callable[[aiohttp.ClientResponse], Awaitable[T]]) -> T:
        policy = self._limits.small
        return await retried(policy, lambda: self._transport.send(request, consume, deadline=policy.deadline))

    async def _page(
        self, prefix: str, following: Mapping[str, str], *, most: int
    ) -> tuple[ListingPage, datetime | None] | None:
        """A page, and the store's own time of its answer."""
        which, parse = ({"versions": ""}, parse_versions_page) if self._versioned else ({"list-type": "2"}, parse_page)
        query = {**which, "encoding-type": "url", "max-keys": str(most), "prefix": prefix, **following}
        request = StoreRequest(operation="list", query=query, what=f"listing {shown_key(prefix)}")

        async def consume(response: aiohttp.ClientResponse) -> tuple[ListingPage, datetime | None]:
            body = await self._transport.bounded_body(response, most=_MAX_PAGE, what=request.what)
            try:
                page = await asyncio.to_thread(parse, body) if len(body) > _LARGE_PAGE else parse(body)
            except DocumentError as error:
                raise answer_invalid(self._transport.address, what=request.what, found=str(error)) from error
            return page, _date(response.headers)

        try:
            return await self._retried(request, consume)
        except Transient as error:
            if error.reason == "BucketMissing":
                return None
            raise

    async def _body(
        self, response: aiohttp.ClientResponse, stored: StoredObject, start: int, length: int, what: str
    ) -> AsyncIterator[bytes]:
        """Exactly the ``length`` bytes from ``start`` of the listed object."""
        self._same_object(response, stored, what=what)
        if length != stored.size:
            self._same_range(response, stored, start=start, length=length, what=what)
        received = 0
        async for chunk, _ in response.content.iter_chunks():
            received += len(chunk)
            self._metrics.received(len(chunk))
            if received > length:
                raise answer_invalid(
                    self._transport.address, what=what, found=f"more than the {length} bytes asked for"
                )
            yield chunk
        if received < length:
            raise cut_short(self._transport.address, what=what, received=received, length=length)

    def _same_object(self, response: aiohttp.ClientResponse, stored: StoredObject, *, what: str) -> None:
        """Check that the answer is about the listed object, because some stores ignore If-Match."""
        etag = response.headers.get("ETag")
        if etag is not None and etag.strip('"') != stored.etag.strip('"'):
            raise object_changed(self._transport.address, what=what, found="another object has taken its place")
        # Another version with the same ETag may be current only at this moment.
        if stored.version_id and response.headers.get("x-amz-version-id", "null") != stored.version_id:
            raise object_changed(self._transport.address, what=what, found="another version has taken its place")
        if response.status == 200 and response.content_length not in (None, stored.size):
            raise object_changed(
                self._transport.address,
                what=what,
                found=f"it has {response.content_length} bytes, the listing said {stored.size}",
            )

    def _same_range(
        self, response: aiohttp.ClientResponse, stored: StoredObject, *, start: int, length: int, what: str
    ) -> None:
        shown = response.headers.get("Content-Range", "")
        said = _CONTENT_RANGE.fullmatch(shown)
        if response.status != 206 or said is None:
            raise answer_invalid(self._transport.address, what=what, found="an answer without the range asked for")
        first, last, size = (int(number) for number in said.groups())
        if size != stored.size:
            raise object_changed(
                self._transport.address, what=what, found=f"it has {size} bytes, the listing said {stored.size}"
            )
        if (first, last) != (start, start + length - 1):
            raise answer_invalid(
                self._transport.address,
                what=what,
                found=f"bytes {first} to {last}, not {start} to {start + length - 1}",
            )

    def _invalid(self, prefix: str, answer: str) -> Transient:
        return answer_invalid(self._transport.address, what=f"listing {shown_key(prefix)}", found=answer)


def _date(headers: Mapping[str, str]) -> datetime | None:
    """The time that an answer states, in whole seconds."""
    try:
        stated = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    return stated if stated.tzinfo is not None else stated.replace(tzinfo=UTC)


def _get(prefix: str, stored: StoredObject, *, start: int, length: int) -> StoreRequest:
    headers = {"if-match": stored.etag}
    if length != stored.size:
        headers["range"] = f"bytes={start}-{start + length - 1}"
    key = prefix + stored.path
    return StoreRequest(operation="read", key=key, headers=headers, what=f"reading {shown_key(key)}")
