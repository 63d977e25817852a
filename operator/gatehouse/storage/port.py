"""The port of object storage: what verification, archives and uploads need of a store, whatever its protocol.

Every method of a store raises ``Waiting`` where a person must act (AccessDenied, CredentialsRejected, RegionMismatch,
ObjectArchived, StoreRefused and others), and ``Transient`` (StoreUnavailable, StoreThrottled, StoreAnswerInvalid,
BucketMissing, and ObjectChanged when the object is not the one that was listed).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.storage.limits import Limits
from gatehouse.storage.parts import StoredPart, StoredSum

__all__ = [
    "ArtifactStore",
    "ArtifactStores",
    "ArtifactUploads",
    "Body",
    "BodyError",
    "Bucket",
    "BucketOpener",
    "CopyArchive",
    "StoreFlags",
    "bytes_body",
]


class ArtifactStore(Protocol):
    """One bucket, opened with one set of credentials. A bucket that does not exist lists as None."""

    async def list(self, prefix: str, *, limit: int, readable: bool = False) -> Listing | None:
        """Objects below ``prefix`` (empty, or with a slash at its end), paths relative to it; at most ``limit`` + 1.

        ``readable`` raises Waiting (ObjectArchived) where objects are in an archive tier and cannot be read.
        """
        ...

    async def read(self, prefix: str, stored: StoredObject, *, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` of the object as it was listed."""
        ...

    async def sha256(
        self,
        prefix: str,
        stored: StoredObject,
        *,
        progress: Callable[[int], None],
        opened: Callable[[bytes], None] | None = None,
    ) -> str:
        """Hex SHA-256 of the object's bytes, streamed; ``progress`` gets the bytes of each step, ``opened`` the first.

        ``opened`` is called once, with at least ``unsafe_files.OPENING_BYTES`` bytes, or with the whole of a smaller
        object.
        """
        ...

    async def stored_sha256(self, prefix: str, stored: StoredObject) -> str | None:
        """Hex SHA-256 of the whole object as the store computed it (ChecksumType FULL_OBJECT); None without one."""
        ...


class CopyArchive(Protocol):
    """A bucket for copies that are never changed."""

    async def put(self, key: str, data: bytes, *, retain_until: datetime) -> bool:
        """Writes a small object; returns whether the store locked it (Object Lock, GOVERNANCE) until then."""
        ...


class ArtifactStores(Protocol):
    """Opens stores for the operator. One client per endpoint and credentials, kept open."""

    def open(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, ...] | None, ca_pem: str | None
    ) -> ArtifactStore:
        """The bucket of a store.

        ``credentials`` are the values of the provider's ``credential_keys``; without them the operator's identity
        reads the bucket, or no one in particular.
        """
        ...

    def archive(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, ...] | None, ca_pem: str | None
    ) -> CopyArchive:
        """The bucket of a store, for copies."""
        ...

    async def aclose(self) -> None:
        """Closes every connection."""
        ...


class BodyError(Exception):
    """The bytes to send cannot be read; the request is not retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """``size`` bytes with the hex ``sha256``; ``read`` returns them from the start for each attempt.

    ``read`` may raise BodyError and OSError, which the request then raises.
    """

    size: int
    sha256: str
    read: Callable[[], AsyncIterator[bytes]]


def bytes_body(data: bytes) -> Body:
    """A body from memory."""

    async def read() -> AsyncIterator[bytes]:
        yield data

    return Body(size=len(data), sha256=hashlib.sha256(data).hexdigest(), read=read)


class ArtifactUploads(Protocol):
    """Writes to one bucket. Keys are whole. Each request is retried after an outage."""

    @property
    def limits(self) -> Limits:
        """The time limits and the attempts of requests to the store."""
        ...

    async def head(self, key: str) -> StoredSum | None:
        """The store's statement about an object, or None when the object does not exist."""
        ...

    async def put(self, key: str, body: Body) -> None:
        """Write a whole object, replacing any other."""
        ...

    async def unfinished(self, key: str) -> tuple[str, ...]:
        """Ids of the uploads of an object that were begun and never completed."""
        ...

    async def begin(self, key: str) -> str:
        """Begin an upload in parts; return its id."""
        ...

    async def put_part(self, key: str, upload: str, number: int, body: Body) -> StoredPart:
        """Send one part."""
        ...

    async def parts(self, key: str, upload: str) -> tuple[StoredPart, ...]:
        """The parts that the store has of an unfinished upload."""
        ...

    async def complete(self, key: str, upload: str, parts: Sequence[StoredPart]) -> None:
        """Complete the object from its parts, replacing any other."""
        ...

    async def copy_in_place(self, key: str, *, etag: str) -> str:
        """Have the store copy the object onto itself, which makes it compute the SHA-256 of the whole; return its ETag.

        For objects of at most 5 GiB. Some stores keep the old checksum nevertheless. The request is sent once: the
        caller must check the object before another attempt. Raises Waiting (StoreLacksOperation) where stores compute
        none.
        """
        ...

    async def delete(self, key: str) -> None:
        """Delete an object; a missing object is no error."""
        ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, to read and to write."""

    store: ArtifactStore
    uploads: ArtifactUploads


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFlags:
    """Flags of a command. None leaves the value to the environment."""

    endpoint: str | None = None
    region: str | None = None
    ca: Path | None = None
    addressing: Literal["path", "virtual"] | None = None
    requester_pays: bool = False


class BucketOpener(Protocol):
    """Opens a bucket with the settings of the person who runs a command."""

    def __call__(self, bucket: str, flags: StoreFlags) -> AbstractAsyncContextManager[Bucket]:
        """The bucket, open until the context ends.

        Raises InputInvalid for settings that are missing or invalid, ActionError where credentials cannot be renewed,
        Waiting (CertificateRejected), and OSError.
        """
        ...
