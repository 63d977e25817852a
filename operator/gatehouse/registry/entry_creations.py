"""Creates entries: a client records one.

A creation that runs twice, because the answer to its commit was lost, recognises its own row by a random word. Of two
clients that create one name at once, one finds the row of the other. No write makes an entry governed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from sqlalchemy import ColumnElement, Table, func, select

from gatehouse.domain.audit.records import FactChange, fact_document
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.entries.entry import FIRST_RECORDED_ID, LARGEST_ID, Entry, NewEntry
from gatehouse.domain.entries.names import KeyChoice, model_key_choice, version_key_choice
from gatehouse.domain.entries.refusals import EntryExists
from gatehouse.registry.entry_checks import (
    AUDITED,
    IdsExhausted,
    no_parent,
    plain,
    read_back,
    require_free,
    require_parent,
    settled,
    words,
)
from gatehouse.registry.entry_mappers import (
    dump_members,
    dump_properties,
    property_rows,
)
from gatehouse.registry.entry_sources import Subject
from gatehouse.registry.mappers import RowValues, check_values
from gatehouse.registry.operations import LARGEST_FACT, Write
from gatehouse.registry.tables import entries, entry_properties, model_versions, registered_models
from gatehouse.registry.writer import StoredRow, Writer

__all__ = ["CreateEntry", "create_entry", "record_of"]

_M, _V, _E = registered_models.c, model_versions.c, entries.c


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateEntry(Write[Entry]):
    """Records an entry. ``creation`` is a random word, another for each entry."""

    registry: str
    entry: NewEntry
    actor: str
    at: datetime
    creation: str

    @property
    def weight(self) -> int:
        return LARGEST_FACT + len(dump_members(self.entry.members)) + len(dump_properties(self.entry.properties))

    @property
    def order(self) -> tuple[str, ...]:
        return ("record", self.registry, self.entry.kind, str(self.entry.parent_id), self.entry.name)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[Entry | ReconcileError]:
        return [settled(_create, writer, operation) for operation in batch]


def _create(writer: Writer, operation: CreateEntry) -> Entry:
    subject: Subject
    match operation.entry.kind:
        case "registered_model":
            subject, id_ = "model", _create_model(writer, operation)
        case "model_version":
            subject, id_ = "version", _create_version(writer, operation)
        case _:
            subject, id_ = "entry", create_entry(writer, operation)
    return read_back(writer, operation.registry, operation.entry.kind, subject, id_)


def _create_model(writer: Writer, operation: CreateEntry) -> int:
    new = operation.entry
    choice = model_key_choice(new.name)
    there = writer.fetch_for_update(
        select(_M.id, _M.name.label("key"), _M.title, _M.namespace, _M.creation).where(
            _M.registry == operation.registry, _M.name.in_(sorted(set(choice)))
        )
    )
    if own := _own(there, operation):
        return own
    key = _free_key(choice, there, operation)
    _refuse_external_id(writer, registered_models, operation)
    values = _recorded_values(operation) | {"name": key, "uid": "", "state": "RECORDED", "spec": "{}"}
    values = check_values(registered_models, values, f"model {new.name[:80]!r}")
    writer.insert_numbered(registered_models, [values], [None])
    found = writer.fetch(select(_M.id).where(_M.registry == operation.registry, _M.name == key))
    return _recorded(writer, operation, "model", found[0].id, key=key)


def _create_version(writer: Writer, operation: CreateEntry) -> int:
    new = operation.entry
    parents = writer.fetch(
        select(_M.id, _M.name).where(_M.registry == operation.registry, _M.id == (new.parent_id or 0))
    )
    if not parents:
        raise no_parent("registered_model", operation.entry.parent_id)
    model: str = parents[0].name
    choice = version_key_choice(new.name)
    there = writer.fetch_for_update(
        select(_V.id, _V.version.label("key"), _V.title, _V.namespace, _V.creation).where(
            _V.registry == operation.registry, _V.model == model, _V.version.in_(sorted(set(choice)))
        )
    )
    if own := _own(there, operation):
        return own
    key = _free_key(choice, there, operation)
    _refuse_external_id(writer, model_versions, operation)
    nothing = {"object_name": "", "uid": "", "uri": "", "phase": "", "hardware_profile": "", "digest": None}
    values = _recorded_values(operation) | nothing
    values |= {"model_id": new.parent_id, "model": model, "version": key, "state": "RECORDED", "spec": "{}"}
    values = check_values(model_versions, values, f"version {new.name[:80]!r}")
    writer.insert_numbered(model_versions, [values], [None])
    found = writer.fetch(select(_V.id).where(_V.registry == operation.registry, _V.model == model, _V.version == key))
    return _recorded(writer, operation, "version", found[0].id, key=key, model=model)


def create_entry(writer: Writer, operation: CreateEntry) -> int:
    new, parent_kind = operation.entry, ""
    if new.parent_id is not None:
        parent_kind = require_parent(writer, operation.registry, new.parent_id)
    # The same metric is recorded many times: each record has a slot of its own.
    slot = operation.creation if new.kind == "metric_record" else ""
    key: tuple[ColumnElement[bool], ...] = (
        _E.registry == operation.registry,
        _E.kind == new.kind,
        _E.parent_id == (new.parent_id or 0),
        _E.name == new.name,
        _E.slot == slot,
    )
    columns = select(_E.id, _E.name.label("key"), _E.name.label("title"), _E.namespace, _E.creation)
    there = writer.fetch_for_update(columns.where(*key))
    if own := _own(there, operation):
        return own
    if there:
        raise _exists(operation)
    _refuse_external_id(writer, entries, operation)
    values = _recorded_values(operation)
    del values["archived_at"]
    del values["title"]
    values |= {
        "kind": new.kind,
        "parent_id": new.parent_id or 0,
        "name": new.name,
        "slot": slot,
        "state": values.pop("recorded_state"),
    }
    values = check_values(entries, values, f"{new.kind} {new.name[:80]!r}")
    id_ = _recorded(writer, operation, "entry", _inserted(writer, values, key))
    if new.kind == "metric" and parent_kind == "experiment_run":
        create_entry(writer, replace(operation, entry=record_of(new)))
    return id_


def _inserted(writer: Writer, values: RowValues, key: tuple[ColumnElement[bool], ...]) -> int:
    """The id of a new row of the table of entries."""
    if writer.connection.dialect.name == "sqlite":
        highest = writer.connection.scalar(select(func.max(_E.id)))
        values["id"] = max(FIRST_RECORDED_ID, (highest or 0) + 1)
    writer.insert(entries, [values])
    return int(writer.fetch(select(_E.id).where(*key))[0].id)


def record_of(metric: NewEntry) -> NewEntry:
    """The record of a metric's value in the history of its run. A record has no external id of its own."""
    return NewEntry(
        kind="metric_record",
        namespace=metric.namespace,
        name=metric.name,
        parent_id=metric.parent_id,
        state=metric.state,
        members=metric.members,
        properties=metric.properties,
    )


