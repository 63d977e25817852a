"""Hints of object stores that wait for the operator. Existing tables and columns stay, as in the first migration."""

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
