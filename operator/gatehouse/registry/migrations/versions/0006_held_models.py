"""The requirements that bind new versions of a model. Earlier models take the requirements from their objects.

Existing columns stay, as in the first migration.
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
