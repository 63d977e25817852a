"""Entries as rows: their members and properties as JSON, and what a spec says in the words of the clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final, TypeAlias, cast

import orjson
from sqlalchemy import Row

from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.entries.entry import Entry, EntryKind, Governed
from gatehouse.domain.entries.properties import PROPERTY_TYPES, Property
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.registry.entry_sources import Subject
from gatehouse.registry.mappers import RowValues

__all__ = [
    "EntryRow",
    "dump_members",
    "dump_properties",
    "entries_of",
    "entry_of",
    "load_members",
    "load_properties",
    "property_rows",
]

EntryRow: TypeAlias = "Row[*tuple[Any, ...]]"
"""A row with ``ROW_COLUMNS``, or with those that are no constants of its source."""

_TYPES: Final = frozenset(PROPERTY_TYPES)
_COMPARED: Final = frozenset({"string", "int", "double", "bool"})
_LONGEST_PROPERTY: Final = 255
_NO_CONSTANTS: Final[Mapping[str, Any]] = {}


def dump_members(members: Mapping[str, Any]) -> str:
    """JSON text.

    Raises:
        Stalled: RowRejected, JSON cannot hold a value.
    """
    try:
        return orjson.dumps(dict(members), option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as error:
        raise _rejected(f"its members cannot be written as JSON: {error}") from None


def load_members(text: str | None) -> dict[str, Any]:
    """The members that :func:`dump_members` wrote."""
    return cast("dict[str, Any]", orjson.loads(text)) if text else {}


def dump_properties(properties: Mapping[str, Property]) -> str:
    """JSON text.

    Raises:
        Stalled: RowRejected, a name or a value does not fit.
    """
    for name in properties:
        if not 0 < len(name) <= _LONGEST_PROPERTY:
            raise _rejected(
                f"the property {name[:40]!r} has a name of {len(name)} characters, expected 1 to {_LONGEST_PROPERTY}"
            )
    try:
        return orjson.dumps({name: _dumped(property_) for name, property_ in properties.items()}).decode()
    except TypeError as error:
        raise _rejected(f"its properties cannot be written as JSON: {error}") from None


def load_properties(text: str | None) -> dict[str, Property]:
    """The properties that :func:`dump_properties` wrote."""
    kept: Mapping[str, list[Any]] = orjson.loads(text) if text else {}
    return {name: _property(*parts) for name, parts in kept.items()}


def property_rows(subject: Subject, entry_id: int, *, custom: bool, values: Mapping[str, Any]) -> Iterator[RowValues]:
    """The rows by which filters find an entry: of custom properties, or of members that are one text or number."""
    for name, value in values.items():
        kind, plain = (value.type, value.value) if isinstance(value, Property) else (_type_of(value), value)
        if kind not in _COMPARED or len(name) > _LONGEST_PROPERTY:
            continue
        yield {
            "subject": subject,
            "entry_id": entry_id,
            "custom": int(custom),
            "name": name,
            "type": kind,
            "text": plain if kind == "string" else None,
            "number": None if kind == "string" else float(plain),
        }


def entry_of(row: EntryRow, *, constants: Mapping[str, Any] = _NO_CONSTANTS) -> Entry:
    """The entry of a row. ``constants`` are the values that the statement left out.

    Raises:
        Stalled: RowUnreadable, naming the row.
    """
    (entry,) = entries_of([row], constants=constants)
    return entry


def entries_of(rows: Sequence[EntryRow], *, constants: Mapping[str, Any]) -> list[Entry]:
    """The entries of rows of one statement. Raises as :func:`entry_of`."""
    names = (*rows[0]._fields, *constants) if rows else ()
    same = tuple(constants.values())
    return [_readable_entry(dict(zip(names, (*row, *same), strict=True))) for row in rows]


def _readable_entry(kept: Mapping[str, Any]) -> Entry:
    try:
        return _entry(kept)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Stalled(
            reason="RowUnreadable",
            message=f"Row {kept['id']} of {kept['kind']} {kept['name']!r} does not decode: "
            f"{type(error).__name__}: {str(error)[:200]}",
            remedy="Restore the row from a backup.",
        ) from None


def _entry(kept: Mapping[str, Any]) -> Entry:
    kind: EntryKind = kept["kind"]
    own_members, own_properties = load_members(kept["members"]), load_properties(kept["properties"])
    members, properties = own_members, own_properties
    governed = None
    if kept["row_state"] == "OBSERVED":
        governed = Governed(object_name=kept["object_name"].partition("/")[0])
    elif kept["row_state"] != "RECORDED":
        spec = orjson.loads(kept["spec"])
        members = own_members | _unless_written(_SPEC_MEMBERS[kind](kept, spec), own_members)
        properties = _spec_properties(kind, spec) | own_properties
        governed = _governed(kept)
    return Entry(
        kind=kind,
        namespace=kept["namespace"],
        name=kept["name"] or kept["key"],
        external_id=kept["external_id"],
        parent_id=kept["parent_id"] or None,
        state=kept["state"] or "",
        members=members,
        properties=properties,
        id=kept["id"],
        key=kept["key"] or "",
        parent_key=kept["parent_key"] or "",
        created_at=kept["created_at"],
        updated_at=kept["updated_at"],
        governed=governed,
    )


def _governed(kept: Mapping[str, Any]) -> Governed:
    archived = kept["row_state"] == "ARCHIVED"
    shown = ShownDecision() if archived else ShownDecision.parse(kept["shown"])
    return Governed(
        object_name=kept["object_name"] or kept["key"] or "",
        phase=kept["phase"] or "",
        digest=kept["digest"] or "",
        cleared_for=shown.cleared_for,
        hardware_profile=kept["hardware_profile"] or "",
        fit=shown.fit,
        blocked_by=shown.blocked_by,
        uri=kept["uri"] or "",
        estimate=shown.estimate,
        measured=shown.measured,
    )


def _unless_written(said: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a spec says, without what a client wrote itself. The URI is always that of the object."""
    return {name: value for name, value in said.items() if name == "uri" or _type_of(own.get(name)) not in _COMPARED}


