"""The rows that the server's reads are measured on, and the bare statements beside which they are measured."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.entries.entry import Entry, EntryKind, NewEntry
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.query.pages import Page
from gatehouse.domain.query.scopes import EVERY_NAMESPACE
from gatehouse.registry.address import Credentials, DatabaseLimits, Target, address_of
from gatehouse.registry.connector import Connector
from gatehouse.registry.entries import Entries
from gatehouse.registry.entry_pages import GetEntry, ListEntries
from gatehouse.registry.operations import Read

__all__ = ["BareStatement", "Database", "bare_get", "bare_page", "bare_statement", "fill_models", "fill_versions"]

_AT_ONCE: Final = 500
_ACTOR: Final = "bench"
_DESCRIPTION: Final = "An instruction-tuned model of eight billion parameters, quantized for one accelerator."


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """The database of a registry, for connections of the bench's own."""

    registry: ModelRegistry
    password: str | None
    data: Path

    @property
    def name(self) -> str:
        """The registry, as rows name it."""
        return f"{self.registry.metadata.namespace}/{self.registry.metadata.name}"

    def connector(self) -> Connector:
        """Connects as the server does."""
        return Connector(
            Target(
                address=address_of(self.registry, data_dir=self.data),
                credentials=Credentials(self.password),
                limits=DatabaseLimits(),
                data_dir=self.data,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BareStatement:
    """The one statement of a read, with its values, on a bare connection of the driver."""

    connection: Any
    text: str
    values: Any

    def seconds(self) -> float:
        """Seconds to run the statement and to fetch all its rows."""
        started = time.perf_counter()
        cursor = self.connection.cursor()
        try:
            cursor.execute(self.text, self.values)
            cursor.fetchall()
        finally:
            cursor.close()
        return time.perf_counter() - started


@contextlib.contextmanager
def bare_statement(database: Database, read: Read[Any]) -> Iterator[BareStatement]:
    """The statement that the server runs for a read. Raises ValueError where that is not one statement."""
    connector = database.connector()
    seen: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        seen.append((text, values))

    event.listen(connector.engine, "before_cursor_execute", remember)
    try:
        with connector.engine.connect() as connection:
            type(read).run(connection, [read])
            if len(seen) != 1:
                raise ValueError(f"{type(read).__name__} ran {len(seen)} statements, expected one")
            [(text, values)] = seen
            driver: Any = connection.connection.dbapi_connection
            yield BareStatement(connection=driver, text=text, values=values)
    finally:
        connector.engine.dispose()


def bare_page(
    database: Database, kind: EntryKind, *, size: int | None, parent: int | None = None
) -> contextlib.AbstractContextManager[BareStatement]:
    """The statement of the first page of a list."""
    return bare_statement(
        database,
        ListEntries(
            registry=database.name,
            kinds=(kind,),
            parent_id=parent,
            namespaces=EVERY_NAMESPACE,
            tree=None,
            page=Page(size=size),
        ),
    )


def bare_get(database: Database, kind: EntryKind, number: int) -> contextlib.AbstractContextManager[BareStatement]:
    """The statement of one entry by its id."""
    return bare_statement(
        database, GetEntry(registry=database.name, kinds=(kind,), id=number, namespaces=EVERY_NAMESPACE)
    )


async def fill_models(entries: Entries, *, count: int, namespace: str) -> Sequence[Entry]:
    """Records models as a client does."""
    return await _fill(
        entries,
        [
            NewEntry(
                kind="registered_model",
                namespace=namespace,
                name=f"model {number:06}",
                state="LIVE",
                members={"description": _DESCRIPTION, "owner": f"team-{number % 20}", "provider": "Example"},
                properties={"tier": Property("string", "gold"), "rank": Property("int", number)},
            )
            for number in range(count)
        ],
    )


async def fill_versions(entries: Entries, model: Entry, *, count: int) -> Sequence[Entry]:
    """Records versions of a model as a client does."""
    return await _fill(
        entries,
        [
            NewEntry(
                kind="model_version",
                namespace=model.namespace,
                name=f"version {number:06}",
                parent_id=model.id,
                state="LIVE",
                members={"description": _DESCRIPTION, "author": f"person-{number % 50}"},
                properties={"accuracy": Property("double", number / count), "suite": Property("string", "base")},
            )
            for number in range(count)
        ],
    )


async def _fill(entries: Entries, new: Sequence[NewEntry]) -> Sequence[Entry]:
    made: list[Entry] = []
    for start in range(0, len(new), _AT_ONCE):
        part = new[start : start + _AT_ONCE]
        made += await asyncio.gather(*(entries.create(entry, actor=_ACTOR) for entry in part))
    return made
