"""The tables. Migrations bring older tables to these definitions; a test compares the two.

Widths: a registry's key is ``namespace/name`` (63 + 1 + 253), names of Kubernetes objects have at most 253 characters,
of versions 128, object keys of S3 1024. Titles and names of entries have at most 250. The widest key takes
(317 + 253 + 128 + 64) * 4 = 3048 of InnoDB's 3072 bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

from gatehouse.domain.entries.entry import FIRST_RECORDED_ID

__all__ = [
    "ENTRY_OPTIONS",
    "TABLE_OPTIONS",
    "VERSION_TABLE",
    "ForeignTableError",
    "Id",
    "LongText",
    "UtcDateTime",
    "artifact_files",
    "audit_checkpoints",
    "audit_heads",
    "audit_records",
    "audited_policies",
    "entries",
    "entry_properties",
    "history",
    "metadata",
    "mirrored_entries",
    "model_versions",
    "registered_models",
    "store_hints",
    "version_table",
]

TABLE_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_row_format": "DYNAMIC",
}
"""Names that differ only in case are different names, as in Kubernetes and object stores. The options override the
server's defaults: MyISAM has no transactions, and only rows of format DYNAMIC allow keys as wide as these."""

ENTRY_OPTIONS: dict[str, Any] = TABLE_OPTIONS | {"mysql_auto_increment": str(FIRST_RECORDED_ID)}
"""Ids of entries begin above those of models and versions."""

Id = BigInteger().with_variant(Integer(), "sqlite")
LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC with microseconds. Databases without time zones store no zone."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """PostgreSQL's timestamptz, MariaDB's datetime(6), SQLite's ISO text."""
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError for a datetime without a zone, which would have to be guessed."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """The same moment in UTC."""
        if value is None or value.tzinfo is UTC:
            return value
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

registered_models = Table(
    "registered_models",
    metadata,
    Column("id", Id, primary_key=True),
    Column("registry", String(317), nullable=False),
    Column("name", String(253), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("uid", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", LongText, nullable=False),
    Column("held", LongText),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("archived_at", UtcDateTime),
    Column("title", String(253)),
    Column("external_id", String(255)),
    Column("recorded_state", String(16)),
    Column("members", LongText),
    Column("properties", LongText),
    Column("creation", String(32)),
    UniqueConstraint("registry", "name"),
    Index(None, "registry", "external_id", unique=True),
    Index(None, "registry", "id"),
    Index(None, "registry", "title", "id"),
    Index(None, "registry", "created_at", "id"),
    Index(None, "registry", "updated_at", "id"),
    **TABLE_OPTIONS,
)
"""``title`` is the name that clients read and write, and ``name`` that of the object. In a row of state ``RECORDED``,
which no object holds, ``recorded_state`` is the client's state. ``members`` and ``properties`` are the client's own, as
JSON. ``creation`` is a random word by which a creation recognises its own row."""

model_versions = Table(
    "model_versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Id, ForeignKey(registered_models.c.id), nullable=False),
    Column("registry", String(317), nullable=False),
    Column("model", String(253), nullable=False),
    Column("version", String(128), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("object_name", String(253), nullable=False),
    Column("uid", String(64), nullable=False),
    Column("uri", String(1024), nullable=False),
    Column("state", String(16), nullable=False),
    Column("phase", String(64), nullable=False),
    Column("digest", String(71)),
    Column("hardware_profile", String(253), nullable=False),
    Column("artifact", LongText),
    Column("spec", LongText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("archived_at", UtcDateTime),
    Column("governance", LongText),
    Column("title", String(253)),
    Column("external_id", String(255)),
    Column("recorded_state", String(16)),
    Column("members", LongText),
    Column("properties", LongText),
    Column("creation", String(32)),
    Column("shown", LongText),
    UniqueConstraint("registry", "model", "version"),
    Index(None, "registry", "namespace", "object_name"),
    Index(None, "model_id"),
    Index(None, "registry", "external_id", unique=True),
    Index(None, "registry", "id"),
    Index(None, "model_id", "title", "id"),
    Index(None, "registry", "title", "id"),
    Index(None, "registry", "created_at", "id"),
    Index(None, "registry", "updated_at", "id"),
    **TABLE_OPTIONS,
)
"""``shown`` is what clients read of the last decision. The other columns are as in ``registered_models``."""

artifact_files = Table(
    "artifact_files",
    metadata,
    Column("registry", String(317), primary_key=True),
    Column("model", String(253), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("path_hash", String(64), primary_key=True),
    Column("path", String(1024), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", String(255), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("source", String(16)),
    Column("modified", String(64)),
    Column("version_id", String(1024)),
    Column("hashed_at", UtcDateTime),
    **TABLE_OPTIONS,
)
"""Content checks by file. These rows precede the version's row, which is written after the check."""

