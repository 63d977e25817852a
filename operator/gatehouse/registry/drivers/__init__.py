"""The differences between databases: connecting, errors, and the lock of migrations. Imported on first use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol, cast

from sqlalchemy import Connection

from gatehouse.registry.address import DatabaseKind, Target
from gatehouse.registry.failures import Cause

__all__ = ["WRITES", "Driver", "driver_for"]

WRITES = "gatehouse_writes"
"""Execution option of connections whose transactions write: SQLite takes its lock at the start of each."""


class Driver(Protocol):
    """One of the modules of this package."""

    URL: str
    """SQLAlchemy's name of the driver, without an address: :meth:`connect` makes the connections."""

    def connect(self, target: Target, /) -> Any:
        """A new connection of the driver. Raises the driver's errors and OSError."""
        ...

    def cause_of(self, error: BaseException | None, /) -> tuple[Cause, str]:
        """The cause and the message of a driver's error."""
        ...

    def begin(self, connection: Connection, /) -> None:
        """Prepares each transaction, at its start."""
        ...

    def migration_lock(self, connection: Connection, seconds: int, /) -> AbstractContextManager[bool]:
        """Keeps other operators from migrating the same database; False when the lock was not free in time.

        The changes of the block are committed at its end.
        """
        ...


def driver_for(kind: DatabaseKind) -> Driver:
    """The driver of a kind of database."""
    return cast("Driver", import_module(f"gatehouse.registry.drivers.{kind}"))
