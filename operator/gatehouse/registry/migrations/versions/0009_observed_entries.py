"""What the cluster shows among the entries: the object of a namespace or a service, and the version that it runs.

Existing tables and columns stay, as in the first migration. Earlier entries are recorded, and show no object.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import add_column, create_index
from gatehouse.registry.tables import Id

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    add_column("entries", sa.Column("observed", sa.String(64)))
    add_column("entries", sa.Column("version_id", Id))
    create_index("entries", "version_id", "id")
