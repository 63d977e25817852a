"""Models, versions, files and history.

Existing tables stay: MariaDB commits each statement, so an operator that died may have left some tables.
"""

from __future__ import annotations

import sqlalchemy as sa

from gatehouse.registry.migrations.ddl import create_index, create_table
from gatehouse.registry.tables import Id, LongText, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    create_table(
        "registered_models",
        sa.Column("id", Id, nullable=False),
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("name", sa.String(253), nullable=False),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.Column("uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("spec", LongText, nullable=False),
        *_times(),
        sa.PrimaryKeyConstraint("id", name="pk_registered_models"),
        sa.UniqueConstraint("registry", "name", name="uq_registered_models_registry_name"),
    )
    create_table(
        "model_versions",
        sa.Column("id", Id, nullable=False),
        sa.Column("model_id", Id, nullable=False),
        *_version_key(),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.Column("object_name", sa.String(253), nullable=False),
        sa.Column("uid", sa.String(64), nullable=False),
        sa.Column("uri", sa.String(1024), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("phase", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71)),
        sa.Column("hardware_profile", sa.String(253), nullable=False),
        sa.Column("artifact", LongText),
        sa.Column("spec", LongText, nullable=False),
        *_times(),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.UniqueConstraint("registry", "model", "version", name="uq_model_versions_registry_model_version"),
        sa.ForeignKeyConstraint(["model_id"], ["registered_models.id"], name="fk_model_versions_model_id"),
    )
    create_index("model_versions", "registry", "namespace", "object_name")
    create_index("model_versions", "model_id")
    create_table(
        "artifact_files",
        *_version_key(),
        sa.Column("path_hash", sa.String(64), nullable=False),
        sa.Column("path", sa.String(1024), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("registry", "model", "version", "path_hash", name="pk_artifact_files"),
    )
    create_table(
        "history",
        sa.Column("id", Id, nullable=False),
        sa.Column("model_id", Id, nullable=False),
        sa.Column("version_id", Id),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("actor", sa.String(512), nullable=False),
        sa.Column("state_before", sa.String(64)),
        sa.Column("state_after", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71)),
        sa.Column("reason", sa.String(128), nullable=False),
        sa.Column("message", LongText, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
        sa.ForeignKeyConstraint(["model_id"], ["registered_models.id"], name="fk_history_model_id"),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name="fk_history_version_id"),
    )
    create_index("history", "version_id", "id")
    create_index("history", "model_id", "id")


def _version_key() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("registry", sa.String(317), nullable=False),
        sa.Column("model", sa.String(253), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
    )


def _times() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("archived_at", UtcDateTime),
    )
