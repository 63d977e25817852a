"""Lists, counts and archives the rows that objects hold. A row whose object is gone is archived, never deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from sqlalchemy import Connection, Table, func, select, text
from sqlalchemy.exc import DBAPIError

from gatehouse.domain.version.records import RegistryCounts
from gatehouse.registry.keys import among
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.operations import Read, Write
from gatehouse.registry.row_facts import archived_fact
from gatehouse.registry.tables import model_versions, registered_models
from gatehouse.registry.writer import StoredRow, Writer

__all__ = ["ArchiveObject", "CountRows", "Holder", "ListLive", "LiveObject", "archive_versions"]

_V, _M = model_versions.c, registered_models.c
_VERSION_HOLDER = (_V.registry, _V.namespace, _V.object_name)
_MODEL_HOLDER = (_M.registry, _M.namespace, _M.name)
_LIVE = "LIVE"


class LiveObject(NamedTuple):
    """A live row and the object that holds it."""

    id: int
    kind: Literal["model", "version"]
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ListLive(Read[Sequence[LiveObject]]):
    """A page of live rows with ids above ``after``, by id."""

    kind: Literal["model", "version"]
    registry: str
    after: int
    limit: int

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Sequence[LiveObject]]:
        return [_page(connection, operation) for operation in batch]


@dataclass(frozen=True, slots=True)
class CountRows(Read[RegistryCounts]):
    """Live rows of a registry."""

    registry: str

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[RegistryCounts]:
        read_only = _is_read_only(connection)
        return [
            RegistryCounts(
                models=_count(connection, registered_models, operation.registry),
                versions=_count(connection, model_versions, operation.registry),
                read_only=read_only,
            )
            for operation in batch
        ]


class Holder(NamedTuple):
    """The object that holds a row."""

    registry: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveObject(Write[int]):
    """Archives the rows that an object held; returns their number."""

    registry: str
    kind: Literal["model", "version"]
    namespace: str
    name: str
    change: RowValues

    @property
    def holder(self) -> Holder:
        """The object."""
        return Holder(self.registry, self.namespace, self.name)

    @property
    def order(self) -> tuple[str, ...]:
        return ("archive", self.kind, *self.holder)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[int]:
        versions = {operation.holder: operation.change for operation in batch if operation.kind == "version"}
        models = {operation.holder: operation.change for operation in batch if operation.kind == "model"}
        archived = {"version": archive_versions(writer, versions), "model": _archive_models(writer, models)}
        return [archived[operation.kind][operation.holder] for operation in batch]


def archive_versions(writer: Writer, changes: Mapping[Holder, RowValues]) -> Counter[Holder]:
    """Archives the objects' live versions, each with a history entry; returns the number of rows per object."""
    if not changes:
        return Counter()
    query = (
        select(_V.id, _V.model_id, _V.registry, _V.model, _V.version, _V.namespace, _V.object_name, _V.phase, _V.digest)
        .where(among(writer.connection, _VERSION_HOLDER, changes), _V.state == _LIVE)
        .order_by(_V.id)
    )
    rows = [(Holder(row.registry, row.namespace, row.object_name), row) for row in writer.fetch_for_update(query)]
    writer.update(
        model_versions,
        [
            {
                "id": row.id,
                "state": "ARCHIVED",
                "phase": changes[holder]["state_after"],
                "shown": None,
                "updated_at": changes[holder]["at"],
                "archived_at": changes[holder]["at"],
            }
            for holder, row in rows
        ],
    )
    entries = [
        _entry(changes[holder], row, version_id=row.id, before=row.phase, digest=row.digest) for holder, row in rows
    ]
    writer.append_history(entries)
    for (holder, row), entry in zip(rows, entries, strict=True):
        fact = archived_fact(
            entry, namespace=holder.namespace, name=holder.name, model=row.model, version=row.version, phase=row.phase
        )
        writer.record_audit(holder.registry, [fact])
    return Counter(holder for holder, _ in rows)


def _archive_models(writer: Writer, changes: Mapping[Holder, RowValues]) -> Counter[Holder]:
    if not changes:
        return Counter()
    query = (
        select(_M.id.label("model_id"), _M.registry, _M.namespace, _M.name)
        .where(among(writer.connection, _MODEL_HOLDER, changes), _M.state == _LIVE)
        .order_by(_M.id)
    )
    rows = [(Holder(row.registry, row.namespace, row.name), row) for row in writer.fetch_for_update(query)]
    writer.update(
        registered_models,
        [
            {
                "id": row.model_id,
                "state": "ARCHIVED",
                "updated_at": changes[holder]["at"],
                "archived_at": changes[holder]["at"],
            }
            for holder, row in rows
        ],
    )
    entries = [_entry(changes[holder], row, version_id=None, before=None, digest=None) for holder, row in rows]
    writer.append_history(entries)
    for (holder, row), entry in zip(rows, entries, strict=True):
        fact = archived_fact(
            entry, namespace=holder.namespace, name=holder.name, model=row.name, version=None, phase=None
        )
        writer.record_audit(holder.registry, [fact])
    return Counter(holder for holder, _ in rows)


def _entry(
    change: RowValues, row: StoredRow, *, version_id: int | None, before: str | None, digest: str | None
) -> RowValues:
    """The history row, completed with values of the row that the caller did not know."""
    return change | {
        "model_id": row.model_id,
        "version_id": version_id,
        "state_before": change["state_before"] or before,
        "digest": change["digest"] or digest,
    }


def _page(connection: Connection, operation: ListLive) -> list[LiveObject]:
    table = registered_models if operation.kind == "model" else model_versions
    name = table.c.name if operation.kind == "model" else table.c.object_name
    page = (
        select(table.c.id, table.c.namespace, name)
        .where(table.c.registry == operation.registry, table.c.state == _LIVE, table.c.id > operation.after)
        .order_by(table.c.id)
        .limit(operation.limit)
    )
    return [LiveObject(id_, operation.kind, namespace, holder) for id_, namespace, holder in connection.execute(page)]


def _count(connection: Connection, table: Table, registry: str) -> int:
    rows = select(func.count()).select_from(table).where(table.c.registry == registry, table.c.state == _LIVE)
    return connection.execute(rows).scalar_one()


def _is_read_only(connection: Connection) -> bool:
    """Whether the server reports itself read-only, as a replica does. Reads alone would not reveal this."""
    try:
        match connection.dialect.name:
            case "postgresql":
                answer = connection.execute(text("SELECT current_setting('transaction_read_only')")).one()
            case "mysql" | "mariadb":
                answer = connection.execute(text("SELECT @@global.read_only, @@global.innodb_read_only")).one()
            case _:
                return False
    except DBAPIError:
        # Servers with MySQL's protocol need not have both variables.
        return False
    return any(str(value).lower() not in {"0", "off"} for value in answer)
