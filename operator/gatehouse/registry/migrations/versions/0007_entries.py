"""What REST clients record: titles, members and properties of models and versions, and entries of other kinds.

A title of an earlier row is its name. What clients read of a decision is unknown in earlier rows: the operator writes
the column with the next change of the version. Existing tables and columns stay, as in the first migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gatehouse.registry.migrations.ddl import add_column, create_index, create_table
from gatehouse.registry.tables import ENTRY_OPTIONS, Id, LongText, UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FIRST_ID = 500_000_000


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    for table, name in (("registered_models", "name"), ("model_versions", "version")):
        for column in _recorded():
            add_column(table, column)
        rows = sa.table(table, sa.column("title", sa.String), sa.column(name, sa.String))
        op.execute(sa.update(rows).where(rows.c.title.is_(None)).values(title=rows.c[name]))
        create_index(table, "registry", "external_id", unique=True)
        create_index(table, "registry", "id")
        create_index(table, "registry", "title", "id")
        create_index(table, "registry", "created_at", "id")
        create_index(table, "registry", "updated_at", "id")
    add_column("model_versions", sa.Column("shown", LongText))
    create_index("model_versions", "model_id", "title", "id")
    _entries()


def _recorded() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("title", sa.String(253)),
        sa.Column("external_id", sa.String(255)),
        sa.Column("recorded_state", sa.String(16)),
        sa.Column("members", LongText),
        sa.Column("properties", LongText),
        sa.Column("creation", sa.String(32)),
    )


def _entries() -> None:
    create_table(
        "entries",
        sa.Column("id", Id, sa.Identity(start=_FIRST_ID), nullable=False),
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("parent_id", Id, nullable=False),
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("slot", sa.String(32), nullable=False),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.Column("external_id", sa.String(255)),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("members", LongText, nullable=False),
        sa.Column("properties", LongText, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("creation", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
        sa.UniqueConstraint(
            "registry", "kind", "parent_id", "name", "slot", name="uq_entries_registry_kind_parent_id_name_slot"
        ),
        options=ENTRY_OPTIONS,
    )
    create_index("entries", "registry", "kind", "external_id", unique=True)
    create_index("entries", "registry", "kind", "id")
    create_index("entries", "registry", "kind", "name", "id")
    create_index("entries", "registry", "kind", "created_at", "id")
    create_index("entries", "registry", "kind", "updated_at", "id")
    create_index("entries", "parent_id", "kind", "id")
    create_table(
        "entry_properties",
        sa.Column("subject", sa.String(8), nullable=False),
        sa.Column("entry_id", Id, autoincrement=False, nullable=False),
        sa.Column("custom", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("type", sa.String(8), nullable=False),
        sa.Column("text", LongText),
        sa.Column("number", sa.Double),
        sa.PrimaryKeyConstraint("subject", "entry_id", "custom", "name", name="pk_entry_properties"),
    )
    create_index("entry_properties", "subject", "custom", "name", "number", "entry_id")
