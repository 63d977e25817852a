"""Rows of versions and their files as whoever compares them reads them: by the database's URL, writing nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from gatehouse.domain.errors import ReconcileError
from gatehouse.domain.records import FileRecord, VersionRecord
from gatehouse.registry.address import Target
from gatehouse.registry.connector import Connector
from gatehouse.registry.operations import LoadFiles, LoadVersion, VersionKey
from gatehouse.registry.reading import read
from gatehouse.registry.schema import blame_revision

__all__ = ["VersionRows", "load_version_rows"]


@dataclass(frozen=True, slots=True)
class VersionRows:
    """The row of a version, None when there is none, and its files by path."""

    record: VersionRecord | None
    files: Mapping[str, FileRecord]


def load_version_rows(target: Target, keys: Sequence[VersionKey]) -> list[VersionRows]:
    """The rows of each key. Tables are read as they are, never migrated.

    Raises:
        ReconcileError: what the database refuses; SchemaTooOld; SchemaTooNew; RowUnreadable.
    """
    connector = Connector(target)
    connected = False
    try:
        with connector.engine.connect() as connection:
            connected = True
            found = read(connection, [*map(LoadVersion, keys), *map(LoadFiles, keys)])
    except (SQLAlchemyError, OSError) as error:
        failure = connector.failure_of(error, connected=connected)
        blame_revision(connector, failure)
        raise failure.error() from None
    finally:
        connector.engine.dispose()
    records, files = found[: len(keys)], found[len(keys) :]
    return [_rows(record, each) for record, each in zip(records, files, strict=True)]


def _rows(record: object, files: object) -> VersionRows:
    if isinstance(record, ReconcileError):
        raise record
    return VersionRows(
        record if isinstance(record, VersionRecord) else None, files if isinstance(files, Mapping) else {}
    )
