"""What new versions of a model are held to. Of models from before it is what their objects say now.

Whatever is there already stays, as in the first tables.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import add_column
from gatehouse.registry.tables import LongText

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    add_column("registered_models", sa.Column("held", LongText))
