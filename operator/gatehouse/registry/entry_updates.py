"""Changes entries. No change makes an entry governed, and none touches what Gatehouse decides on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Self

from sqlalchemy import Table, delete, select

from gatehouse.domain.audit.records import FactChange, fact_document
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.entries.entry import FIRST_RECORDED_ID, Entry, EntryKind
from gatehouse.domain.entries.observed import is_observed, own_members, own_properties
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.entries.refusals import EntryExists, EntryGoverned, EntryMissing
from gatehouse.domain.query.scopes import Scope
from gatehouse.registry.entry_checks import (
    AUDITED,
    plain,
    read_back,
    require_free,
    require_parent,
    settled,
    words,
)
from gatehouse.registry.entry_creations import CreateEntry, create_entry, record_of
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
from gatehouse.registry.writer import Writer

__all__ = ["EntryChange", "UpdateEntry"]

_E, _P = entries.c, entry_properties.c
_TABLES: Final[Mapping[Subject, Table]] = {"model": registered_models, "version": model_versions, "entry": entries}
_MEASURED: Final = ("value", "step", "timestamp")
"""The members of a metric of which the history keeps every value."""
_STEP: Final = timedelta(milliseconds=1)
"""Clients read times in milliseconds, and every update must show."""


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
        return [settled(_update, writer, operation) for operation in batch]


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
            message=f"The state of {words(entry.kind)} {entry.name[:80]!r} is {entry.state}, as its object "
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
        require_free(writer, table, operation.registry, entry.kind, external_id=change.external_id, besides=entry.id)
        values["external_id"] = change.external_id
    if change.parent_id is not None and change.parent_id != entry.parent_id:
        values["parent_id"] = _attached(writer, operation, entry, change.parent_id)
    values = check_values(table, values, f"{words(entry.kind)} {entry.name[:80]!r}")
    writer.update(table, [values])
    if change.members is not None:
        _replace_properties(writer, source.subject, entry.id, custom=False, values=members)
    if change.properties is not None:
        _replace_properties(writer, source.subject, entry.id, custom=True, values=properties)
    _audit_change(writer, operation, entry, row)
    changed = read_back(writer, operation.registry, entry.kind, source.subject, entry.id)
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
                message=f"{name} of {words(entry.kind)} {entry.name[:80]!r} is {facts[name]!r}, as the cluster shows",
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
    if require_parent(writer, operation.registry, after.parent_id) != "experiment_run":
        return
    creation = CreateEntry(
        registry=operation.registry,
        entry=record_of(after),
        actor=operation.actor,
        at=operation.at,
        creation=operation.creation,
    )
    create_entry(writer, creation)


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
        message=f"The {' or '.join(map(words, operation.kinds))} with the id {operation.id} was not found",
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
        require_free(writer, entries, operation.registry, entry.kind, external_id=change.external_id)
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
    return read_back(writer, operation.registry, entry.kind, "entry", entry.id)


def _attached(writer: Writer, operation: UpdateEntry, entry: Entry, parent_id: int) -> int:
    if entry.kind in AUDITED or entry.parent_id is not None:
        raise EntryExists(
            reason="ParentFixed",
            message=f"The {words(entry.kind)} {entry.name[:80]!r} belongs to the parent with the id {entry.parent_id}",
            remedy="Create another entry for the other parent.",
        )
    require_parent(writer, operation.registry, parent_id)
    same = select(_E.id).where(
        _E.registry == operation.registry, _E.kind == entry.kind, _E.parent_id == parent_id, _E.name == entry.name
    )
    if writer.fetch(same):
        raise EntryExists(
            reason="NameTaken",
            message=f"A {words(entry.kind)} with the name {entry.name[:80]!r} already exists at the parent",
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
    if entry.kind not in AUDITED:
        return
    change = operation.change
    old_members, old_properties = load_members(row.members), load_properties(row.properties)
    members = old_members if change.members is None else _merged(old_members, change.members)
    properties = old_properties if change.properties is None else change.properties
    before = {"state": entry.state, "externalId": entry.external_id} | plain(old_members, old_properties)
    after = {
        "state": change.declared_state or change.state or entry.state,
        "externalId": change.external_id or entry.external_id,
    } | plain(members, properties)
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    if not names:
        return
    is_version = entry.kind == "model_version"
    fact = FactChange(
        at=operation.at,
        actor=operation.actor,
        kind=AUDITED[entry.kind],
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
