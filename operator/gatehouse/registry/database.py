"""One database: its connection, its thread, its batches, and its retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.version.records import KnownIds, RegistryCounts
from gatehouse.registry.address import Credentials, Target
from gatehouse.registry.audit import append_records
from gatehouse.registry.batcher import Batcher, BatchResult
from gatehouse.registry.connector import Connector
from gatehouse.registry.drivers import WRITES
from gatehouse.registry.failures import Cause, Failure
from gatehouse.registry.ids import HighestIds
from gatehouse.registry.metrics import RowMetrics
from gatehouse.registry.operations import Operation, Read, Write, read, write
from gatehouse.registry.schema import ensure_schema
from gatehouse.registry.thread import DatabaseThread
from gatehouse.registry.writer import Writer
from gatehouse.runtime.spans import step

__all__ = ["Database"]

_ATTEMPTS = 4
_PAUSE = 0.01

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Connect(Read[None]):
    """Only connects, and ensures that the tables have the newest revision."""

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[None]:  # noqa: ARG003 - it is open by now
        return [None] * len(batch)


@dataclass(frozen=True, slots=True)
class _Fault:
    """An unforeseen error of this program or of a driver. The error does not concern other operations of the batch."""

    error: Exception


class Database:
    """Runs operations on one database with one set of credentials.

    The database has one connection and one thread. Every operation may run twice: a commit whose answer was lost is
    retried.
    """

    def __init__(self, target: Target, *, metrics: RowMetrics) -> None:
        self._patience = target.limits.lock
        self._metrics = metrics
        self._connector = Connector(target)
        self._thread = DatabaseThread(name="gatehouse-rows")
        self._batcher = Batcher(self._run, thread=self._thread, name=self._connector.name)
        self._ready = False
        self._highest = HighestIds()

    async def ready(self) -> None:
        """Returns after the tables have the newest revision.

        Raises:
            ReconcileError: as :meth:`submit`.
        """
        if not self._ready:
            await self.submit(Connect())

    async def submit(self, operation: Operation[_T]) -> _T:
        """The result of an operation.

        Raises:
            Transient: DatabaseUnavailable, DatabaseContention, DatabaseReadOnly, RowConflict, DatabaseError.
            Waiting: DatabaseAccessDenied, DatabaseTokenExpired, DatabaseNotFound, DatabaseCertificateRejected,
                DatabaseInsecure, DatabaseTlsRequired, DatabaseEncoding, DatabaseMisconfigured.
            Stalled: SchemaTooNew, SchemaForeign, RowRejected, DatabaseDamaged, and the operation's own errors.
        """
        if not isinstance(operation, Write):
            return await self._batcher.submit(operation)
        with step(f"rows {type(operation).__name__}"):
            return await self._batcher.submit(operation)

    def reserve(self, highest: KnownIds) -> None:
        """Gives new rows ids above these."""
        self._highest.learn(highest)

    def renew(self, credentials: Credentials) -> None:
        """Uses these credentials for new connections; the open connection stays."""
        self._connector.renew(credentials)

    async def aclose(self) -> None:
        """Finishes the submitted operations and closes the connection."""
        await self._batcher.aclose()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connector.engine.dispose)
        self._thread.shutdown()

    def _run(self, operations: Sequence[Operation[Any]], *, again: bool = False) -> BatchResult:
        """Runs a batch with all its retries in the database's thread. ``again``: the batch may already be committed."""
        started = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            result = self._attempt(operations, again=again or attempt > 1)
            if isinstance(result, _Fault):
                self._disconnect()
                return self._halve(operations) if len(operations) > 1 else BatchResult([result.error])
            if isinstance(result, BatchResult):
                return result
            if result.drops_connection:
                self._disconnect()
            late = time.monotonic() - started > self._patience
            if not result.retry_now or attempt == _ATTEMPTS or late:
                return self._give_up(operations, result)
            self._metrics.retried(reason=result.reason)
            if result.cause is Cause.CONTENTION:
                time.sleep(_PAUSE * attempt)
        raise AssertionError("the last attempt returns")

    def _attempt(self, operations: Sequence[Operation[Any]], *, again: bool) -> BatchResult | Failure | _Fault:
        connected = False
        if self._connector.moved():
            self._disconnect()
        try:
            if not self._ready:
                ensure_schema(self._connector)
                self._ready = True
            with self._connector.engine.connect() as connection:
                connected = True
                if not isinstance(operations[0], Write):
                    results = read(connection, cast("Sequence[Read[Any]]", operations))
                    self._highest.learn_from(results)
                    self._metrics.queried(operations=len(operations))
                    if any(isinstance(result, RegistryCounts) and result.read_only for result in results):
                        # After a failover the name may lead to a server that accepts writes.
                        connection.invalidate()
                    return BatchResult(results)
                with connection.execution_options(**{WRITES: True}).begin():
                    writer = Writer(connection, self._highest)
                    results = write(writer, cast("Sequence[Write[Any]]", operations))
                    append_records(writer, again=again)
            self._highest.learn_from(results)
            self._metrics.committed(operations=len(operations), rows=dict(writer.rows))
            return BatchResult(results)
        except ReconcileError as error:
            return BatchResult([error] * len(operations), down=error)
        except (SQLAlchemyError, OSError) as error:
            return self._connector.failure_of(error, connected=connected)
        except UnicodeError:
            # Another program wrote this value into a database without an encoding.
            return Failure(
                cause=Cause.UNENCODABLE,
                connected=connected,
                database=self._connector.name,
                detail="text of no encoding",
            )
        except Exception as error:  # noqa: BLE001 - it is handed to whoever asked for what it is about
            if connected:
                return _Fault(error)
            _log.exception("database not opened", database=self._connector.name)
            return Failure(
                cause=Cause.OTHER, connected=False, database=self._connector.name, detail=type(error).__name__
            )

    def _give_up(self, operations: Sequence[Operation[Any]], failure: Failure) -> BatchResult:
        """Fails all operations, or halves the batch until only the faulty operation fails."""
        if failure.poisoned and len(operations) > 1:
            return self._halve(operations)
        return BatchResult([failure.error() for _ in operations], down=failure.error() if failure.down else None)

    def _halve(self, operations: Sequence[Operation[Any]]) -> BatchResult:
        """Runs the two halves of a batch in turn, unless the first finds the database down."""
        middle = len(operations) // 2
        first = self._run(operations[:middle], again=True)
        if first.down is not None:
            return BatchResult([*first.results, *[first.down] * (len(operations) - middle)], down=first.down)
        second = self._run(operations[middle:], again=True)
        return BatchResult([*first.results, *second.results], down=second.down)

    def _disconnect(self) -> None:
        """Disconnects. The next connection checks the tables again: the server or the revision may be another one."""
        self._ready = False
        self._connector.engine.dispose()
