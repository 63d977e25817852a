"""Opens the databases of registries and keeps one open connection for each address and credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.registry.address import Address, Credentials, DatabaseLimits, Target, address_of
from gatehouse.registry.database import Database
from gatehouse.registry.metrics import NoRowMetrics, RowMetrics
from gatehouse.registry.rows import Rows

__all__ = ["DatabasePool"]

_PATIENCE: Final = 5.0
"""Seconds. Together with the grace of reconciles less than the 30 after which Kubernetes kills a Pod."""

_log = structlog.get_logger(__name__)


class _Key(NamedTuple):
    address: Address
    credentials: Credentials

    def renews(self, before: _Key) -> bool:
        """Whether this is the same database with a newer token: connections opened with the older token stay."""
        same = (self.address, self.credentials.ca_pem) == (before.address, before.credentials.ca_pem)
        return self.address.token and same and self.credentials != before.credentials


def _utc_now() -> datetime:
    return datetime.now(UTC)


class DatabasePool:
    """The databases in use.

    Args:
        data_dir: where SQLite's files are, for registries that name no server.
        now: returns the time, with its zone.
        limits: the time limits for servers.
        metrics: counts transactions and rows.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        now: Callable[[], datetime] = _utc_now,
        limits: DatabaseLimits | None = None,
        metrics: RowMetrics | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._now = now
        self._limits = limits or DatabaseLimits()
        self._metrics: RowMetrics = metrics or NoRowMetrics()
        self._databases: dict[_Key, Database] = {}
        self._users: dict[str, _Key] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, registry: ModelRegistry, *, password: str | None, ca_pem: str | None) -> Rows:
        """The rows of a registry, in tables of the newest revision. Costs nothing for an open database.

        Raises:
            ReconcileError: as :meth:`Database.submit`.
        """
        name = _name_of(registry)
        key = _Key(address_of(registry, data_dir=self._data_dir), Credentials(password, ca_pem))
        if self._users.get(name) != key:
            if not self._renew(name, key):
                self.forget(name)
            self._users[name] = key
        database = self._databases.get(key)
        if database is None:
            target = Target(
                address=key.address, credentials=key.credentials, limits=self._limits, data_dir=self._data_dir
            )
            database = Database(target, metrics=self._metrics)
            self._databases[key] = database
        await database.ready()
        return Rows(registry=name, database=database, now=self._now)

    def _renew(self, name: str, key: _Key) -> bool:
        """Gives the registry's open database a newer token, unless other registries share the database or an open
        database has the newer token already."""
        before = self._users.get(name)
        if before is None or not key.renews(before) or key in self._databases:
            return False
        if any(other == before for user, other in self._users.items() if user != name):
            return False
        database = self._databases.pop(before, None)
        if database is None:
            return False
        database.renew(key.credentials)
        self._databases[key] = database
        return True

    def describe(self, registry: ModelRegistry) -> str:
        """The database in use, without credentials."""
        return str(address_of(registry, data_dir=self._data_dir))

    def forget(self, name: str) -> None:
        """Closes, in the background, the database that only this registry used."""
        key = self._users.pop(name, None)
        if key is None or key in self._users.values():
            return
        closing = asyncio.create_task(self._databases.pop(key).aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def aclose(self, *, patience: float = _PATIENCE) -> None:
        """Finishes the submitted operations and closes every connection.

        A database that does not answer within ``patience`` seconds is abandoned: its server rolls back open work.
        """
        closing = {
            asyncio.create_task(database.aclose()): str(key.address) for key, database in self._databases.items()
        }
        self._databases.clear()
        self._users.clear()
        closing |= dict.fromkeys(self._closing, "a database that no registry uses")
        if not closing:
            return
        closed, left = await asyncio.wait(closing, timeout=patience)
        for task in left:
            task.cancel()
            _log.warning("database left open: it does not answer", database=closing[task], waited=patience)
        for task in closed:
            task.result()


def _name_of(registry: ModelRegistry) -> str:
    return f"{registry.metadata.namespace}/{registry.metadata.name}"
