"""Which revision the tables have, and bringing them to the newest under a lock.

A restart costs one SELECT of one row. Where there are no tables the newest ones are made at once; Alembic, a tenth of
the operator's memory, is imported only when older ones are to be migrated.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.registry.connector import Connector
from gatehouse.registry.drivers import WRITES
from gatehouse.registry.failures import Cause, Failure
from gatehouse.registry.tables import TABLE_OPTIONS, metadata

__all__ = [
    "HEAD",
    "REVISIONS",
    "VERSION_TABLE",
    "ForeignTableError",
    "blame_revision",
    "ensure_schema",
    "version_table",
]

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision that this code knows, in order."""

HEAD = REVISIONS[-1]
VERSION_TABLE = "gatehouse_schema"
"""Not Alembic's default: other programs that use Alembic may share the database."""

version_table = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    **TABLE_OPTIONS,
)
"""As Alembic makes it, but with our options: https://alembic.sqlalchemy.org/en/latest/api/runtime.html"""

_FOUND = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
_LOCK_SECONDS = 30


class ForeignTableError(Exception):
    """A migration found a table with the name of one of ours that is not ours."""

    def __init__(self, table: str, missing: str) -> None:
        super().__init__(f"Table {table} was not made by Gatehouse: there is no column {missing}")


def ensure_schema(connector: Connector) -> None:
    """Makes the tables, or migrates them to the newest revision, unless they have it.

    Raises:
        Stalled: SchemaTooNew, a newer Gatehouse migrated it; SchemaForeign, a table of ours is somebody else's.
        Transient: MigrationRunning, another operator holds the lock for too long.
        DBAPIError: of the driver.
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


def blame_revision(connector: Connector, failure: Failure) -> None:
    """Looks for the reason why a query of whoever never migrates failed; returns when the revision is none.

    A database that did not answer is not asked again.

    Raises:
        Stalled: SchemaMissing, SchemaTooOld or SchemaTooNew.
    """
    if not failure.connected:
        return
    with suppress(SQLAlchemyError, OSError):  # what made the query fail is then told
        with connector.engine.connect() as connection:
            found = _revision(connection)
        if found is None:
            raise Stalled(
                reason="SchemaMissing",
                message=f"There are no tables of Gatehouse's in {connector.name}",
                remedy="Name the database of a registry; its operator makes the tables.",
            )
        if _is_owed(found, connector.name):
            raise Stalled(
                reason="SchemaTooOld",
                message=f"The tables in {connector.name} are of a revision before {HEAD}, which this Gatehouse reads",
                remedy="Start the operator of this version, which migrates them, or read them with the older one.",
            )


def _owed(connector: Connector) -> bool:
    with connector.engine.connect() as connection:
        try:
            found = connection.scalar(_FOUND)
        except DBAPIError as error:
            if connector.driver.cause_of(error.orig)[0] is Cause.NO_TABLE:
                return True
            raise
        return _is_owed(found, connector.name)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(_FOUND)
    return found


def _is_owed(found: str | None, database: str) -> bool:
    if found is not None and found not in REVISIONS:
        raise Stalled(
            reason="SchemaTooNew",
            message=f"The tables in {database} have revision {found}, this Gatehouse knows revisions up to {HEAD}",
            remedy="Run the Gatehouse that migrated them, or a newer one. Tables are never migrated back.",
        )
    return found != HEAD


def _make_or_upgrade(connection: Connection) -> None:
    """Tables without a revision are of an operator that was killed as it made them, or somebody else's."""
    if {VERSION_TABLE, *metadata.tables}.isdisjoint(inspect(connection).get_table_names()):
        metadata.create_all(connection, checkfirst=False)
        version_table.create(connection)
        connection.execute(version_table.insert().values(version_num=HEAD))
        return
    from gatehouse.registry.migrations import upgrade  # noqa: PLC0415 - a schema needs Alembic once in a long time

    upgrade(connection, HEAD)
