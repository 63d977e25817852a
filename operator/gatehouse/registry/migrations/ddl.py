"""The steps of migrations. Existing tables, indexes and columns stay.

MariaDB commits each statement, so an operator that died may have left a partial migration.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from gatehouse.registry.tables import TABLE_OPTIONS, ForeignTableError

__all__ = ["add_column", "create_index", "create_table"]


def create_table(name: str, *parts: sa.schema.SchemaItem, options: dict[str, Any] = TABLE_OPTIONS) -> None:
    """Makes a table. Raises ForeignTableError when a table of that name lacks our columns."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(name):
        op.create_table(name, *parts, **options)
        return
    columns = {column["name"] for column in inspector.get_columns(name)}
    for part in parts:
        if isinstance(part, sa.Column) and part.name not in columns:
            raise ForeignTableError(name, part.name)


def create_index(table: str, *columns: str, unique: bool = False) -> None:
    """Makes an index under the name that the tables' convention gives it."""
    name = f"ix_{table}_{'_'.join(columns)}"
    if all(index["name"] != name for index in sa.inspect(op.get_bind()).get_indexes(table)):
        op.create_index(name, table, list(columns), unique=unique)


def add_column(table: str, column: sa.Column[object]) -> None:
    """Adds a column."""
    if all(there["name"] != column.name for there in sa.inspect(op.get_bind()).get_columns(table)):
        op.add_column(table, column)
