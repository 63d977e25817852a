"""Writes of entries: a client records one, or changes one.

A creation that runs twice, because the answer to its commit was lost, recognises its own row by a random word. Of two
clients that create one name at once, one finds the row of the other. No write makes an entry governed, and none touches
what Gatehouse decides on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Self, TypeVar

from sqlalchemy import ColumnElement, Table, delete, func, select

from gatehouse.domain.audit.records import FactChange, fact_document
from gatehouse.domain.common.errors import ReconcileError, Stalled
from gatehouse.domain.entries.entry import FIRST_RECORDED_ID, LARGEST_ID, Entry, EntryKind, NewEntry
from gatehouse.domain.entries.names import KeyChoice, model_key_choice, version_key_choice
from gatehouse.domain.entries.observed import is_observed, own_members, own_properties
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.entries.refusals import EntryExists, EntryGoverned, EntryMissing, ParentMissing
from gatehouse.domain.query.scopes import Scope
from gatehouse.registry.entry_mappers import (
    EntryRow,
    dump_members,
    dump_properties,
    entry_of,
    load_members,
    load_properties,
    property_rows,
)
from gatehouse.registry.entry_pages import readable
from gatehouse.registry.entry_sources import EntrySource, Subject, service_of_version, sources_of
from gatehouse.registry.mappers import RowValues, check_values
from gatehouse.registry.operations import LARGEST_FACT, Write
from gatehouse.registry.tables import entries, entry_properties, model_versions, registered_models
from gatehouse.registry.writer import StoredRow, Writer

__all__ = ["CreateEntry", "EntryChange", "UpdateEntry"]

_M, _V, _E, _P = registered_models.c, model_versions.c, entries.c, entry_properties.c
_TABLES: Final[Mapping[Subject, Table]] = {"model": registered_models, "version": model_versions, "entry": entries}
_AUDITED: Final[Mapping[EntryKind, str]] = {"registered_model": "RegisteredModel", "model_version": "ModelVersion"}
_Op = TypeVar("_Op")
_MEASURED: Final = ("value", "step", "timestamp")
"""The members of a metric of which the history keeps every value."""
_STEP: Final = timedelta(milliseconds=1)
"""Clients read times in milliseconds, and every update must show."""


class _IdsExhausted(Stalled):
    """Known only after the insert: the transaction must not be committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChange:
    """What a client changes of an entry. What is None stays.

    Members replace those of the same names, None takes one away; ``properties`` replaces all properties. ``parent_id``
    attaches an entry that has no parent. ``declared_state`` is the state that the client has just declared in the
    entry's object: the row follows the object, and the audit trail names who declared the state.
    """

    external_id: str | None = None
    state: str | None = None
    declared_state: str | None = None
    members: Mapping[str, Any] | None = None
    properties: Mapping[str, Property] | None = None
    parent_id: int | None = None


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
        return [_settled(_create, writer, operation) for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateEntry(Write[Entry]):
    """Changes an entry of one of the kinds. ``creation`` is a random word for what the change records besides."""

    turn: ClassVar[int] = 1

    registry: str
    kinds: tuple[EntryKind, ...]
    id: int
    change: EntryChange
    namespaces: Scope
    actor: str
    at: datetime
    creation: str

    @property
    def weight(self) -> int:
        change = self.change
        return LARGEST_FACT + len(dump_members(change.members or {})) + len(dump_properties(change.properties or {}))

    @property
    def order(self) -> tuple[str, ...]:
        return ("change", self.registry, *self.kinds, str(self.id))

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[Entry | ReconcileError]:
        return [_settled(_update, writer, operation) for operation in batch]


def _settled(act: Callable[[Writer, _Op], Entry], writer: Writer, operation: _Op) -> Entry | ReconcileError:
    """The result, or the refusal. Every refusal but one comes before the first statement that writes."""
    try:
        return act(writer, operation)
    except _IdsExhausted:
        raise
    except Stalled as refusal:
        return refusal


# Creating


def _create(writer: Writer, operation: CreateEntry) -> Entry:
    subject: Subject
    match operation.entry.kind:
        case "registered_model":
            subject, id_ = "model", _create_model(writer, operation)
        case "model_version":
            subject, id_ = "version", _create_version(writer, operation)
        case _:
            subject, id_ = "entry", _create_entry(writer, operation)
    return _read_back(writer, operation.registry, operation.entry.kind, subject, id_)


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
        raise _no_parent(operation, "registered_model")
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


def _create_entry(writer: Writer, operation: CreateEntry) -> int:
    new, parent_kind = operation.entry, ""
    if new.parent_id is not None:
        parent_kind = _require_parent(writer, operation.registry, new.parent_id, operation)
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
        _create_entry(writer, replace(operation, entry=_record_of(new)))
    return id_


def _inserted(writer: Writer, values: RowValues, key: tuple[ColumnElement[bool], ...]) -> int:
    """The id of a new row of the table of entries."""
    if writer.connection.dialect.name == "sqlite":
        highest = writer.connection.scalar(select(func.max(_E.id)))
        values["id"] = max(FIRST_RECORDED_ID, (highest or 0) + 1)
    writer.insert(entries, [values])
    return int(writer.fetch(select(_E.id).where(*key))[0].id)


def _record_of(metric: NewEntry) -> NewEntry:
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
        raise _IdsExhausted(
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
    if new.kind in _AUDITED:
        after = {"name": new.name, "state": new.state, "externalId": new.external_id} | _plain(
            new.members, new.properties
        )
        fact = FactChange(
            at=operation.at,
            actor=operation.actor,
            kind=_AUDITED[new.kind],
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
        _require_free(writer, table, operation.registry, operation.entry.kind, external_id=operation.entry.external_id)


def _require_free(
    writer: Writer, table: Table, registry: str, kind: EntryKind, *, external_id: str, besides: int = 0
) -> None:
    """Raises EntryExists if another entry of the kind has the external id."""
    taken = select(table.c.id, table.c.namespace).where(
        table.c.registry == registry, table.c.external_id == external_id, table.c.id != besides
    )
    if table is entries:
        taken = taken.where(_E.kind == kind)
    rows = writer.fetch(taken)
    if rows:
        raise EntryExists(
            reason="NameTaken",
            message=f"A {_words(kind)} with the external id {external_id[:80]!r} already exists",
            remedy="Choose another external id, or change the existing entry.",
        )


def _exists(operation: CreateEntry) -> EntryExists:
    return EntryExists(
        reason="NameTaken",
        message=f"A {_words(operation.entry.kind)} with the name {operation.entry.name[:80]!r} already exists",
        remedy="Choose another name, or change the existing entry.",
    )


def _require_parent(writer: Writer, registry: str, parent_id: int, operation: CreateEntry | UpdateEntry) -> str:
    """The kind of the parent. Raises ParentMissing if no version and no other entry has the id."""
    if parent_id < FIRST_RECORDED_ID:
        if not writer.fetch(select(_V.id).where(_V.registry == registry, _V.id == parent_id)):
            raise _no_parent(operation, "model_version", parent_id)
        return "model_version"
    found = writer.fetch(select(_E.kind).where(_E.registry == registry, _E.id == parent_id))
    if not found:
        raise _no_parent(operation, "entry", parent_id)
    return str(found[0].kind)


def _no_parent(operation: CreateEntry | UpdateEntry, what: str, parent_id: int | None = None) -> ParentMissing:
    asked = operation.entry.parent_id if isinstance(operation, CreateEntry) else parent_id
    return ParentMissing(
        reason="ParentMissing",
        message=f"The {what.replace('_', ' ')} with the id {asked} was not found",
        remedy="Create the parent first, and use its id.",
    )


def _words(kind: EntryKind) -> str:
    return kind.replace("_", " ")


# Changing


def _update(writer: Writer, operation: UpdateEntry) -> Entry:
    if operation.kinds == ("inference_service",) and operation.id < FIRST_RECORDED_ID:
        running = replace(operation, id=_running(writer, operation))
        return replace(_update(writer, running), id=operation.id)
    source, row = _locked(writer, operation)
    entry = entry_of(row)
    change = operation.change
    if is_observed(entry):
        change = _beside_the_cluster(entry, change)
    elif entry.governed is not None and change.state not in {None, entry.state}:
        raise EntryGoverned(
            reason="EntryGoverned",
            message=f"The state of {_words(entry.kind)} {entry.name[:80]!r} is {entry.state}, as its object "
            f"{entry.namespace}/{entry.governed.object_name} declares",
            remedy="Change spec.state of the object.",
        )
    if source.subject is None:
        return _materialise(writer, operation, entry)
    members, properties = load_members(row.members), load_properties(row.properties)
    values: RowValues = {"id": entry.id, "updated_at": max(operation.at, entry.updated_at + _STEP)}
    table = _TABLES[source.subject]
    if change.members is not None:
        members = _merged(members, change.members)
        values["members"] = dump_members(members)
    if change.properties is not None:
        properties = dict(change.properties)
        values["properties"] = dump_properties(properties)
    if change.state is not None and entry.governed is None:
        values["state" if table is entries else "recorded_state"] = change.state
    if change.external_id is not None and change.external_id != entry.external_id:
        _require_free(writer, table, operation.registry, entry.kind, external_id=change.external_id, besides=entry.id)
        values["external_id"] = change.external_id
    if change.parent_id is not None and change.parent_id != entry.parent_id:
        values["parent_id"] = _attached(writer, operation, entry, change.parent_id)
    values = check_values(table, values, f"{_words(entry.kind)} {entry.name[:80]!r}")
    writer.update(table, [values])
    if change.members is not None:
        _replace_properties(writer, source.subject, entry.id, custom=False, values=members)
    if change.properties is not None:
        _replace_properties(writer, source.subject, entry.id, custom=True, values=properties)
    _audit_change(writer, operation, entry, row)
    changed = _read_back(writer, operation.registry, entry.kind, source.subject, entry.id)
    _record_metric(writer, operation, before=entry, after=changed)
    return changed


def _running(writer: Writer, operation: UpdateEntry) -> int:
    """The id of the service that stands for a version."""
    found = writer.fetch(service_of_version(operation.registry, operation.id))
    if not found:
        raise EntryGoverned(
            reason="EntryGoverned",
            message=f"No service runs the model version {operation.id}, so nothing can be recorded about its service",
            remedy="Deploy the version first.",
        )
    return int(found[0].id)


def _beside_the_cluster(entry: Entry, change: EntryChange) -> EntryChange:
    """A change without what the cluster shows already. Raises EntryGoverned for another version or runtime."""
    facts = {name: value for name, value in entry.members.items() if name not in own_members(entry.members)}
    wanted = change.members or {}
    for name in facts.keys() & wanted.keys():
        if wanted[name] != facts[name]:
            raise EntryGoverned(
                reason="EntryGoverned",
                message=f"{name} of {_words(entry.kind)} {entry.name[:80]!r} is {facts[name]!r}, as the cluster shows",
                remedy="Change the InferenceService.",
            )
    shown = {name: value for name, value in entry.properties.items() if name not in own_properties(entry.properties)}
    properties = None if change.properties is None else own_properties(change.properties) | shown
    return replace(change, state=None, properties=properties)


def _record_metric(writer: Writer, operation: UpdateEntry, *, before: Entry, after: Entry) -> None:
    """Keeps the new value of an experiment run's metric in the history of the run."""
    if after.kind != "metric" or after.parent_id is None:
        return
    same = all(before.members.get(name) == after.members.get(name) for name in _MEASURED)
    if same and before.parent_id == after.parent_id:
        return
    if _require_parent(writer, operation.registry, after.parent_id, operation) != "experiment_run":
        return
    creation = CreateEntry(
        registry=operation.registry,
        entry=_record_of(after),
        actor=operation.actor,
        at=operation.at,
        creation=operation.creation,
    )
    _create_entry(writer, creation)


def _locked(writer: Writer, operation: UpdateEntry) -> tuple[EntrySource, EntryRow]:
    """The row, locked against other changes. A recorded artifact comes before one that is derived."""
    for source in sources_of(operation.registry, operation.kinds):
        statement = source.rows().where(source.columns["id"] == operation.id)
        statement = statement.where(*readable(source, operation.namespaces))
        rows = writer.connection.execute(statement.with_for_update()).all()
        if rows:
            return source, rows[0]
    raise EntryMissing(
        reason="EntryMissing",
        message=f"The {' or '.join(map(_words, operation.kinds))} with the id {operation.id} was not found",
        remedy="List the entries to find the id.",
    )


def _materialise(writer: Writer, operation: UpdateEntry, entry: Entry) -> Entry:
    """Records the derived artifact of a governed version, under the same id, so that a client's properties have a row.

    The URI is that of the version's object and stays.
    """
    change = operation.change
    uri = entry.members.get("uri")
    if change.members is not None and change.members.get("uri", uri) != uri:
        raise EntryGoverned(
            reason="EntryGoverned",
            message=f"The artifact of version {entry.key!r} is verified at {uri}, not at "
            f"{str(change.members['uri'])[:200]!r}",
            remedy="Register the other artifact as a new version.",
        )
    if change.external_id is not None:
        _require_free(writer, entries, operation.registry, entry.kind, external_id=change.external_id)
    members, properties = _merged(entry.members, change.members or {}), dict(change.properties or {})
    values = check_values(
        entries,
        {
            "id": entry.id,
            "registry": operation.registry,
            "kind": entry.kind,
            "parent_id": entry.parent_id,
            "name": entry.name,
            "slot": "",
            "namespace": entry.namespace,
            "external_id": change.external_id,
            "state": entry.state,
            "members": dump_members(members),
            "properties": dump_properties(properties),
            "created_at": entry.created_at,
            "updated_at": max(operation.at, entry.updated_at + _STEP),
            "creation": "",
        },
        f"model artifact {entry.name[:80]!r}",
    )
    writer.insert(entries, [values])
    writer.insert(
        entry_properties,
        [
            *property_rows("entry", entry.id, custom=False, values=members),
            *property_rows("entry", entry.id, custom=True, values=properties),
        ],
    )
    return _read_back(writer, operation.registry, entry.kind, "entry", entry.id)


def _attached(writer: Writer, operation: UpdateEntry, entry: Entry, parent_id: int) -> int:
    if entry.kind in _AUDITED or entry.parent_id is not None:
        raise EntryExists(
            reason="ParentFixed",
            message=f"The {_words(entry.kind)} {entry.name[:80]!r} belongs to the parent with the id {entry.parent_id}",
            remedy="Create another entry for the other parent.",
        )
    _require_parent(writer, operation.registry, parent_id, operation)
    same = select(_E.id).where(
        _E.registry == operation.registry, _E.kind == entry.kind, _E.parent_id == parent_id, _E.name == entry.name
    )
    if writer.fetch(same):
        raise EntryExists(
            reason="NameTaken",
            message=f"A {_words(entry.kind)} with the name {entry.name[:80]!r} already exists at the parent",
            remedy="Create the entry under another name.",
        )
    return parent_id


def _merged(members: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **change}.items() if value is not None}


def _replace_properties(writer: Writer, subject: Subject, id_: int, *, custom: bool, values: Mapping[str, Any]) -> None:
    writer.connection.execute(
        delete(entry_properties).where(_P.subject == subject, _P.entry_id == id_, _P.custom == int(custom))
    )
    writer.insert(entry_properties, list(property_rows(subject, id_, custom=custom, values=values)))


def _audit_change(writer: Writer, operation: UpdateEntry, entry: Entry, row: EntryRow) -> None:
    """One record of what differs; none where nothing does."""
    if entry.kind not in _AUDITED:
        return
    change = operation.change
    old_members, old_properties = load_members(row.members), load_properties(row.properties)
    members = old_members if change.members is None else _merged(old_members, change.members)
    properties = old_properties if change.properties is None else change.properties
    before = {"state": entry.state, "externalId": entry.external_id} | _plain(old_members, old_properties)
    after = {
        "state": change.declared_state or change.state or entry.state,
        "externalId": change.external_id or entry.external_id,
    } | _plain(members, properties)
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    if not names:
        return
    is_version = entry.kind == "model_version"
    fact = FactChange(
        at=operation.at,
        actor=operation.actor,
        kind=_AUDITED[entry.kind],
        namespace=entry.namespace,
        name=(entry.governed.object_name if entry.governed else "") or entry.key,
        model=entry.parent_key if is_version else entry.key,
        version=entry.key if is_version else None,
        reason="RecordChanged",
        message=f"a client changed: {', '.join(names)}"[:500],
        before={name: before[name] for name in names if name in before},
        after={name: after[name] for name in names if name in after},
    )
    writer.record_audit(operation.registry, [fact_document(fact)])


def _plain(members: Mapping[str, Any], properties: Mapping[str, Property]) -> dict[str, Any]:
    """Members and properties in the words of an audit record; long or deep values are texts there."""
    texts = {
        name: value if isinstance(value, str) else dump_members({"": value})[4:-1] for name, value in members.items()
    }
    return texts | {f"customProperties.{name}": value.value for name, value in properties.items()}


def _read_back(writer: Writer, registry: str, kind: EntryKind, subject: Subject, id_: int) -> Entry:
    (source,) = [source for source in sources_of(registry, (kind,)) if source.subject == subject]
    row = writer.connection.execute(source.rows().where(source.columns["id"] == id_)).one()
    return entry_of(row)
