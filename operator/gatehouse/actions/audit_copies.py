"""Copies of checkpoints, from a folder or an object store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.audit.checkpoints import LARGEST_CHECKPOINT, Checkpoint, read_checkpoint
from gatehouse.errors import InputInvalid
from gatehouse.storage.port import ArtifactStore, StoreFlags
from gatehouse.storage.providers.table import examples
from gatehouse.storage.stores import location_of, open_location

__all__ = ["read_copies"]

MOST_COPIES: Final = 100_000
_AT_ONCE: Final = 32


async def read_copies(where: str, registry: str, *, store: StoreFlags) -> Sequence[Checkpoint]:
    """The copies of a registry's checkpoints below a folder, or below a URI.

    Raises:
        CheckpointUnreadable: a file is no checkpoint.
        InputInvalid: the place does not exist, or holds too many files.
        OSError, ReconcileError: the copies cannot be read.
    """
    if "://" in where:
        return await _from_store(where, registry, store)
    return _from_folder(Path(where), registry)


def _from_folder(folder: Path, registry: str) -> Sequence[Checkpoint]:
    if not folder.is_dir():
        raise InputInvalid(f"folder {folder} does not exist; expected: the copies of checkpoints, or {examples()}")
    below = folder / registry
    files = sorted((below if below.is_dir() else folder).rglob("*.json"))
    _bounded(len(files), str(folder))
    checkpoints = []
    for file in files:
        with file.open("rb") as stream:
            checkpoints.append(read_checkpoint(stream.read(LARGEST_CHECKPOINT + 1), where=str(file)))
    return [checkpoint for checkpoint in checkpoints if checkpoint.registry == registry]


async def _from_store(uri: str, registry: str, flags: StoreFlags) -> Sequence[Checkpoint]:
    location = location_of(uri)
    prefix = f"{location.prefix}{registry}/"
    async with open_location(location, flags) as bucket:
        listing = await bucket.store.list(prefix, limit=MOST_COPIES)
        if listing is None:
            raise InputInvalid(f"bucket {location.bucket} does not exist")
        _bounded(len(listing.objects), uri)
        turn = asyncio.Semaphore(_AT_ONCE)
        return await asyncio.gather(*(_read(bucket.store, prefix, stored, turn) for stored in listing.objects))


async def _read(store: ArtifactStore, prefix: str, stored: StoredObject, turn: asyncio.Semaphore) -> Checkpoint:
    async with turn:
        length = min(stored.size, LARGEST_CHECKPOINT + 1)
        return read_checkpoint(await store.read(prefix, stored, start=0, length=length), where=prefix + stored.path)


def _bounded(count: int, where: str) -> None:
    if count > MOST_COPIES:
        raise InputInvalid(f"{where} holds more than {MOST_COPIES} files; expected: only the copies of checkpoints")