def _recorded_values(operation: CreateEntry) -> RowValues:
    new, at = operation.entry, operation.at
    return {
        "registry": operation.registry,
        "namespace": new.namespace,
        "title": new.name,
        "external_id": new.external_id,
        "recorded_state": new.state,
        "members": dump_members(new.members),
        "properties": dump_properties(new.properties),
        "created_at": at,
        "updated_at": at,
        "archived_at": None,
        "creation": operation.creation,
    }


def _recorded(
    writer: Writer, operation: CreateEntry, subject: Subject, id_: int, *, key: str = "", model: str = ""
) -> int:
    """Completes a new row: its properties for filters, and its audit record."""
    limit = LARGEST_ID if subject == "entry" else FIRST_RECORDED_ID - 1
    if id_ > limit:
        raise IdsExhausted(
            reason="IdsExhausted",
            message=f"The new {operation.entry.kind} would have the id {id_}, expected at most {limit}",
            remedy="Use another database for new entries.",
        )
    new = operation.entry
    rows = [
        *property_rows(subject, id_, custom=False, values=new.members),
        *property_rows(subject, id_, custom=True, values=new.properties),
    ]
    writer.insert(entry_properties, rows)
    if new.kind in AUDITED:
        after = {"name": new.name, "state": new.state, "externalId": new.external_id} | plain(
            new.members, new.properties
        )
        fact = FactChange(
            at=operation.at,
            actor=operation.actor,
            kind=AUDITED[new.kind],
            namespace=new.namespace,
            name=key,
            model=model or key,
            version=key if subject == "version" else None,
            reason="Recorded",
            message="a client recorded the entry",
            after=after,
        )
        writer.record_audit(operation.registry, [fact_document(fact)])
    return id_


def _own(there: Sequence[StoredRow], operation: CreateEntry) -> int:
    """The id of the row that an earlier run of the same creation made; 0 without one."""
    return next((row.id for row in there if row.creation == operation.creation), 0)


def _free_key(choice: KeyChoice, there: Sequence[StoredRow], operation: CreateEntry) -> str:
    taken = {row.key: row for row in there}
    for row in there:
        if row.title in {operation.entry.name, None}:
            raise _exists(operation)
    if choice.plain not in taken:
        return choice.plain
    if choice.other in taken:
        raise _exists(operation)
    return choice.other


def _refuse_external_id(writer: Writer, table: Table, operation: CreateEntry) -> None:
    if operation.entry.external_id is not None:
        require_free(writer, table, operation.registry, operation.entry.kind, external_id=operation.entry.external_id)


def _exists(operation: CreateEntry) -> EntryExists:
    return EntryExists(
        reason="NameTaken",
        message=f"A {words(operation.entry.kind)} with the name {operation.entry.name[:80]!r} already exists",
        remedy="Choose another name, or change the existing entry.",
    )
