"""The audit trail, and the record of a version's evaluation by policies.

Existing tables and columns stay, as in the first migration.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import add_column, create_table
from gatehouse.registry.tables import LongText, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    add_column("model_versions", sa.Column("governance", LongText))
    create_table(
        "audit_records",
        *_position(),
        sa.Column("content", LongText, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("registry", "seq", name="pk_audit_records"),
    )
    create_table(
        "audit_heads",
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("checkpoint", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("registry", name="pk_audit_heads"),
    )
    create_table(
        "audit_checkpoints",
        *_position(),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("previous_seq", sa.BigInteger, nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("signature", sa.String(128), nullable=False),
        sa.Column("copied_to", sa.String(1024)),
        sa.PrimaryKeyConstraint("registry", "seq", name="pk_audit_checkpoints"),
    )


def _position() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
    )
