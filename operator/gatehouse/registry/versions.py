"""Saving versions: rows, files and history of many versions in one transaction.

The rows are locked first, so every decision below holds until the commit, also while another operator is at work.
Running a transaction again that was committed already changes nothing: a new row is recognised by its content, and
an entry of the history by being the newest one already. Of the audit trail :mod:`gatehouse.registry.auditing` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select

from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient
from gatehouse.domain.version.records import VersionIds
from gatehouse.registry.archiving import archive_displaced
from gatehouse.registry.key_filters import of_versions
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.models import archived_at, models_of
from gatehouse.registry.operations import ModelKey, SaveVersion, VersionKey
from gatehouse.registry.row_facts import version_fact
from gatehouse.registry.tables import history, model_versions
from gatehouse.registry.writer import FoundRow, Writer

__all__ = ["save_versions"]

_V = model_versions.c
_LOCKED = select(*[column for column in _V if column.name not in {"artifact", "governance"}])
_NEWEST = func.max(history.c.id)


@dataclass(slots=True)
class _Plan:
    """What becomes of each operation."""

    results: dict[VersionKey, VersionIds | ReconcileError] = field(default_factory=dict)
    written: list[SaveVersion] = field(default_factory=list)
    inserts: list[SaveVersion] = field(default_factory=list)
    updates: list[tuple[SaveVersion, FoundRow]] = field(default_factory=list)
    repeats: list[tuple[SaveVersion, FoundRow]] = field(default_factory=list)
    """New to the caller, but there is a row: its own, if an earlier commit of it got through after all."""


def save_versions(writer: Writer, operations: Sequence[SaveVersion]) -> list[object]:
    """The ids of each version, or why it was not saved."""
    rows = _rows(writer, [operation.key for operation in operations])
    plan = _plan(operations, rows)
    newest = _newest_changes(writer, [row for operation, row in (*plan.updates, *plan.repeats) if operation.change])
    _settle_repeats(writer, plan, newest)
    _insert(writer, plan)
    _update(writer, plan)
    replaced = [operation for operation in plan.written if operation.files is not None]
    writer.replace_all_files(
        [operation.key for operation in replaced],
        [row for operation in replaced for row in operation.files or ()],
    )
    entries: list[RowValues] = []
    for operation in plan.written:
        ids = plan.results[operation.key]
        assert isinstance(ids, VersionIds)  # noqa: S101 - what was written has ids
        change = operation.change
        if change is not None and _repeats(change, newest.get(ids.version_id)):
            change = None
        if change is not None:
            entries.append(change | {"model_id": ids.model_id, "version_id": ids.version_id})
        fact = version_fact(operation, rows.get(operation.key), change=change)
        writer.tell(operation.key.registry, [fact, *operation.facts])
    writer.append_history(entries)
    return [plan.results[operation.key] for operation in operations]


def _rows(writer: Writer, keys: Sequence[VersionKey]) -> dict[VersionKey, FoundRow]:
    wanted = of_versions(writer.connection, model_versions, keys)
    rows = writer.lock(_LOCKED.where(wanted).order_by(_V.registry, _V.model, _V.version))
    return {_key(row): row for row in rows}


def _key(row: FoundRow) -> VersionKey:
    return VersionKey(row.registry, row.model, row.version)


def _plan(operations: Sequence[SaveVersion], rows: Mapping[VersionKey, FoundRow]) -> _Plan:
    plan = _Plan()
    for operation in operations:
        row = rows.get(operation.key)
        if row is None and operation.id is None:
            plan.inserts.append(operation)
        elif row is None:
            plan.results[operation.key] = _conflict(operation, f"has no row any more, it had row {operation.id}")
        elif operation.id is None:
            plan.repeats.append((operation, row))
        elif refusal := _refusal(operation, row):
            plan.results[operation.key] = refusal
        else:
            plan.updates.append((operation, row))
    return plan


def _refusal(operation: SaveVersion, row: FoundRow) -> ReconcileError | None:
    values = operation.values
    if row.id != operation.id:
        return _conflict(operation, f"has row {row.id}, not row {operation.id}")
    if row.state == "LIVE" and (row.namespace, row.object_name) != (values["namespace"], values["object_name"]):
        return _conflict(operation, f"is held by ModelVersion {row.namespace}/{row.object_name}")
    if row.digest is not None and row.digest != values["digest"]:
        return Stalled(
            reason="DigestImmutable",
            message=f"The {operation.key} is recorded with digest {row.digest}, not {values['digest']}",
            remedy="Restore the artifact that was recorded, or make a new version of the new one.",
        )
    return None


def _conflict(operation: SaveVersion, found: str) -> Transient:
    return Transient(reason="RowConflict", message=f"The {operation.key} {found}")


def _settle_repeats(writer: Writer, plan: _Plan, newest: Mapping[int, FoundRow]) -> None:
    if not plan.repeats:
        return
    ids = [row.id for _, row in plan.repeats]
    whole = {row.id: row._mapping for row in writer.look(select(model_versions).where(_V.id.in_(ids)))}  # noqa: SLF001 - SQLAlchemy's public name
    for operation, row in plan.repeats:
        same = all(whole[row.id][column] == value for column, value in operation.values.items())
        told = operation.change is None or _equal(operation.change, newest.get(row.id))
        plan.results[operation.key] = (
            VersionIds(row.model_id, row.id)
            if same and told
            else _conflict(
                operation, f"has row {row.id} already, held by ModelVersion {row.namespace}/{row.object_name}"
            )
        )


def _insert(writer: Writer, plan: _Plan) -> None:
    if not plan.inserts:
        return
    models = models_of(writer, plan.inserts)
    rows: list[RowValues] = []
    for operation in plan.inserts:
        model = models[ModelKey(operation.key.registry, operation.key.model), operation.values["namespace"]]
        if isinstance(model, ReconcileError):
            plan.results[operation.key] = model
            continue
        at = operation.at
        rows.append(
            operation.values
            | {
                "model_id": model,
                "created_at": at,
                "updated_at": at,
                "archived_at": archived_at(operation.values["state"], at),
            }
        )
    allowed = [operation for operation in plan.inserts if operation.key not in plan.results]
    archive_displaced(writer, allowed)
    writer.insert_numbered(model_versions, rows, [operation.known.version for operation in allowed])
    plan.written += allowed
    if allowed:
        wanted = of_versions(writer.connection, model_versions, [operation.key for operation in allowed])
        for row in writer.look(_LOCKED.where(wanted)):
            plan.results[_key(row)] = VersionIds(row.model_id, row.id)


def _update(writer: Writer, plan: _Plan) -> None:
    writer.update(
        model_versions,
        [
            operation.values
            | {
                "id": row.id,
                "updated_at": operation.at,
                "archived_at": archived_at(operation.values["state"], operation.at, row),
            }
            for operation, row in plan.updates
        ],
    )
    for operation, row in plan.updates:
        plan.results[operation.key] = VersionIds(row.model_id, row.id)
        plan.written.append(operation)


def _newest_changes(writer: Writer, rows: Sequence[FoundRow]) -> dict[int, FoundRow]:
    if not rows:
        return {}
    newest = select(_NEWEST).where(history.c.version_id.in_([row.id for row in rows])).group_by(history.c.version_id)
    return {row.version_id: row for row in writer.look(select(history).where(history.c.id.in_(newest)))}


def _repeats(change: RowValues, newest: FoundRow | None) -> bool:
    """Whether the history ends with this change already: one cannot leave a state twice without coming back to it."""
    if newest is None:
        return False
    same_step = all(change[column] == getattr(newest, column) for column in ("state_before", "state_after", "digest"))
    return _equal(change, newest) or (same_step and change["state_before"] != change["state_after"])


def _equal(change: RowValues, newest: FoundRow | None) -> bool:
    return newest is not None and all(value == getattr(newest, column) for column, value in change.items())
