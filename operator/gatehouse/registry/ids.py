"""The ids of new rows.

The database numbers new rows, except where objects know the ids: a row that was lost with its database is restored
under the id that its object knows. No other row gets the id in between. A database restored from an older backup would
otherwise assign those ids again.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from sqlalchemy import Column, Connection, Table, func, select, text

from gatehouse.domain.entries.entry import Entry
from gatehouse.domain.version.records import KnownIds, ModelRecord, VersionIds, VersionRecord
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.tables import model_versions, registered_models

__all__ = ["HighestIds", "assign_ids", "pass_explicit_ids"]


class HighestIds:
    """The highest known ids of each table's rows, including lost rows. Used by every thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._highest = {registered_models.name: 0, model_versions.name: 0}

    def of(self, table: Table) -> int:
        """The highest known id of the table; 0 when none is known."""
        return self._highest[table.name]

    def learn(self, known: KnownIds) -> None:
        """Raises the highest ids to these."""
        with self._lock:
            for table, id_ in ((registered_models, known.model), (model_versions, known.version)):
                self._highest[table.name] = max(self._highest[table.name], id_ or 0)

    def learn_from(self, results: Sequence[object]) -> None:
        """Raises the highest ids to those of rows that were read or written."""
        models, versions = [0], [0]
        for result in results:
            match result:
                case VersionRecord():
                    models.append(result.model_id or 0)
                    versions.append(result.id or 0)
                case VersionIds():
                    models.append(result.model_id)
                    versions.append(result.version_id)
                case ModelRecord():
                    models.append(result.id or 0)
                case Entry(kind="registered_model"):
                    models.append(result.id)
                case Entry(kind="model_version"):
                    versions.append(result.id)
                case _:
                    pass
        self.learn(KnownIds(model=max(models), version=max(versions)))


def assign_ids(connection: Connection, table: Table, known: Sequence[int | None], *, highest: int) -> list[int | None]:
    """The id of each new row: the known id if no other row has or claimed it first, or None for the database's next id.

    None only where the database would number rows above ``highest``; otherwise this function assigns ids above that.
    """
    column: Column[int] = table.c.id
    asked = [id_ for id_ in known if id_ is not None]
    taken = set(connection.scalars(select(column).where(column.in_(asked)))) if asked else set()
    ids: list[int | None] = []
    for id_ in known:
        ids.append(None if id_ in taken else id_)
        if id_ is not None:
            taken.add(id_)
    if None not in ids or not highest or (connection.scalar(select(func.max(column))) or 0) >= highest:
        return ids
    following = max(highest, *asked, 0)
    for index, id_ in enumerate(ids):
        if id_ is None:
            following += 1
            ids[index] = following
    return ids


def pass_explicit_ids(connection: Connection, table: Table, rows: Sequence[RowValues]) -> None:
    """Advances PostgreSQL's sequence after an insert with ids; other databases need no such step."""
    if rows and connection.dialect.name == "postgresql":
        connection.execute(
            text(
                "SELECT setval(pg_get_serial_sequence(:table, 'id'), "
                "GREATEST(:highest, nextval(pg_get_serial_sequence(:table, 'id'))))"
            ),
            {"table": table.name, "highest": max(row["id"] for row in rows)},
        )
