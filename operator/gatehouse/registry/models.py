"""Saving models: a name belongs to the namespace whose live object holds it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient
from gatehouse.registry.key_filters import of_models
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.operations import ModelKey, SaveModel, SaveVersion
from gatehouse.registry.row_facts import model_fact
from gatehouse.registry.tables import registered_models
from gatehouse.registry.writer import FoundRow, Writer

__all__ = ["archived_at", "models_of", "save_models"]

_M = registered_models.c
_HELD = select(_M.id, _M.registry, _M.name, _M.namespace, _M.uid, _M.state, _M.archived_at)
_WHOLE = _HELD.add_columns(_M.spec)


def save_models(writer: Writer, operations: Sequence[SaveModel]) -> list[object]:
    """The id of each model, or why it was not saved."""
    held = _held(writer, [operation.key for operation in operations], lock=True)
    refused = {operation.key: _refusal(operation, held.get(operation.key)) for operation in operations}
    allowed = [operation for operation in operations if refused[operation.key] is None]
    writer.update(
        registered_models,
        [_changed(operation, held[operation.key]) for operation in allowed if operation.key in held],
    )
    for operation in allowed:
        fact = model_fact(operation.values, held.get(operation.key), at=operation.at)
        writer.tell(operation.key.registry, [fact])
    missing = [operation for operation in allowed if operation.key not in held]
    writer.insert_numbered(
        registered_models,
        [_new(operation.values, operation.at) for operation in missing],
        [operation.known for operation in missing],
    )
    held |= _held(writer, [operation.key for operation in missing])
    return [refused[operation.key] or held[operation.key].id for operation in operations]


def models_of(writer: Writer, operations: Sequence[SaveVersion]) -> dict[tuple[ModelKey, str], int | ReconcileError]:
    """By model and namespace of new versions: the model's id, or why a version in that namespace may not be its own.

    Models that are missing are made.
    """
    first = {_model_key(operation): operation for operation in reversed(operations)}
    held = _held(writer, list(first))
    missing = [key for key in first if key not in held]
    for key in missing:
        values = _values_for(key, first[key])
        writer.tell(key.registry, [model_fact(values, None, at=first[key].at, made_for=first[key])])
    writer.insert_numbered(
        registered_models,
        [_new(_values_for(key, first[key]), first[key].at) for key in missing],
        [first[key].known.model for key in missing],
    )
    held |= _held(writer, missing)
    wanted = {(_model_key(operation), operation.values["namespace"]) for operation in operations}
    return {(key, namespace): _taken(key, held[key], namespace) or held[key].id for key, namespace in wanted}


def archived_at(state: str, at: datetime, row: FoundRow | None = None) -> datetime | None:
    """When a row that gets this state was archived: the first time counts."""
    if state != "ARCHIVED":
        return None
    return at if row is None or row.archived_at is None else row.archived_at


def _held(writer: Writer, keys: Sequence[ModelKey], *, lock: bool = False) -> dict[ModelKey, FoundRow]:
    if not keys:
        return {}
    wanted = of_models(writer.connection, keys)
    if lock:
        rows = writer.lock(_WHOLE.where(wanted).order_by(_M.registry, _M.name))
    else:
        rows = writer.look(_HELD.where(wanted))
    return {ModelKey(row.registry, row.name): row for row in rows}


def _refusal(operation: SaveModel, row: FoundRow | None) -> ReconcileError | None:
    if row is None:
        if operation.id is None:
            return None
        return Transient(
            reason="RowConflict", message=f"The {operation.key} has no row any more, it had row {operation.id}"
        )
    if operation.id is not None and operation.id != row.id:
        return Transient(reason="RowConflict", message=f"The {operation.key} has row {row.id}, not row {operation.id}")
    return _taken(operation.key, row, operation.values["namespace"])


def _taken(key: ModelKey, row: FoundRow, namespace: str) -> Stalled | None:
    if row.namespace == namespace or row.state != "LIVE":
        return None
    return Stalled(
        reason="NameTaken",
        message=f"The {key} belongs to RegisteredModel {row.namespace}/{row.name}, not to namespace {namespace}",
        remedy=f"Choose another name, or delete RegisteredModel {row.name} in namespace {row.namespace}.",
    )


def _changed(operation: SaveModel, row: FoundRow) -> RowValues:
    at, state = operation.at, operation.values["state"]
    return operation.values | {"id": row.id, "updated_at": at, "archived_at": archived_at(state, at, row)}


def _new(values: RowValues, at: datetime) -> RowValues:
    return values | {"created_at": at, "updated_at": at, "archived_at": archived_at(values["state"], at)}


def _model_key(operation: SaveVersion) -> ModelKey:
    return ModelKey(operation.key.registry, operation.key.model)


def _values_for(key: ModelKey, operation: SaveVersion) -> RowValues:
    """A model whose object has not been seen yet: its own reconcile fills in the rest."""
    return {
        "registry": key.registry,
        "name": key.name,
        "namespace": operation.values["namespace"],
        "uid": "",
        "state": "LIVE",
        "spec": "{}",
    }
