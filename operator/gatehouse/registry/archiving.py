"""Archiving the rows of objects that are gone. A row is never deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select

from gatehouse.domain.audit.records import SYSTEM_ACTOR
from gatehouse.registry.key_filters import among
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.operations import ArchiveObject, SaveVersion
from gatehouse.registry.row_facts import archived_fact
from gatehouse.registry.tables import model_versions, registered_models
from gatehouse.registry.writer import FoundRow, Writer

__all__ = ["archive_displaced", "archive_objects"]

_V, _M = model_versions.c, registered_models.c
_VERSION_HOLDER = (_V.registry, _V.namespace, _V.object_name)
_MODEL_HOLDER = (_M.registry, _M.namespace, _M.name)


class _Holder(NamedTuple):
    registry: str
    namespace: str
    name: str


def archive_objects(writer: Writer, operations: Sequence[ArchiveObject]) -> list[object]:
    """How many rows each operation archived."""
    versions = {_holder(operation): operation.change for operation in operations if operation.kind == "version"}
    models = {_holder(operation): operation.change for operation in operations if operation.kind == "model"}
    archived = {"version": _archive_versions(writer, versions), "model": _archive_models(writer, models)}
    return [archived[operation.kind][_holder(operation)] for operation in operations]


def archive_displaced(writer: Writer, operations: Sequence[SaveVersion]) -> None:
    """Archives other versions that the same objects held: an object made again may be another version."""
    if not operations:
        return
    _archive_versions(
        writer,
        {
            _Holder(operation.key.registry, operation.values["namespace"], operation.values["object_name"]): {
                "at": operation.at,
                "actor": SYSTEM_ACTOR,
                "state_before": None,
                "state_after": "Archived",
                "digest": None,
                "reason": "ObjectReplaced",
                "message": f"Its object is now version {operation.key.version} of model {operation.key.model}",
            }
            for operation in operations
        },
    )


def _holder(operation: ArchiveObject) -> _Holder:
    return _Holder(operation.registry, operation.namespace, operation.name)


def _archive_versions(writer: Writer, changes: dict[_Holder, RowValues]) -> Counter[_Holder]:
    query = (
        select(_V.id, _V.model_id, _V.registry, _V.model, _V.version, _V.namespace, _V.object_name, _V.phase, _V.digest)
        .where(among(writer.connection, _VERSION_HOLDER, changes), _V.state == "LIVE")
        .order_by(_V.id)
    )
    rows = [
        (_Holder(row.registry, row.namespace, row.object_name), row) for row in (writer.lock(query) if changes else ())
    ]
    writer.update(
        model_versions,
        [
            {
                "id": row.id,
                "state": "ARCHIVED",
                "phase": changes[holder]["state_after"],
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
        writer.tell(holder.registry, [fact])
    return Counter(holder for holder, _ in rows)


def _archive_models(writer: Writer, changes: dict[_Holder, RowValues]) -> Counter[_Holder]:
    query = (
        select(_M.id.label("model_id"), _M.registry, _M.namespace, _M.name)
        .where(among(writer.connection, _MODEL_HOLDER, changes), _M.state == "LIVE")
        .order_by(_M.id)
    )
    rows = [(_Holder(row.registry, row.namespace, row.name), row) for row in (writer.lock(query) if changes else ())]
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
        writer.tell(holder.registry, [fact])
    return Counter(holder for holder, _ in rows)


def _entry(
    change: RowValues, row: FoundRow, *, version_id: int | None, before: str | None, digest: str | None
) -> RowValues:
    """The history row; what the caller did not know of the row is filled in."""
    return change | {
        "model_id": row.model_id,
        "version_id": version_id,
        "state_before": change["state_before"] or before,
        "digest": change["digest"] or digest,
    }
