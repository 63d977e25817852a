"""An artifact store in memory that counts what is asked of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.errors import ReconcileError, Transient

__all__ = ["FakeStore"]


@dataclass(eq=False)
class FakeStore:
    """Objects by key. ``before`` is told (operation, key) of each request and may raise or change objects.

    ``modified`` is LastModified by key; an object that was put in the place of another gets a later one, unless
    ``clock_stands``.
    """

    objects: dict[str, bytes]
    checksums: set[str] = field(default_factory=set)
    before: Callable[[str, str], None] = lambda _operation, _key: None
    bucket_exists: bool = True
    requests: Counter[str] = field(default_factory=Counter)
    read_keys: list[str] = field(default_factory=list)
    bytes_read: int = 0
    modified: dict[str, str] = field(default_factory=dict)
    clock_stands: bool = False
    answered_at: datetime | None = None
    _times: list[str] = field(default_factory=list)
    _written: dict[str, bytes] = field(default_factory=dict)

    async def list(self, prefix: str, *, limit: int, readable: bool = False) -> Listing | None:
        del readable
        self._asked("list", prefix)
        if not self.bucket_exists:
            return None
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        return Listing.of((self._stored(prefix, key) for key in keys[: limit + 1]), answered_at=self.answered_at)

    async def read(self, prefix: str, stored: StoredObject, *, start: int, length: int) -> bytes:
        self._asked("read", prefix + stored.path)
        data = self._content(prefix, stored)[start : start + length]
        assert len(data) == length, "a read beyond the end"
        self.bytes_read += length
        return data

    async def sha256(
        self,
        prefix: str,
        stored: StoredObject,
        *,
        progress: Callable[[int], None],
        opened: Callable[[bytes], None] | None = None,
    ) -> str:
        self._asked("read", prefix + stored.path)
        data = self._content(prefix, stored)
        self.bytes_read += len(data)
        progress(len(data))
        if opened is not None:
            opened(data[:OPENING_BYTES])
        return hashlib.sha256(data).hexdigest()

    async def stored_sha256(self, prefix: str, stored: StoredObject) -> str | None:
        self._asked("head", prefix + stored.path)
        data = self._content(prefix, stored)
        return hashlib.sha256(data).hexdigest() if prefix + stored.path in self.checksums else None

    def _asked(self, operation: str, key: str) -> None:
        self.requests[operation] += 1
        if operation == "read":
            self.read_keys.append(key)
        self.before(operation, key)

    def _content(self, prefix: str, stored: StoredObject) -> bytes:
        key = prefix + stored.path
        if key not in self.objects or self._stored(prefix, key) != stored:
            raise Transient(reason="ObjectChanged", message=f"{key} is another one")
        return self.objects[key]

    def _stored(self, prefix: str, key: str) -> StoredObject:
        data = self.objects[key]
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        if self._written.get(key) is not data:
            self._written[key] = data
            if key not in self.modified or not self.clock_stands:
                self.modified[key] = f"2026-11-01T00:00:00.{len(self._times):03}Z"
                self._times.append(key)
        return StoredObject(path=key.removeprefix(prefix), size=len(data), etag=etag, modified=self.modified[key])


def failing(operation: str, error: ReconcileError) -> Callable[[str, str], None]:
    """A ``before`` that raises at every request of an operation."""

    def before(asked: str, _key: str) -> None:
        if asked == operation:
            raise error

    return before
