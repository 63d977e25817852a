"""Rows of versions and their files as whoever compares them reads them: by the database's URL, writing nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.version.records import FileRecord, VersionRecord
from gatehouse.registry.address import Target
from gatehouse.registry.operations import LoadFiles, LoadVersion, VersionKey
from gatehouse.registry.reading import read
from gatehouse.registry.snapshot import snapshot_of

__all__ = ["VersionRows", "load_version_rows"]

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class VersionRows:
    """The row of a version, None when there is none, and its files by path."""

    record: VersionRecord | None
    files: Mapping[str, FileRecord]


def load_version_rows(target: Target, keys: Sequence[VersionKey]) -> list[VersionRows]:
    """The rows of each key, all of one moment. Tables are read as they are, never migrated.

    Raises:
        ReconcileError: as :func:`snapshot_of`; RowUnreadable.
    """
    pages = [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
    with snapshot_of(target) as connection:
        return [rows for page in pages for rows in _page(connection, page)]


def _page(connection: Connection, keys: Sequence[VersionKey]) -> Iterator[VersionRows]:
    found = read(connection, [*map(LoadVersion, keys), *map(LoadFiles, keys)])
    return map(_rows, found[: len(keys)], found[len(keys) :])


def _rows(record: object, files: object) -> VersionRows:
    if isinstance(record, ReconcileError):
        raise record
    return VersionRows(
        record if isinstance(record, VersionRecord) else None, files if isinstance(files, Mapping) else {}
    )
