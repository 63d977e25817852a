"""Keys of rows, and queries for many rows by their keys with one statement.

The cost of such a statement grows with the number of keys, not with the table. Each database has its own form of a list
of keys for which its planner uses an index: MariaDB a list of tuples, PostgreSQL arrays, SQLite JSON. With a list of
tuples PostgreSQL plans for longer than it reads, and SQLite scans the table. With a registry outside the keys
PostgreSQL reads the whole registry until the table was analysed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Table, Text, and_, func, literal, select, tuple_

from gatehouse.registry.tables import registered_models

__all__ = ["ModelKey", "VersionKey", "among", "of_models", "of_versions"]


class VersionKey(NamedTuple):
    """The unique key of ``model_versions``."""

    registry: str
    model: str
    version: str

    def __str__(self) -> str:
        return f"version {self.version!r} of model {self.model!r} in registry {self.registry}"


class ModelKey(NamedTuple):
    """The unique key of ``registered_models``."""

    registry: str
    name: str

    def __str__(self) -> str:
        return f"model {self.name!r} in registry {self.registry}"


def of_versions(connection: Connection, table: Table, keys: Iterable[VersionKey]) -> ColumnElement[bool]:
    """The rows of versions, or of their files."""
    return among(connection, (table.c.registry, table.c.model, table.c.version), keys)


def of_models(connection: Connection, keys: Iterable[ModelKey]) -> ColumnElement[bool]:
    """The rows of models."""
    return among(connection, (registered_models.c.registry, registered_models.c.name), keys)


def among(
    connection: Connection, columns: Sequence[Column[str]], keys: Iterable[tuple[str, ...]]
) -> ColumnElement[bool]:
    """The rows whose columns have the values of one of the keys. Needs at least one key."""
    # Sorted, so that two operators take their locks in the same order.
    rows = [list(key) for key in sorted(set(keys))]
    if len(rows) == 1:
        # For a delete with a list of one tuple MariaDB reads the whole table.
        return and_(*[column == value for column, value in zip(columns, rows[0], strict=True)])
    match connection.dialect.name:
        case "postgresql":
            arrays = [literal(list(values), ARRAY(Text)) for values in zip(*rows, strict=True)]
            names = [f"k{index}" for index in range(len(columns))]
            listed = func.unnest(*arrays).table_valued(*names, name="keys").render_derived()
            return tuple_(*columns).in_(select(*[listed.c[name] for name in names]))
        case "sqlite":
            listed = func.json_each(orjson.dumps(rows).decode()).table_valued("value", name="keys")
            return tuple_(*columns).in_(
                select(*[func.json_extract(listed.c.value, f"$[{index}]") for index in range(len(columns))])
            )
        case _:
            return tuple_(*columns).in_([tuple(row) for row in rows])
