"""Where the SHA-256 of a file is from. Of files from before that is not known, and stays empty.

Whatever is there already stays, as in the first tables.
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
