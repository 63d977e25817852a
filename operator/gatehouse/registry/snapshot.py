"""A database as those read it who never write or migrate it: in one snapshot, its errors sorted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from gatehouse.registry.address import Target
from gatehouse.registry.connector import Connector
from gatehouse.registry.schema import blame_revision

__all__ = ["snapshot_of"]


@contextmanager
def snapshot_of(target: Target) -> Iterator[Connection]:
    """A connection to whose reads the database stands still, until the context ends.

    Raises:
        ReconcileError: what the database refuses; SchemaMissing; SchemaTooOld; SchemaTooNew.
    """
    connector = Connector(target)
    connected = False
    try:
        with connector.engine.connect() as plain:
            connected = True
            connection = plain
            if target.address.kind == "sqlite":
                plain.exec_driver_sql("BEGIN")
            else:
                connection = plain.execution_options(isolation_level="REPEATABLE READ")
            yield connection
    except (SQLAlchemyError, OSError) as error:
        failure = connector.failure_of(error, connected=connected)
        blame_revision(connector, failure)
        raise failure.error() from None
    finally:
        connector.engine.dispose()
