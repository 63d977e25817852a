"""The migrations, run by the operator itself: forward only."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from gatehouse.registry.tables import version_table

__all__ = ["upgrade"]

_ALEMBIC: Final = Lock()
"""Alembic keeps the running migration in module globals, so migrations of two databases must not overlap."""


def upgrade(connection: Connection, revision: str) -> None:
    """Migrates the tables to a revision. The caller holds the lock and commits."""
    # Alembic's own table would have the server's defaults, and MyISAM has no transactions.
    version_table.create(connection, checkfirst=True)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, revision)
