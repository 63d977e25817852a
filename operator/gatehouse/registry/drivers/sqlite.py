"""SQLite, the embedded default."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from gatehouse.registry.address import Target
from gatehouse.registry.drivers import WRITES
from gatehouse.registry.failures import Cause

__all__ = ["URL", "begin", "cause_of", "connect", "migration_lock"]

URL = "sqlite://"

_CAUSES: dict[int, Cause] = {
    sqlite3.SQLITE_BUSY: Cause.CONTENTION,
    sqlite3.SQLITE_LOCKED: Cause.CONTENTION,
    sqlite3.SQLITE_READONLY: Cause.READ_ONLY,
    sqlite3.SQLITE_CONSTRAINT: Cause.REJECTED,
    sqlite3.SQLITE_TOOBIG: Cause.REJECTED,
    sqlite3.SQLITE_MISMATCH: Cause.REJECTED,
    sqlite3.SQLITE_CORRUPT: Cause.DAMAGED,
    sqlite3.SQLITE_NOTADB: Cause.DAMAGED,
    sqlite3.SQLITE_FULL: Cause.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: Cause.UNAVAILABLE,
    sqlite3.SQLITE_CANTOPEN: Cause.UNAVAILABLE,
    sqlite3.SQLITE_NOMEM: Cause.UNAVAILABLE,
}
"""The cause by primary result code."""


def connect(target: Target) -> sqlite3.Connection:
    """A connection whose commits survive the end of the process and a power cut."""
    file = target.address.file
    if file is None:
        raise ValueError(f"{target.address} has no file")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=target.limits.lock, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL survives a power cut as well: history cannot be rebuilt from the cluster.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def begin(connection: Connection) -> None:
    """Starts a transaction; one that writes takes its lock at once."""
    if connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def cause_of(error: BaseException | None) -> tuple[Cause, str]:
    """The cause by the result code."""
    if not isinstance(error, sqlite3.Error):
        return Cause.OTHER, type(error).__name__
    if str(error).startswith("no such table"):
        return Cause.NO_TABLE, str(error)
    extended = getattr(error, "sqlite_errorcode", None)
    if extended in {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}:
        return Cause.DUPLICATE, str(error)
    return Cause.OTHER if extended is None else _CAUSES.get(extended & 0xFF, Cause.OTHER), str(error)


@contextmanager
def migration_lock(connection: Connection, _seconds: int) -> Iterator[bool]:
    """The lock of a transaction that writes. The connection sets the time limit of waiting for the lock."""
    with connection.begin():
        yield True
