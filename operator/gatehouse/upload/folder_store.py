"""A folder with the interface of an object store, so that one check serves both."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.storage.parts import SINGLE_BYTES, Part, parts_of
from gatehouse.storage.port import ArtifactStore, Body
from gatehouse.upload.folder import FileChanged, FileIdentity, FolderFiles, LocalFile

__all__ = ["FolderStore"]

_CHUNK_BYTES: Final = 1024 * 1024
_BATCH_CHUNKS: Final = 8


class FolderStore(ArtifactStore):
    """The files of a folder as objects. Holds 1 MiB in memory for each file that is read.

    Every method raises OSError, and FileChanged for a file that changed since the scan.
    """

    def __init__(self, folder: FolderFiles) -> None:
        self._files = {file.path: file for file in folder.files}
        self._part_sums: dict[str, tuple[str, ...]] = {}

    @property
    def part_sums(self) -> Mapping[str, tuple[str, ...]]:
        """Hex SHA-256 of each part, by path, of the files that are sent in parts and were hashed."""
        return self._part_sums

    async def list(self, prefix: str, *, limit: int, readable: bool = False) -> Listing:
        """Every file; its identity is its ETag. Only the empty prefix has files."""
        del prefix, limit, readable
        return Listing.of(
            StoredObject(path=path, size=file.size, etag=f'"{file.identity}"') for path, file in self._files.items()
        )

    async def read(self, prefix: str, stored: StoredObject, *, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` of a file."""
        del prefix
        return b"".join([chunk async for chunk in self._chunks(self._files[stored.path], start, length)])

    async def sha256(
        self,
        prefix: str,
        stored: StoredObject,
        *,
        progress: Callable[[int], None],
        opened: Callable[[bytes], None] | None = None,
    ) -> str:
        """Hex SHA-256 of a file. Also records those of the parts, for a file that is sent in parts."""
        del prefix
        file = self._files[stored.path]
        parts = parts_of(file.size) if file.size > SINGLE_BYTES else (Part(number=1, start=0, size=file.size),)
        whole, sums = hashlib.sha256(), []
        with _opened(file) as descriptor:
            if opened is not None:
                opened(_pread(descriptor, file.path, 0, min(OPENING_BYTES, file.size)))
            for part in parts:
                own = hashlib.sha256()
                digests = (whole, own) if len(parts) > 1 else (whole,)
                for batch in _batches(part):
                    await asyncio.to_thread(_hash, descriptor, file.path, batch, digests)
                    progress(batch.stop - batch.start)
                if len(parts) > 1:
                    sums.append(own.hexdigest())
        if sums:
            self._part_sums[file.path] = tuple(sums)
        return whole.hexdigest()

    async def stored_sha256(self, prefix: str, stored: StoredObject) -> str | None:
        """A file system keeps no checksums."""
        del prefix, stored
        return None

    def body(self, path: str, *, part: Part | None, sha256: str, progress: Callable[[int], None]) -> Body:
        """A file, or a part of it, as the body of a request.

        ``progress`` receives the bytes of each chunk, and a negative number when an attempt starts again.
        """
        file = self._files[path]
        start, size = (0, file.size) if part is None else (part.start, part.size)
        sent = 0

        async def read() -> AsyncIterator[bytes]:
            nonlocal sent
            progress(-sent)
            sent = 0
            async for chunk in self._chunks(file, start, size):
                yield chunk
                sent += len(chunk)
                progress(len(chunk))

        return Body(size=size, sha256=sha256, read=read)

    def check_unchanged(self, path: str) -> None:
        """Raises FileChanged for a file that changed since the scan."""
        file = self._files[path]
        try:
            status = os.stat(file.real)  # noqa: PTH116 - beside os.fstat
        except FileNotFoundError:
            raise FileChanged(path) from None
        if FileIdentity.of(status) != file.identity:
            raise FileChanged(path)

    async def _chunks(self, file: LocalFile, start: int, length: int) -> AsyncIterator[bytes]:
        with _opened(file) as descriptor:
            end = start + length
            for at in range(start, end, _CHUNK_BYTES):
                size = min(_CHUNK_BYTES, end - at)
                yield await asyncio.to_thread(_pread, descriptor, file.path, at, size)


@contextmanager
def _opened(file: LocalFile) -> Iterator[int]:
    """The descriptor of the file. Checks the identity before and after the use."""
    try:
        # A pipe may have replaced the file, and an open without O_NONBLOCK would wait for its writer.
        descriptor = os.open(file.real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FileChanged(file.path) from None
    try:
        _same(descriptor, file)
        yield descriptor
        _same(descriptor, file)
    finally:
        os.close(descriptor)


def _same(descriptor: int, file: LocalFile) -> None:
    if FileIdentity.of(os.fstat(descriptor)) != file.identity:
        raise FileChanged(file.path)


def _pread(descriptor: int, path: str, start: int, size: int) -> bytes:
    """Exactly ``size`` bytes; a read may return fewer before the file's end."""
    parts: list[bytes] = []
    while size:
        part = os.pread(descriptor, size, start)
        if not part:
            raise FileChanged(path)
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _batches(part: Part) -> Iterator[range]:
    """The offsets of the chunks, in batches."""
    step, end = _CHUNK_BYTES * _BATCH_CHUNKS, part.start + part.size
    for start in range(part.start, end, step):
        yield range(start, min(start + step, end), _CHUNK_BYTES)


def _hash(descriptor: int, path: str, batch: range, digests: Sequence[hashlib._Hash]) -> None:
    for at in batch:
        chunk = _pread(descriptor, path, at, min(_CHUNK_BYTES, batch.stop - at))
        for digest in digests:
            digest.update(chunk)
