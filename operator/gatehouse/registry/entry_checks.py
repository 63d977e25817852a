"""What the writes of entries share: their refusals, what the trail records of them, and how a row is read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import Table, select

from gatehouse.domain.common.errors import ReconcileError, Stalled
from gatehouse.domain.entries.entry import FIRST_RECORDED_ID, Entry, EntryKind
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.entries.refusals import EntryExists, ParentMissing
from gatehouse.registry.entry_mappers import (
    dump_members,
    entry_of,
)
from gatehouse.registry.entry_sources import Subject, sources_of
from gatehouse.registry.tables import entries, model_versions
from gatehouse.registry.writer import Writer

__all__ = [
    "AUDITED",
    "IdsExhausted",
    "no_parent",
    "plain",
    "read_back",
    "require_free",
    "require_parent",
    "settled",
    "words",
]

_V, _E = model_versions.c, entries.c
AUDITED: Final[Mapping[EntryKind, str]] = {"registered_model": "RegisteredModel", "model_version": "ModelVersion"}
"""The kinds whose entries the trail records."""
_Op = TypeVar("_Op")


class IdsExhausted(Stalled):
    """Known only after the insert: the transaction must not be committed."""


def settled(act: Callable[[Writer, _Op], Entry], writer: Writer, operation: _Op) -> Entry | ReconcileError:
    """The result, or the refusal. Every refusal but one comes before the first statement that writes."""
    try:
        return act(writer, operation)
    except IdsExhausted:
        raise
    except Stalled as refusal:
        return refusal


def require_free(
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
            message=f"A {words(kind)} with the external id {external_id[:80]!r} already exists",
            remedy="Choose another external id, or change the existing entry.",
        )


def require_parent(writer: Writer, registry: str, parent_id: int) -> str:
    """The kind of the parent. Raises ParentMissing if no version and no other entry has the id."""
    if parent_id < FIRST_RECORDED_ID:
        if not writer.fetch(select(_V.id).where(_V.registry == registry, _V.id == parent_id)):
            raise no_parent("model_version", parent_id)
        return "model_version"
    found = writer.fetch(select(_E.kind).where(_E.registry == registry, _E.id == parent_id))
    if not found:
        raise no_parent("entry", parent_id)
    return str(found[0].kind)


def no_parent(what: str, parent_id: int | None) -> ParentMissing:
    """The refusal for a parent that does not exist."""
    return ParentMissing(
        reason="ParentMissing",
        message=f"The {what.replace('_', ' ')} with the id {parent_id} was not found",
        remedy="Create the parent first, and use its id.",
    )


def words(kind: EntryKind) -> str:
    """The kind as sentences name it."""
    return kind.replace("_", " ")


def plain(members: Mapping[str, Any], properties: Mapping[str, Property]) -> dict[str, Any]:
    """Members and properties in the words of an audit record; long or deep values are texts there."""
    texts = {
        name: value if isinstance(value, str) else dump_members({"": value})[4:-1] for name, value in members.items()
    }
    return texts | {f"customProperties.{name}": value.value for name, value in properties.items()}


def read_back(writer: Writer, registry: str, kind: EntryKind, subject: Subject, id_: int) -> Entry:
    """The entry as it stands now in the transaction."""
    (source,) = [source for source in sources_of(registry, (kind,)) if source.subject == subject]
    row = writer.connection.execute(source.rows().where(source.columns["id"] == id_)).one()
    return entry_of(row)