def _model_members(_kept: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    owners = spec.get("owners") or []
    said = {
        "description": spec.get("description"),
        "owner": owners[0] if owners else None,
        "provider": spec.get("provider"),
        "license": spec.get("license"),
        "language": spec.get("languages") or None,
        "tasks": spec.get("tasks") or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _version_members(_kept: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    said = {"description": spec.get("description"), "author": spec.get("submittedBy")}
    return {name: value for name, value in said.items() if value is not None}


def _artifact_members(kept: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    said = {"uri": kept["uri"], "modelFormatName": (spec.get("artifact") or {}).get("format")}
    return {name: value for name, value in said.items() if value is not None}


_SPEC_MEMBERS: Final[Mapping[EntryKind, Any]] = {
    "registered_model": _model_members,
    "model_version": _version_members,
    "model_artifact": _artifact_members,
}


def _spec_properties(kind: EntryKind, spec: Mapping[str, Any]) -> dict[str, Property]:
    member = {"registered_model": "tags", "model_version": "customProperties"}.get(kind)
    said = spec.get(member) or {} if member else {}
    return {name: Property("string", value) for name, value in said.items()}


def _dumped(property_: Property) -> list[Any]:
    if isinstance(property_.value, float) and not isfinite(property_.value):
        raise TypeError(f"{property_.value} is no number of JSON")
    parts = [property_.type, property_.value]
    return [*parts, property_.proto_type] if property_.proto_type else parts


def _property(kind: Any, value: Any, proto_type: str = "") -> Property:
    if kind not in _TYPES:
        raise ValueError(f"a property has the type {kind!r}, expected one of {', '.join(PROPERTY_TYPES)}")
    return Property(kind, float(value) if kind == "double" else value, proto_type)


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case _:
            return ""


def _rejected(fault: str) -> Stalled:
    return Stalled(reason="RowRejected", message=f"The entry cannot be kept: {fault}", remedy="Change the value.")
