"""Reads, many in one SELECT."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select, text
from sqlalchemy.exc import DBAPIError

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.version.records import FileRecord, RegistryCounts
from gatehouse.registry.audit_reading import AUDIT_READERS
from gatehouse.registry.key_filters import of_models, of_versions
from gatehouse.registry.mappers import (
    CHANGE_COLUMNS,
    FILE_COLUMNS,
    MODEL_COLUMNS,
    VERSION_COLUMNS,
    AnyRow,
    change_of,
    file_of,
    model_of,
    version_of,
)
from gatehouse.registry.operations import (
    Connect,
    CountRows,
    ListLive,
    LiveObject,
    LoadFiles,
    LoadHistory,
    LoadModel,
    LoadVersion,
    ModelKey,
    Read,
    VersionKey,
)
from gatehouse.registry.tables import artifact_files, history, model_versions, registered_models

__all__ = ["read"]

_LIVE = "LIVE"


def read(connection: Connection, operations: Sequence[Read[Any]]) -> list[object]:
    """The result of each operation, or the error that is its own."""
    results: list[object] = [None] * len(operations)
    kinds: dict[type, list[int]] = defaultdict(list)
    for index, operation in enumerate(operations):
        kinds[type(operation)].append(index)
    for kind, indexes in kinds.items():
        for index, result in zip(indexes, _READERS[kind](connection, [operations[i] for i in indexes]), strict=True):
            results[index] = result
    return results


def _versions(connection: Connection, operations: Sequence[LoadVersion]) -> list[object]:
    wanted = of_versions(connection, model_versions, [operation.key for operation in operations])
    found: dict[VersionKey, AnyRow] = {}
    for registry, *row in connection.execute(select(model_versions.c.registry, *VERSION_COLUMNS).where(wanted)):
        found[VersionKey(registry, row[2], row[3])] = row
    return [_decoded(version_of, found.get(operation.key)) for operation in operations]


def _decoded(decode: Callable[[AnyRow], object], row: AnyRow | None) -> object:
    if row is None:
        return None
    try:
        return decode(row)
    except ReconcileError as error:
        return error


def _files(connection: Connection, operations: Sequence[LoadFiles]) -> list[object]:
    found: dict[VersionKey, dict[str, FileRecord]] = {operation.key: {} for operation in operations}
    files = artifact_files.c
    query = select(files.registry, files.model, files.version, *FILE_COLUMNS)
    for registry, model, version, *row in connection.execute(
        query.where(of_versions(connection, artifact_files, found))
    ):
        file = file_of(row)
        found[VersionKey(registry, model, version)][file.path] = file
    return [found[operation.key] for operation in operations]


def _models(connection: Connection, operations: Sequence[LoadModel]) -> list[object]:
    wanted = of_models(connection, [operation.key for operation in operations])
    found: dict[ModelKey, AnyRow] = {}
    for registry, *row in connection.execute(select(registered_models.c.registry, *MODEL_COLUMNS).where(wanted)):
        found[ModelKey(registry, row[1])] = row
    return [_decoded(model_of, found.get(operation.key)) for operation in operations]


def _histories(connection: Connection, operations: Sequence[LoadHistory]) -> list[object]:
    return [_history(connection, operation) for operation in operations]


def _history(connection: Connection, operation: LoadHistory) -> tuple[object, ...]:
    newest = (
        select(*CHANGE_COLUMNS)
        .join_from(history, model_versions, history.c.version_id == model_versions.c.id)
        .where(of_versions(connection, model_versions, [operation.key]))
        .order_by(history.c.id.desc())
        .limit(operation.limit)
    )
    return tuple([change_of(row) for row in reversed(connection.execute(newest).all())])


def _live(connection: Connection, operations: Sequence[ListLive]) -> list[object]:
    return [_page(connection, operation) for operation in operations]


def _page(connection: Connection, operation: ListLive) -> list[LiveObject]:
    table = registered_models if operation.kind == "model" else model_versions
    name = table.c.name if operation.kind == "model" else table.c.object_name
    page = (
        select(table.c.id, table.c.namespace, name)
        .where(table.c.registry == operation.registry, table.c.state == _LIVE, table.c.id > operation.after)
        .order_by(table.c.id)
        .limit(operation.limit)
    )
    return [LiveObject(id_, operation.kind, namespace, held) for id_, namespace, held in connection.execute(page)]


def _counts(connection: Connection, operations: Sequence[CountRows]) -> list[object]:
    read_only = _is_read_only(connection)
    return [
        RegistryCounts(
            models=_live_rows(connection, registered_models, operation.registry),
            versions=_live_rows(connection, model_versions, operation.registry),
            read_only=read_only,
        )
        for operation in operations
    ]


def _is_read_only(connection: Connection) -> bool:
    """Whether the server says that it takes no writes, as a replica does. Reads alone would not tell."""
    try:
        match connection.dialect.name:
            case "postgresql":
                said = connection.execute(text("SELECT current_setting('transaction_read_only')")).one()
            case "mysql" | "mariadb":
                said = connection.execute(text("SELECT @@global.read_only, @@global.innodb_read_only")).one()
            case _:
                return False
    except DBAPIError:
        # What speaks MySQL's protocol need not have both variables.
        return False
    return any(str(value).lower() not in {"0", "off"} for value in said)


def _live_rows(connection: Connection, table: Table, registry: str) -> int:
    rows = select(func.count()).select_from(table).where(table.c.registry == registry, table.c.state == _LIVE)
    return connection.execute(rows).scalar_one()


def _nothing(_connection: Connection, operations: Sequence[Connect]) -> list[object]:
    return [None] * len(operations)


_READERS: Mapping[type, Callable[[Connection, Sequence[Any]], list[object]]] = {
    LoadVersion: _versions,
    LoadFiles: _files,
    LoadModel: _models,
    LoadHistory: _histories,
    ListLive: _live,
    CountRows: _counts,
    Connect: _nothing,
    **AUDIT_READERS,
}
