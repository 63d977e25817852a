"""Reads a database for commands and evidence: by its URL, in one snapshot, without writes or migrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.records import AuditHead, StoredRecord
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.version.records import FileRecord, VersionRecord
from gatehouse.registry.address import Target
from gatehouse.registry.audit import checkpoints_of, head_of, records_after
from gatehouse.registry.connector import Connector
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.mappers import VERSION_COLUMNS, version_of
from gatehouse.registry.operations import Read, read
from gatehouse.registry.schema import raise_schema_error
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records, model_versions
from gatehouse.registry.versions import LoadFiles, LoadVersion

__all__ = ["AuditReader", "VersionSnapshot", "load_version_rows", "open_trails"]

PAGE: Final = 5_000
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """The row of a version that an object holds or last held, or None, and its files by path."""

    record: VersionRecord | None
    files: Mapping[str, FileRecord]


class AuditReader:
    """The trails of a database at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def registries(self) -> Sequence[str]:
        """Every registry with a trail, including a trail whose head is missing."""
        heads = self._connection.scalars(select(audit_heads.c.registry))
        checkpoints = self._connection.scalars(select(audit_checkpoints.c.registry).distinct())
        return sorted({*heads, *checkpoints, *self._of_records()})

    def head(self, registry: str) -> AuditHead | None:
        """The newest record according to the head."""
        return head_of(self._connection, registry)

    def checkpoints(self, registry: str) -> Sequence[Checkpoint]:
        """Every checkpoint in the database, by position."""
        return checkpoints_of(self._connection, registry)

    def records(self, registry: str, *, after: int | None = None) -> Iterator[StoredRecord]:
        """The records with positions above ``after``, by position, with one page in memory."""
        while page := records_after(self._connection, registry, after, limit=PAGE):
            yield from page
            after = page[-1].seq

    def newest_first(self, registry: str, having: Mapping[str, str]) -> Iterator[StoredRecord]:
        """The records whose text contains these members at any depth, newest first."""
        records = audit_records.c
        members = [orjson.dumps({name: value}).decode()[1:-1] for name, value in having.items()]
        query = (
            select(records.seq, records.content, records.hash)
            .where(
                records.registry == registry, *[records.content.contains(member, autoescape=True) for member in members]
            )
            .order_by(records.seq.desc())
            .limit(PAGE)
        )
        before: int | None = None
        while True:
            older = query if before is None else query.where(records.seq < before)
            page = [StoredRecord(*row) for row in self._connection.execute(older)]
            yield from page
            if len(page) < PAGE:
                return
            before = page[-1].seq

    def held_by(self, namespace: str, name: str) -> Mapping[str, VersionRecord]:
        """The row of the version that an object holds or last held, by registry. Raises as ``load``."""
        held = model_versions.c
        query = (
            select(held.registry, *VERSION_COLUMNS)
            .where(held.namespace == namespace, held.object_name == name)
            .order_by(held.updated_at)
        )
        return {registry: version_of(row) for registry, *row in self._connection.execute(query)}

    def load(self, operations: Sequence[Read[Any]]) -> Sequence[Any]:
        """The results of other reads in the same snapshot."""
        return read(self._connection, operations)

    def _of_records(self) -> Iterator[str]:
        """The registries, each by one query of the index."""
        registry = audit_records.c.registry
        after: str | None = ""
        while True:
            after = self._connection.scalar(select(registry).where(registry > after).order_by(registry).limit(1))
            if after is None:
                return
            yield after


@contextmanager
def open_trails(target: Target) -> Iterator[AuditReader]:
    """The trails of a database, until the context ends. Tables are read as they are, never migrated.

    Raises:
        ReconcileError: a refusal by the database; SchemaMissing; SchemaTooOld; SchemaTooNew.
    """
    with _snapshot(target) as connection:
        yield AuditReader(connection)


def load_version_rows(target: Target, keys: Sequence[VersionKey]) -> list[VersionSnapshot]:
    """The rows of each key, all in one snapshot.

    Raises:
        ReconcileError: as :func:`open_trails`; RowUnreadable.
    """
    pages = [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
    with _snapshot(target) as connection:
        return [rows for page in pages for rows in _version_rows(connection, page)]


def _version_rows(connection: Connection, keys: Sequence[VersionKey]) -> Iterator[VersionSnapshot]:
    results = read(connection, [*map(LoadVersion, keys), *map(LoadFiles, keys)])
    return map(_rows_of, results[: len(keys)], results[len(keys) :])


def _rows_of(record: object, files: object) -> VersionSnapshot:
    if isinstance(record, ReconcileError):
        raise record
    governed = record if isinstance(record, VersionRecord) and not record.is_recorded else None
    return VersionSnapshot(governed, files if isinstance(files, Mapping) else {})


@contextmanager
def _snapshot(target: Target) -> Iterator[Connection]:
    """A connection whose reads see one snapshot until the context ends."""
    connector = Connector(target)
    connected = False
    try:
        with connector.engine.connect() as plain:
            connected = True
            connection = plain
            if target.address.kind == "sqlite":
                plain.exec_driver_sql("BEGIN")
            else:
                connection = plain.execution_options(isolation_level="REPEATABLE READ")
            yield connection
    except (SQLAlchemyError, OSError) as error:
        failure = connector.failure_of(error, connected=connected)
        raise_schema_error(connector, failure)
        raise failure.error() from None
    finally:
        connector.engine.dispose()
