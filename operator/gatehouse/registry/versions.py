"""Versions with their files and their history.

A save first locks the rows, so every decision below holds until the commit, even while another operator is running.
A transaction that was already committed changes nothing when it runs again. The save recognises a new row by its
content, and an entry of the history because it is already the newest. :mod:`gatehouse.registry.audit` compares audit
records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final, Self

from sqlalchemy import Connection, delete, func, select

from gatehouse.domain.audit.records import SYSTEM_ACTOR, FactDocument
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient
from gatehouse.domain.version.records import FileRecord, KnownIds, StateChange, VersionIds, VersionRecord
from gatehouse.registry.keys import ModelKey, VersionKey, among, of_versions
from gatehouse.registry.live_rows import Holder, archive_versions
from gatehouse.registry.mappers import (
    CHANGE_COLUMNS,
    FILE_COLUMNS,
    VERSION_COLUMNS,
    AnyRow,
    RowValues,
    change_of,
    file_of,
    version_of,
)
from gatehouse.registry.models import ModelClaim, archived_at, models_of
from gatehouse.registry.operations import LARGEST_FACT, Read, Write
from gatehouse.registry.row_facts import version_fact
from gatehouse.registry.tables import artifact_files, history, model_versions
from gatehouse.registry.writer import StoredRow, Writer

__all__ = ["LoadFiles", "LoadHistory", "LoadVersion", "SaveFiles", "SaveVersion"]

_V, _F = model_versions.c, artifact_files.c
_LONG: Final = frozenset({"artifact", "governance", "members", "properties", "shown"})
"""Columns with long texts that no decision on a save reads."""
_LOCKED = select(*[column for column in _V if column.name not in _LONG])
_NEWEST = func.max(history.c.id)
_FILE_KEY: Final = ("registry", "model", "version", "path_hash")
_FILE_BYTES: Final = 300
"""Bytes per file in the ``weight`` of an operation."""
_FILES_AT_ONCE: Final = 200


# Loading


@dataclass(frozen=True, slots=True)
class LoadVersion(Read[VersionRecord | None]):
    """The row of a version."""

    key: VersionKey

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[VersionRecord | ReconcileError | None]:
        listed = of_versions(connection, model_versions, [operation.key for operation in batch])
        rows: dict[VersionKey, AnyRow] = {}
        for registry, *row in connection.execute(select(_V.registry, *VERSION_COLUMNS).where(listed)):
            rows[VersionKey(registry, row[2], row[3])] = row
        return [_decoded(rows.get(operation.key)) for operation in batch]


@dataclass(frozen=True, slots=True)
class LoadFiles(Read[Mapping[str, FileRecord]]):
    """Files of a version, by path."""

    key: VersionKey

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Mapping[str, FileRecord]]:
        files: dict[VersionKey, dict[str, FileRecord]] = {operation.key: {} for operation in batch}
        query = select(_F.registry, _F.model, _F.version, *FILE_COLUMNS)
        for registry, model, version, *row in connection.execute(
            query.where(of_versions(connection, artifact_files, files))
        ):
            file = file_of(row)
            files[VersionKey(registry, model, version)][file.path] = file
        return [files[operation.key] for operation in batch]


@dataclass(frozen=True, slots=True)
class LoadHistory(Read[Sequence[StateChange]]):
    """The newest ``limit`` entries of a version's history, oldest first."""

    key: VersionKey
    limit: int

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Sequence[StateChange]]:
        return [_history(connection, operation) for operation in batch]


def _decoded(row: AnyRow | None) -> VersionRecord | ReconcileError | None:
    if row is None:
        return None
    try:
        return version_of(row)
    except ReconcileError as error:
        return error


def _history(connection: Connection, operation: LoadHistory) -> Sequence[StateChange]:
    newest = (
        select(*CHANGE_COLUMNS)
        .join_from(history, model_versions, history.c.version_id == _V.id)
        .where(of_versions(connection, model_versions, [operation.key]))
        .order_by(history.c.id.desc())
        .limit(operation.limit)
    )
    return tuple([change_of(row) for row in reversed(connection.execute(newest).all())])


