"""Alembic's environment of the migrations, on the given connection."""

from __future__ import annotations

from alembic import context

from gatehouse.registry.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
