"""What differs between databases: connecting, the meaning of errors, the lock of migrations. Imported when in use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol, cast

from sqlalchemy import Connection

from gatehouse.registry.address import DatabaseKind, Target
from gatehouse.registry.failures import Cause

__all__ = ["WRITES", "Driver", "driver_for"]

WRITES = "gatehouse_writes"
"""Execution option of connections whose transactions write: SQLite takes its lock at their start."""


class Driver(Protocol):
    """One of the modules of this package."""

    URL: str
    """SQLAlchemy's name for it, without an address: connections are made by :meth:`connect`."""

    def connect(self, target: Target, /) -> Any:
        """A connection of the driver. Raises the driver's errors and OSError."""
        ...

    def cause_of(self, error: BaseException | None, /) -> tuple[Cause, str]:
        """What an error of the driver means, and its words."""
        ...

    def begin(self, connection: Connection, /) -> None:
        """What the driver does first in each transaction."""
        ...

    def migration_lock(self, connection: Connection, seconds: int, /) -> AbstractContextManager[bool]:
        """Keeps other operators from migrating the same database; False when it was not to be had in time.

        What the block did is committed at its end.
        """
        ...


def driver_for(kind: DatabaseKind) -> Driver:
    """The driver of a kind of database."""
    return cast("Driver", import_module(f"gatehouse.registry.drivers.{kind}"))
