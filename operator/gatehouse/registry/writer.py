"""Statements of one transaction, and how many rows they wrote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, Connection, Row, Select, Table, bindparam, delete, insert, update

from gatehouse.domain.audit.records import FactDocument
from gatehouse.registry.ids import HighestIds, assign_ids, pass_explicit_ids
from gatehouse.registry.key_filters import among, of_versions
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.operations import VersionKey
from gatehouse.registry.tables import artifact_files, history

__all__ = ["FoundRow", "Writer"]

FoundRow: TypeAlias = "Row[*tuple[Any, ...]]"
"""A row whose columns are attributes."""

_FILES_AT_ONCE = 200


class Writer:
    """Writes rows, always many with one statement."""

    def __init__(self, connection: Connection, highest: HighestIds) -> None:
        self.connection = connection
        self._highest = highest
        self.rows: Counter[str] = Counter()
        """Rows inserted or updated, by table."""
        self.facts: defaultdict[str, list[FactDocument]] = defaultdict(list)
        """What the audit trails are to be told, by registry; :mod:`gatehouse.registry.auditing` appends it."""

    def lock(self, query: Select[Any]) -> Sequence[FoundRow]:
        """Rows that nobody else changes before this transaction ends. SQLite's lock is held already."""
        return self.connection.execute(query.with_for_update()).all()

    def look(self, query: Select[Any]) -> Sequence[FoundRow]:
        """Rows as they are now."""
        return self.connection.execute(query).all()

    def insert(self, table: Table, rows: Sequence[RowValues]) -> None:
        """Adds rows that all have the same columns."""
        if rows:
            self.connection.execute(insert(table), rows)
            self.rows[table.name] += len(rows)

    def insert_numbered(self, table: Table, rows: Sequence[RowValues], known: Sequence[int | None]) -> None:
        """Adds rows under the ids that objects know of them, and otherwise under new ones that none knows."""
        if not rows:
            return
        ids = assign_ids(self.connection, table, known, highest=self._highest.of(table))
        numbered = [row | {"id": id_} for row, id_ in zip(rows, ids, strict=True) if id_ is not None]
        self.insert(table, numbered)
        pass_explicit_ids(self.connection, table, numbered)
        self.insert(table, [row for row, id_ in zip(rows, ids, strict=True) if id_ is None])

    def update(self, table: Table, rows: Sequence[RowValues]) -> None:
        """Sets columns of the rows with the given ``id``. All rows have the same columns."""
        if rows:
            columns: dict[str, BindParameter[Any]] = {
                column: bindparam(f"new_{column}") for column in rows[0] if column != "id"
            }
            statement = update(table).where(table.c.id == bindparam("row_id")).values(columns)
            self.connection.execute(
                statement,
                [
                    {"row_id" if column == "id" else f"new_{column}": value for column, value in row.items()}
                    for row in rows
                ],
            )
            self.rows[table.name] += len(rows)

    def replace_all_files(self, keys: Sequence[VersionKey], rows: Sequence[RowValues]) -> None:
        """Makes ``rows`` the only files of the versions."""
        if keys:
            self.connection.execute(delete(artifact_files).where(of_versions(self.connection, artifact_files, keys)))
        self.insert(artifact_files, rows)

    def put_files(self, rows: Sequence[RowValues]) -> None:
        """Adds files, or replaces those of the same path."""
        files = artifact_files.c
        for start in range(0, len(rows), _FILES_AT_ONCE):
            some = rows[start : start + _FILES_AT_ONCE]
            key = ("registry", "model", "version", "path_hash")
            keys = [tuple(row[column] for column in key) for row in some]
            self.connection.execute(
                delete(artifact_files).where(
                    among(self.connection, (files.registry, files.model, files.version, files.path_hash), keys)
                )
            )
            self.insert(artifact_files, some)

    def tell(self, registry: str, facts: Iterable[FactDocument | None]) -> None:
        """Has facts appended to the audit trail at the end of the transaction; None is none."""
        told = [fact for fact in facts if fact is not None]
        if told:
            self.facts[registry] += told

    def append_history(self, entries: Sequence[RowValues]) -> None:
        """Adds entries to the history, which nothing else ever touches."""
        self.insert(history, entries)
