"""The identity that separates objects with the same ETag, and the time when a file was hashed.

For earlier files both are unknown and stay empty: the operator reads these files once more.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import add_column
from gatehouse.registry.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    add_column("artifact_files", sa.Column("modified", sa.String(64)))
    add_column("artifact_files", sa.Column("version_id", sa.String(1024)))
    add_column("artifact_files", sa.Column("hashed_at", UtcDateTime()))
