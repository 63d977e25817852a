"""Hints of object stores that wait for the operator, and what mirrors have of each entry.

Existing tables and columns stay, as in the first migration.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import create_index, create_table
from gatehouse.registry.tables import Id

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    create_table(
        "store_hints",
        sa.Column("id", Id, nullable=False),
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("folder", sa.String(2048), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_store_hints"),
    )
    create_index("store_hints", "registry", "id")
    create_table(
        "mirrored_entries",
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("mirror", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("entry_id", Id, autoincrement=False, nullable=False),
        sa.Column("remote_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("registry", "mirror", "kind", "entry_id", name="pk_mirrored_entries"),
    )
