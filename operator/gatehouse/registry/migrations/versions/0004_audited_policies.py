"""The last recorded text of each policy in the audit trails.

Existing tables stay, as in the first migration.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import create_table
from gatehouse.registry.tables import LongText

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    create_table(
        "audited_policies",
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("name", sa.String(253), nullable=False),
        sa.Column("uid", sa.String(64), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("spec", LongText, nullable=False),
        sa.PrimaryKeyConstraint("registry", "name", name="pk_audited_policies"),
    )
