"""The source of a file's SHA-256. For earlier files the source is unknown and stays empty.

Existing columns stay, as in the first migration.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import add_column

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    add_column("artifact_files", sa.Column("source", sa.String(16)))
