"""A store in memory behind the port of object storage, and a provider whose scheme names it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

import pytest

from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.storage.limits import Limits
from gatehouse.storage.metrics import StoreMetrics
from gatehouse.storage.parts import StoredPart, StoredSum
from gatehouse.storage.port import ArtifactStore, ArtifactStores, ArtifactUploads, Body, Bucket, CopyArchive, StoreFlags
from gatehouse.storage.providers.s3 import S3

BUCKETS: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
"""The objects of each bucket, which last for one test."""


class MemoryBucket(ArtifactStore, ArtifactUploads, CopyArchive):
    """One bucket. An upload in parts is a bucket of its own until it is complete."""

    def __init__(self, name: str) -> None:
        self._objects = BUCKETS[name]
        self._parts: defaultdict[str, dict[int, bytes]] = defaultdict(dict)

    async def list(self, prefix: str, *, limit: int, readable: bool = False) -> Listing:
        del readable
        names = sorted(key for key in self._objects if key.startswith(prefix))[: limit + 1]
        return Listing.of(
            StoredObject(path=key.removeprefix(prefix), size=len(self._objects[key]), etag=etag(self._objects[key]))
            for key in names
        )

    async def read(self, prefix: str, stored: StoredObject, *, start: int, length: int) -> bytes:
        return self._objects[prefix + stored.path][start : start + length]

    async def sha256(
        self,
        prefix: str,
        stored: StoredObject,
        *,
        progress: Callable[[int], None],
        opened: Callable[[bytes], None] | None = None,
    ) -> str:
        data = self._objects[prefix + stored.path]
        progress(len(data))
        if opened is not None:
            opened(data[:OPENING_BYTES])
        return hashlib.sha256(data).hexdigest()

    async def stored_sha256(self, prefix: str, stored: StoredObject) -> str:
        return hashlib.sha256(self._objects[prefix + stored.path]).hexdigest()

    @property
    def limits(self) -> Limits:
        return Limits()

    async def head(self, key: str) -> StoredSum | None:
        data = self._objects.get(key)
        if data is None:
            return None
        return StoredSum(size=len(data), etag=etag(data), sha256=hashlib.sha256(data).hexdigest(), composite=None)

    # The archive has a method of the same name: an archive keeps small objects, an upload sends bodies.
    async def put(self, key: str, body: Body | bytes, *, retain_until: datetime | None = None) -> bool:  # type: ignore[override]
        del retain_until
        self._objects[key] = body if isinstance(body, bytes) else await received(body)
        return False

    async def unfinished(self, key: str) -> tuple[str, ...]:
        return (key,) if key in self._parts else ()

    async def begin(self, key: str) -> str:
        return key

    async def put_part(self, key: str, upload: str, number: int, body: Body) -> StoredPart:
        del key
        self._parts[upload][number] = data = await received(body)
        return StoredPart(number=number, size=len(data), etag=etag(data), sha256=body.sha256)

    async def parts(self, key: str, upload: str) -> tuple[StoredPart, ...]:
        del key
        return tuple(
            StoredPart(number=number, size=len(data), etag=etag(data), sha256=hashlib.sha256(data).hexdigest())
            for number, data in self._parts[upload].items()
        )

    async def complete(self, key: str, upload: str, parts: Sequence[StoredPart]) -> None:
        sent = self._parts.pop(upload)
        self._objects[key] = b"".join(sent[part.number] for part in sorted(parts, key=lambda part: part.number))

    async def copy_in_place(self, key: str, *, etag: str) -> str:
        del key
        return etag

    async def delete(self, key: str) -> None:
        self._objects.pop(key, None)


class MemoryStores(ArtifactStores):
    """Opens buckets in memory; the credentials do not matter."""

    def __init__(self, metrics: StoreMetrics) -> None:
        del metrics

    def open(self, store: object, *, bucket: str, credentials: object, ca_pem: str | None) -> MemoryBucket:
        return MemoryBucket(bucket)

    def archive(self, store: object, *, bucket: str, credentials: object, ca_pem: str | None) -> MemoryBucket:
        return MemoryBucket(bucket)

    async def aclose(self) -> None:
        BUCKETS.clear()


@asynccontextmanager
async def open_memory(bucket: str, flags: StoreFlags) -> AsyncIterator[Bucket]:
    """A bucket in memory, for a command."""
    del flags
    opened = MemoryBucket(bucket)
    yield Bucket(opened, opened)


async def received(body: Body) -> bytes:
    """The bytes of a body, which must be those that the body announces."""
    data = b"".join([chunk async for chunk in body.read()])
    assert (len(data), hashlib.sha256(data).hexdigest()) == (body.size, body.sha256)
    return data


def etag(data: bytes) -> str:
    """An ETag as stores make them."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


MEMORY = replace(S3, scheme="mem", stores="memorystore:MemoryStores", commands="memorystore:open_memory")


def use_memory(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, dict[str, bytes]]:
    """Adds ``mem://`` to the table for one test; returns the objects of each bucket."""
    table = MappingProxyType({"s3": S3, "mem": MEMORY})
    for module in ("domain.common.locations", "storage.stores", "actions.upload"):
        monkeypatch.setattr(f"gatehouse.{module}.PROVIDERS", table)
    BUCKETS.clear()
    return BUCKETS
