"""What mirrors have of the entries of a registry: an id and a hash by entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from sqlalchemy import Connection, delete, select

from gatehouse.domain.entries.entry import EntryKind
from gatehouse.domain.entries.mirroring import EntryKey, Mirrored
from gatehouse.registry.operations import Read, Write
from gatehouse.registry.tables import mirrored_entries
from gatehouse.registry.writer import Writer

__all__ = ["ForgetMirror", "LoadMirrored", "SaveMirrored"]

_C = mirrored_entries.c
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class LoadMirrored(Read[Mapping[EntryKey, Mirrored]]):
    """What a mirror has of some entries; entries that it does not have are left out."""

    registry: str
    mirror: str
    keys: tuple[EntryKey, ...]

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Mapping[EntryKey, Mirrored]]:
        return [_loaded(connection, operation) for operation in batch]


@dataclass(frozen=True, slots=True)
class SaveMirrored(Write[None]):
    """Replaces what a mirror has of one entry."""

    registry: str
    mirror: str
    key: EntryKey
    value: Mirrored

    @property
    def order(self) -> tuple[str, ...]:
        return ("save", "mirrored", self.registry, self.mirror, self.key.kind, str(self.key.id))

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[None]:
        for operation in batch:
            writer.connection.execute(
                delete(mirrored_entries).where(
                    _C.registry == operation.registry,
                    _C.mirror == operation.mirror,
                    _C.kind == operation.key.kind,
                    _C.entry_id == operation.key.id,
                )
            )
        writer.insert(
            mirrored_entries,
            [
                {
                    "registry": operation.registry,
                    "mirror": operation.mirror,
                    "kind": operation.key.kind,
                    "entry_id": operation.key.id,
                    "remote_id": operation.value.remote_id,
                    "fingerprint": operation.value.fingerprint,
                }
                for operation in batch
            ],
        )
        return [None] * len(batch)


@dataclass(frozen=True, slots=True)
class ForgetMirror(Write[None]):
    """Removes what a mirror has."""

    registry: str
    mirror: str

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[None]:
        for operation in batch:
            writer.connection.execute(
                delete(mirrored_entries).where(_C.registry == operation.registry, _C.mirror == operation.mirror)
            )
        return [None] * len(batch)


def _loaded(connection: Connection, operation: LoadMirrored) -> Mapping[EntryKey, Mirrored]:
    found: dict[EntryKey, Mirrored] = {}
    kinds: dict[EntryKind, list[int]] = {}
    for key in operation.keys:
        kinds.setdefault(key.kind, []).append(key.id)
    for kind, ids in kinds.items():
        for start in range(0, len(ids), _AT_ONCE):
            rows = connection.execute(
                select(_C.entry_id, _C.remote_id, _C.fingerprint).where(
                    _C.registry == operation.registry,
                    _C.mirror == operation.mirror,
                    _C.kind == kind,
                    _C.entry_id.in_(ids[start : start + _AT_ONCE]),
                )
            )
            found |= {EntryKey(kind, id_): Mirrored(remote_id, fingerprint) for id_, remote_id, fingerprint in rows}
    return found