# Saving


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveVersion(Write[VersionIds]):
    """Saves a version. ``values`` are columns; ``id`` None inserts a row with the ``known`` ids.

    ``files`` None keeps the file rows. ``facts`` go to the audit trail, after the row's own fact. The result is the
    ids, or the reason why the version was not saved.
    """

    turn: ClassVar[int] = 1
    """After the models, because the rows need the models' ids."""

    key: VersionKey
    id: int | None
    known: KnownIds
    values: RowValues
    files: Sequence[RowValues] | None
    change: RowValues | None
    at: datetime
    facts: Sequence[FactDocument] = ()

    @property
    def weight(self) -> int:
        texts = sum(len(self.values[column] or "") for column in ("spec", "artifact", "governance", "shown"))
        return texts + _FILE_BYTES * len(self.files or ()) + LARGEST_FACT * len(self.facts)

    @property
    def order(self) -> tuple[str, ...]:
        return ("save", "version", *self.key)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[VersionIds | ReconcileError]:
        rows = _rows(writer, [operation.key for operation in batch])
        plan = _plan(batch, rows)
        newest = _newest_changes(writer, [row for operation, row in (*plan.updates, *plan.repeats) if operation.change])
        _settle_repeats(writer, plan, newest)
        _insert(writer, plan)
        _take_over(writer, plan)
        _update(writer, plan)
        _replace_files(writer, [operation for operation in plan.written if operation.files is not None])
        entries: list[RowValues] = []
        for operation in plan.written:
            ids = plan.results[operation.key]
            assert isinstance(ids, VersionIds)  # noqa: S101 - what was written has ids
            change = operation.change
            if change is not None and _repeats(change, newest.get(ids.version_id)):
                change = None
            if change is not None:
                entries.append(change | {"model_id": ids.model_id, "version_id": ids.version_id})
            row = rows.get(operation.key)
            fact = version_fact(operation.key, operation.values, row, at=operation.at, change=change)
            writer.record_audit(operation.key.registry, [fact, *operation.facts])
        writer.append_history(entries)
        return [plan.results[operation.key] for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFiles(Write[None]):
    """Adds file rows, or replaces rows of the same path."""

    turn: ClassVar[int] = 2

    key: VersionKey
    files: Sequence[RowValues]

    @property
    def weight(self) -> int:
        return _FILE_BYTES * len(self.files)

    @property
    def order(self) -> tuple[str, ...]:
        return ("save", "version", *self.key)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[None]:
        rows = [row for operation in batch for row in operation.files]
        for start in range(0, len(rows), _FILES_AT_ONCE):
            page = rows[start : start + _FILES_AT_ONCE]
            keys = [tuple(row[column] for column in _FILE_KEY) for row in page]
            listed = among(writer.connection, [_F[column] for column in _FILE_KEY], keys)
            writer.connection.execute(delete(artifact_files).where(listed))
            writer.insert(artifact_files, page)
        return [None] * len(batch)


@dataclass(slots=True)
class _Plan:
    """The action for each operation."""

    results: dict[VersionKey, VersionIds | ReconcileError] = field(default_factory=dict)
    written: list[SaveVersion] = field(default_factory=list)
    inserts: list[SaveVersion] = field(default_factory=list)
    updates: list[tuple[SaveVersion, StoredRow]] = field(default_factory=list)
    repeats: list[tuple[SaveVersion, StoredRow]] = field(default_factory=list)
    """Operations without an id whose row exists: their own row, if an earlier commit succeeded after all."""


def _rows(writer: Writer, keys: Sequence[VersionKey]) -> dict[VersionKey, StoredRow]:
    listed = of_versions(writer.connection, model_versions, keys)
    rows = writer.fetch_for_update(_LOCKED.where(listed).order_by(_V.registry, _V.model, _V.version))
    return {_key(row): row for row in rows}


def _key(row: StoredRow) -> VersionKey:
    return VersionKey(row.registry, row.model, row.version)


def _plan(operations: Sequence[SaveVersion], rows: Mapping[VersionKey, StoredRow]) -> _Plan:
    plan = _Plan()
    for operation in operations:
        row = rows.get(operation.key)
        if row is None and operation.id is None:
            plan.inserts.append(operation)
        elif row is None:
            plan.results[operation.key] = _conflict(operation, f"no longer has a row; it had row {operation.id}")
        elif operation.id is None:
            plan.repeats.append((operation, row))
        elif refusal := _refusal(operation, row):
            plan.results[operation.key] = refusal
        else:
            plan.updates.append((operation, row))
    return plan


def _refusal(operation: SaveVersion, row: StoredRow) -> ReconcileError | None:
    values = operation.values
    if row.id != operation.id:
        return _conflict(operation, f"has row {row.id}, not row {operation.id}")
    if row.state == "RECORDED" and row.namespace != values["namespace"]:
        return Stalled(
            reason="NameTaken",
            message=f"The {operation.key} is recorded for namespace {row.namespace}, not for namespace "
            f"{values['namespace']}",
            remedy="Choose another version.",
        )
    if row.state == "LIVE" and (row.namespace, row.object_name) != (values["namespace"], values["object_name"]):
        return _conflict(operation, f"is held by ModelVersion {row.namespace}/{row.object_name}")
    if row.digest is not None and row.digest != values["digest"]:
        return Stalled(
            reason="DigestImmutable",
            message=f"The {operation.key} is recorded with digest {row.digest}, not {values['digest']}",
            remedy="Restore the recorded artifact, or register the new artifact as a new version.",
        )
    return None


def _conflict(operation: SaveVersion, conflict: str) -> Transient:
    return Transient(reason="RowConflict", message=f"The {operation.key} {conflict}")


def _settle_repeats(writer: Writer, plan: _Plan, newest: Mapping[int, StoredRow]) -> None:
    if not plan.repeats:
        return
    ids = [row.id for _, row in plan.repeats]
    whole = {row.id: row._mapping for row in writer.fetch(select(model_versions).where(_V.id.in_(ids)))}  # noqa: SLF001 - SQLAlchemy's public name
    for operation, row in plan.repeats:
        same = all(whole[row.id][column] == value for column, value in operation.values.items())
        recorded = operation.change is None or _equal(operation.change, newest.get(row.id))
        plan.results[operation.key] = (
            VersionIds(row.model_id, row.id)
            if same and recorded
            else _conflict(
                operation, f"has row {row.id} already, held by ModelVersion {row.namespace}/{row.object_name}"
            )
        )


def _insert(writer: Writer, plan: _Plan) -> None:
    if not plan.inserts:
        return
    models = models_of(writer, [_claim(operation) for operation in plan.inserts])
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
                "title": operation.key.version,
                "created_at": at,
                "updated_at": at,
                "archived_at": archived_at(operation.values["state"], at),
            }
        )
    allowed = [operation for operation in plan.inserts if operation.key not in plan.results]
    _archive_displaced(writer, allowed)
    writer.insert_numbered(model_versions, rows, [operation.known.version for operation in allowed])
    plan.written += allowed
    if allowed:
        listed = of_versions(writer.connection, model_versions, [operation.key for operation in allowed])
        for row in writer.fetch(_LOCKED.where(listed)):
            plan.results[_key(row)] = VersionIds(row.model_id, row.id)