history = Table(
    "history",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Id, ForeignKey(registered_models.c.id), nullable=False),
    Column("version_id", Id, ForeignKey(model_versions.c.id)),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(512), nullable=False),
    Column("state_before", String(64)),
    Column("state_after", String(64), nullable=False),
    Column("digest", String(71)),
    Column("reason", String(128), nullable=False),
    Column("message", LongText, nullable=False),
    Index(None, "version_id", "id"),
    Index(None, "model_id", "id"),
    **TABLE_OPTIONS,
)
"""The append-only history. An entry without a version belongs to the model."""

audit_records = Table(
    "audit_records",
    metadata,
    Column("registry", String(317), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("content", LongText, nullable=False),
    Column("hash", String(64), nullable=False),
    **TABLE_OPTIONS,
)
"""One changed fact per row, in the chain of its registry. ``content`` is the whole record, as the hashed text."""

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("registry", String(317), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("checkpoint", BigInteger, nullable=False),
    **TABLE_OPTIONS,
)
"""The newest record of each chain. A transaction that appends locks this row, as its last lock."""

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("registry", String(317), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("previous_seq", BigInteger, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
    Column("copied_to", String(1024)),
    **TABLE_OPTIONS,
)
"""Signed checkpoints. ``copied_to`` is the place of the copy, as the registry then named it."""

audited_policies = Table(
    "audited_policies",
    metadata,
    Column("registry", String(317), primary_key=True),
    Column("name", String(253), primary_key=True),
    Column("uid", String(64), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("spec", LongText, nullable=False),
    **TABLE_OPTIONS,
)
"""The last recorded text of each existing policy, by registry."""

entries = Table(
    "entries",
    metadata,
    Column("id", Id, Identity(start=FIRST_RECORDED_ID), primary_key=True),
    Column("registry", String(317), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("parent_id", Id, nullable=False),
    Column("name", String(250), nullable=False),
    Column("slot", String(32), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("external_id", String(255)),
    Column("state", String(32), nullable=False),
    Column("members", LongText, nullable=False),
    Column("properties", LongText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("creation", String(32), nullable=False),
    Column("observed", String(64)),
    Column("version_id", Id),
    UniqueConstraint("registry", "kind", "parent_id", "name", "slot"),
    Index(None, "registry", "kind", "external_id", unique=True),
    Index(None, "registry", "kind", "id"),
    Index(None, "registry", "kind", "name", "id"),
    Index(None, "registry", "kind", "created_at", "id"),
    Index(None, "registry", "kind", "updated_at", "id"),
    Index(None, "parent_id", "kind", "id"),
    Index(None, "version_id", "id"),
    **ENTRY_OPTIONS,
)
"""What clients record besides models and versions. ``parent_id`` is 0 for an entry without a parent. ``slot`` is empty,
except where several entries of one parent may have the same name.

``observed`` is the uid of the object of the cluster that the entry shows, and ``version_id`` the version that such a
service runs. Only the operator writes both."""

entry_properties = Table(
    "entry_properties",
    metadata,
    Column("subject", String(8), primary_key=True),
    Column("entry_id", Id, primary_key=True, autoincrement=False),
    Column("custom", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), primary_key=True),
    Column("type", String(8), nullable=False),
    Column("text", LongText),
    Column("number", Double),
    Index(None, "subject", "custom", "name", "number", "entry_id"),
    **TABLE_OPTIONS,
)
"""The values that filters and orders compare. ``subject`` is ``model``, ``version`` or ``entry``; ``custom`` is 1 for a
custom property and 0 for another member of the client's JSON. A bool is the number 0 or 1."""

store_hints = Table(
    "store_hints",
    metadata,
    Column("id", Id, primary_key=True),
    Column("registry", String(317), nullable=False),
    Column("folder", String(2048), nullable=False),
    Index(None, "registry", "id"),
    **TABLE_OPTIONS,
)
"""Folders in which an object store announced a change. The server adds the rows, and the operator removes them."""

mirrored_entries = Table(
    "mirrored_entries",
    metadata,
    Column("registry", String(317), primary_key=True),
    Column("mirror", String(64), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("entry_id", Id, primary_key=True, autoincrement=False),
    Column("remote_id", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    **TABLE_OPTIONS,
)
"""What a mirror has of each entry: its id there, and a hash of what was last written. ``mirror`` hashes its URL."""

VERSION_TABLE = "gatehouse_schema"
"""Not Alembic's default: other programs that use Alembic may share the database."""

version_table = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    **TABLE_OPTIONS,
)
"""The revision of the other tables; not part of ``metadata``. Defined as Alembic does, but with our options:
https://alembic.sqlalchemy.org/en/latest/api/runtime.html"""


class ForeignTableError(Exception):
    """A migration found another program's table under the name of a Gatehouse table."""

    def __init__(self, table: str, missing: str) -> None:
        super().__init__(f"Table {table} was not created by Gatehouse: it has no column {missing}")
