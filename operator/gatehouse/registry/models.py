"""Models: a name belongs to the namespace whose live object holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from sqlalchemy import Connection, select

from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient
from gatehouse.domain.version.records import ModelRecord
from gatehouse.registry.keys import ModelKey, VersionKey, of_models
from gatehouse.registry.mappers import MODEL_COLUMNS, RowValues, model_of
from gatehouse.registry.operations import Read, Write
from gatehouse.registry.row_facts import model_fact
from gatehouse.registry.tables import registered_models
from gatehouse.registry.writer import StoredRow, Writer

__all__ = ["LoadModel", "ModelClaim", "SaveModel", "archived_at", "models_of"]

_M = registered_models.c
_HELD = select(_M.id, _M.registry, _M.name, _M.namespace, _M.uid, _M.state, _M.archived_at)
_WHOLE = _HELD.add_columns(_M.spec)


@dataclass(frozen=True, slots=True)
class LoadModel(Read[ModelRecord | None]):
    """The row of a model."""

    key: ModelKey

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[ModelRecord | None]:
        listed = of_models(connection, [operation.key for operation in batch])
        records: dict[ModelKey, ModelRecord] = {}
        for registry, *row in connection.execute(select(_M.registry, *MODEL_COLUMNS).where(listed)):
            record = model_of(row)
            records[ModelKey(registry, record.name)] = record
        return [records.get(operation.key) for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveModel(Write[int]):
    """Saves a model. ``values`` are columns. With ``id`` None the row is inserted, with the ``known`` id.

    The result is the id, or the reason why the model was not saved.
    """

    key: ModelKey
    id: int | None
    known: int | None
    values: RowValues
    at: datetime

    @property
    def weight(self) -> int:
        return len(self.values["spec"])

    @property
    def order(self) -> tuple[str, ...]:
        return ("save", "model", *self.key)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[int | ReconcileError]:
        held = _held(writer, [operation.key for operation in batch], lock=True)
        refused = {operation.key: _refusal(operation, held.get(operation.key)) for operation in batch}
        allowed = [operation for operation in batch if refused[operation.key] is None]
        writer.update(
            registered_models,
            [_changed(operation, held[operation.key]) for operation in allowed if operation.key in held],
        )
        for operation in allowed:
            fact = model_fact(operation.values, held.get(operation.key), at=operation.at)
            writer.record_audit(operation.key.registry, [fact])
        missing = [operation for operation in allowed if operation.key not in held]
        writer.insert_numbered(
            registered_models,
            [_new(operation.values, operation.at) for operation in missing],
            [operation.known for operation in missing],
        )
        held |= _held(writer, [operation.key for operation in missing])
        return [refused[operation.key] or held[operation.key].id for operation in batch]


class ModelClaim(NamedTuple):
    """The model that a new version needs in its namespace. ``known`` is the model's id as the version knows it."""

    model: ModelKey
    namespace: str
    version: VersionKey
    known: int | None
    at: datetime


def models_of(writer: Writer, claims: Sequence[ModelClaim]) -> dict[tuple[ModelKey, str], int | ReconcileError]:
    """The model's id by model and namespace, or why a version in that namespace may not belong to the model.

    Inserts missing models.
    """
    first = {claim.model: claim for claim in reversed(claims)}
    held = _held(writer, list(first))
    missing = [claim for key, claim in first.items() if key not in held]
    for claim in missing:
        fact = model_fact(_values_for(claim), None, at=claim.at, made_for=claim.version)
        writer.record_audit(claim.model.registry, [fact])
    writer.insert_numbered(
        registered_models,
        [_new(_values_for(claim), claim.at) for claim in missing],
        [claim.known for claim in missing],
    )
    held |= _held(writer, [claim.model for claim in missing])
    return {
        (key, namespace): _taken(key, held[key], namespace) or held[key].id
        for key, namespace in {(claim.model, claim.namespace) for claim in claims}
    }


def archived_at(state: str, at: datetime, row: StoredRow | None = None) -> datetime | None:
    """The time at which a row with this state was archived: the first time counts."""
    if state != "ARCHIVED":
        return None
    return at if row is None or row.archived_at is None else row.archived_at


def _held(writer: Writer, keys: Sequence[ModelKey], *, lock: bool = False) -> dict[ModelKey, StoredRow]:
    if not keys:
        return {}
    listed = of_models(writer.connection, keys)
    if lock:
        rows = writer.fetch_for_update(_WHOLE.where(listed).order_by(_M.registry, _M.name))
    else:
        rows = writer.fetch(_HELD.where(listed))
    return {ModelKey(row.registry, row.name): row for row in rows}


def _refusal(operation: SaveModel, row: StoredRow | None) -> ReconcileError | None:
    if row is None:
        if operation.id is None:
            return None
        return Transient(
            reason="RowConflict", message=f"The {operation.key} no longer has a row; it had row {operation.id}"
        )
    if operation.id is not None and operation.id != row.id:
        return Transient(reason="RowConflict", message=f"The {operation.key} has row {row.id}, not row {operation.id}")
    return _taken(operation.key, row, operation.values["namespace"])


def _taken(key: ModelKey, row: StoredRow, namespace: str) -> Stalled | None:
    if row.namespace == namespace or row.state not in {"LIVE", "RECORDED"}:
        return None
    if row.state == "RECORDED":
        return Stalled(
            reason="NameTaken",
            message=f"The {key} is recorded for namespace {row.namespace}, not for namespace {namespace}",
            remedy="Choose another name.",
        )
    return Stalled(
        reason="NameTaken",
        message=f"The {key} belongs to RegisteredModel {row.namespace}/{row.name}, not to namespace {namespace}",
        remedy=f"Choose another name, or delete RegisteredModel {row.name} in namespace {row.namespace}.",
    )


def _changed(operation: SaveModel, row: StoredRow) -> RowValues:
    at, state = operation.at, operation.values["state"]
    return operation.values | {"id": row.id, "updated_at": at, "archived_at": archived_at(state, at, row)}


def _new(values: RowValues, at: datetime) -> RowValues:
    title = {"title": values["name"]}
    return values | title | {"created_at": at, "updated_at": at, "archived_at": archived_at(values["state"], at)}


def _values_for(claim: ModelClaim) -> RowValues:
    """The row of a model whose object is not observed yet: the model's own reconcile adds the rest."""
    return {
        "registry": claim.model.registry,
        "name": claim.model.name,
        "namespace": claim.namespace,
        "uid": "",
        "state": "LIVE",
        "spec": "{}",
    }
