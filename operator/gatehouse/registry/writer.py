"""The statements of one transaction, and the number of rows that they wrote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, Connection, Row, Select, Table, bindparam, insert, update

from gatehouse.domain.audit.records import FactDocument
from gatehouse.registry.ids import HighestIds, assign_ids, pass_explicit_ids
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.tables import history

__all__ = ["StoredRow", "Writer"]

StoredRow: TypeAlias = "Row[*tuple[Any, ...]]"
"""A row of the database whose columns are attributes."""


class Writer:
    """Writes rows, many with each statement."""

    def __init__(self, connection: Connection, highest: HighestIds) -> None:
        self.connection = connection
        self._highest = highest
        self.rows: Counter[str] = Counter()
        """Rows inserted or updated, by table."""
        self.facts: defaultdict[str, list[FactDocument]] = defaultdict(list)
        """The facts to record, by registry; :func:`gatehouse.registry.audit.append_records` appends them."""

    def fetch_for_update(self, query: Select[Any]) -> Sequence[StoredRow]:
        """Rows, locked against other changes until this transaction ends. SQLite's lock is already held."""
        return self.connection.execute(query.with_for_update()).all()

    def fetch(self, query: Select[Any]) -> Sequence[StoredRow]:
        """The current rows."""
        return self.connection.execute(query).all()

    def insert(self, table: Table, rows: Sequence[RowValues]) -> None:
        """Adds rows that all have the same columns."""
        if rows:
            self.connection.execute(insert(table), rows)
            self.rows[table.name] += len(rows)

    def insert_numbered(self, table: Table, rows: Sequence[RowValues], known: Sequence[int | None]) -> None:
        """Adds rows under the ids that objects know, or else under new ids."""
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

    def append_history(self, entries: Sequence[RowValues]) -> None:
        """Adds entries to the history; nothing else changes the history."""
        self.insert(history, entries)

    def record_audit(self, registry: str, facts: Iterable[FactDocument | None]) -> None:
        """Queues facts for the audit trail at the end of the transaction; ignores None."""
        documents = [fact for fact in facts if fact is not None]
        if documents:
            self.facts[registry] += documents
