"""What tells an object from another with the same ETag, and when a file was hashed.

Of files from before that is not known, and stays empty: they are read once more.
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
