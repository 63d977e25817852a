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
"""Alembic keeps the migration that runs in globals of its modules, so that two databases must not meet there."""


def upgrade(connection: Connection, revision: str) -> None:
    """Brings the tables to a revision. The caller holds the lock and commits."""
    # Alembic's own would have the server's defaults: MyISAM has no transactions.
    version_table.create(connection, checkfirst=True)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, revision)