def _take_over(writer: Writer, plan: _Plan) -> None:
    """Refuses to take over a recorded row whose model belongs to another namespace.

    The object gives up the rows of other versions, as if the row were new.
    """
    recorded = [operation for operation, row in plan.updates if row.state == "RECORDED"]
    if not recorded:
        return
    models = models_of(writer, [_claim(operation) for operation in recorded])
    for operation in recorded:
        model = models[ModelKey(operation.key.registry, operation.key.model), operation.values["namespace"]]
        if isinstance(model, ReconcileError):
            plan.results[operation.key] = model
    plan.updates = [(operation, row) for operation, row in plan.updates if operation.key not in plan.results]
    _archive_displaced(writer, [operation for operation in recorded if operation.key not in plan.results])


def _claim(operation: SaveVersion) -> ModelClaim:
    return ModelClaim(
        model=ModelKey(operation.key.registry, operation.key.model),
        namespace=operation.values["namespace"],
        version=operation.key,
        known=operation.known.model,
        at=operation.at,
    )


def _archive_displaced(writer: Writer, operations: Sequence[SaveVersion]) -> None:
    """Archives other versions that the same objects held: a recreated object may be another version."""
    changes: dict[Holder, RowValues] = {
        Holder(operation.key.registry, operation.values["namespace"], operation.values["object_name"]): {
            "at": operation.at,
            "actor": SYSTEM_ACTOR,
            "state_before": None,
            "state_after": "Archived",
            "digest": None,
            "reason": "ObjectReplaced",
            "message": f"Its object is now version {operation.key.version} of model {operation.key.model}",
        }
        for operation in operations
    }
    archive_versions(writer, changes)


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


def _replace_files(writer: Writer, operations: Sequence[SaveVersion]) -> None:
    """Replaces all files of the versions by the files of the operations."""
    if operations:
        keys = [operation.key for operation in operations]
        writer.connection.execute(delete(artifact_files).where(of_versions(writer.connection, artifact_files, keys)))
    writer.insert(artifact_files, [row for operation in operations for row in operation.files or ()])


def _newest_changes(writer: Writer, rows: Sequence[StoredRow]) -> dict[int, StoredRow]:
    if not rows:
        return {}
    newest = select(_NEWEST).where(history.c.version_id.in_([row.id for row in rows])).group_by(history.c.version_id)
    return {row.version_id: row for row in writer.fetch(select(history).where(history.c.id.in_(newest)))}


def _repeats(change: RowValues, newest: StoredRow | None) -> bool:
    """Whether the history already ends with this change: a state cannot be left twice without a return to it."""
    if newest is None:
        return False
    same_step = all(change[column] == getattr(newest, column) for column in ("state_before", "state_after", "digest"))
    return _equal(change, newest) or (same_step and change["state_before"] != change["state_after"])


def _equal(change: RowValues, newest: StoredRow | None) -> bool:
    return newest is not None and all(value == getattr(newest, column) for column, value in change.items())
