"""Checks the revision of the tables, and migrates them to the newest revision under a lock.

A restart costs one SELECT of one row. In an empty database the newest tables are made at once. Alembic, a tenth of the
operator's memory, is imported only to migrate older tables.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.registry.connector import Connector
from gatehouse.registry.drivers import WRITES
from gatehouse.registry.failures import Cause, Failure
from gatehouse.registry.tables import VERSION_TABLE, ForeignTableError, metadata, version_table

__all__ = ["HEAD", "REVISIONS", "ensure_schema", "raise_schema_error"]

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""Every revision that this code knows, in order."""

HEAD = REVISIONS[-1]
_REVISION = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
_LOCK_SECONDS = 30


def ensure_schema(connector: Connector) -> None:
    """Makes the tables, or migrates them to the newest revision.

    Raises:
        Stalled: SchemaTooNew, a newer Gatehouse migrated the tables; SchemaForeign, a table belongs to another program.
        Transient: MigrationRunning, another operator holds the lock for too long.
        DBAPIError: an error of the driver.
    """
    if not _owed(connector):
        return
    with connector.engine.connect() as plain:
        connection = plain.execution_options(**{WRITES: True})
        with connector.driver.migration_lock(connection, _LOCK_SECONDS) as held:
            if not held:
                raise Transient(
                    reason="MigrationRunning",
                    message=f"Another operator has been migrating {connector.name} for more than {_LOCK_SECONDS} s",
                )
            if _is_owed(_revision(connection), connector.name):
                try:
                    _make_or_upgrade(connection)
                except ForeignTableError as error:
                    raise Stalled(
                        reason="SchemaForeign",
                        message=f"{error} in {connector.name}",
                        remedy="Give Gatehouse a database of its own.",
                    ) from None


def raise_schema_error(connector: Connector, failure: Failure) -> None:
    """Raises the error of an unsuitable revision after a failed query of a caller that never migrates; else returns.

    A database that did not answer is not queried again.

    Raises:
        Stalled: SchemaMissing, SchemaTooOld or SchemaTooNew.
    """
    if not failure.connected:
        return
    with suppress(SQLAlchemyError, OSError):  # the caller then reports the error of the query
        with connector.engine.connect() as connection:
            revision = _revision(connection)
        if revision is None:
            raise Stalled(
                reason="SchemaMissing",
                message=f"{connector.name} has no tables of Gatehouse",
                remedy="Name the database of a registry; its operator creates the tables.",
            )
        if _is_owed(revision, connector.name):
            raise Stalled(
                reason="SchemaTooOld",
                message=f"The tables in {connector.name} are of a revision before {HEAD}, which this Gatehouse reads",
                remedy="Start the operator of this version, which migrates them, or read them with the older one.",
            )


def _owed(connector: Connector) -> bool:
    with connector.engine.connect() as connection:
        try:
            revision = connection.scalar(_REVISION)
        except DBAPIError as error:
            if connector.driver.cause_of(error.orig)[0] is Cause.NO_TABLE:
                return True
            raise
        return _is_owed(revision, connector.name)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(_REVISION)
    return revision


def _is_owed(revision: str | None, database: str) -> bool:
    if revision is not None and revision not in REVISIONS:
        raise Stalled(
            reason="SchemaTooNew",
            message=f"The tables in {database} have revision {revision}, this Gatehouse knows revisions up to {HEAD}",
            remedy="Run the Gatehouse that migrated them, or a newer one. Tables are never migrated back.",
        )
    return revision != HEAD


def _make_or_upgrade(connection: Connection) -> None:
    """Makes or upgrades tables. Tables without a revision are of a killed operator, or of another program."""
    if {VERSION_TABLE, *metadata.tables}.isdisjoint(inspect(connection).get_table_names()):
        metadata.create_all(connection, checkfirst=False)
        version_table.create(connection)
        connection.execute(version_table.insert().values(version_num=HEAD))
        return
    from gatehouse.registry.migrations import upgrade  # noqa: PLC0415 - a schema needs Alembic once in a long time

    upgrade(connection, HEAD)
