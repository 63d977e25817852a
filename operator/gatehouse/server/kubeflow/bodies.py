"""Bodies of requests: strict JSON, read by the declarations of `resources` into values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gatehouse.domain.common.bounded_json import JsonValue, loads
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.entries.custom_properties import CustomPropertyError, read_custom_properties
from gatehouse.domain.entries.entry import Entry, NewEntry
from gatehouse.domain.entries.governed_properties import (
    REQUESTS,
    ReservedPropertyError,
    governed_properties,
    refuse_reserved,
    sort_properties,
)
from gatehouse.domain.entries.properties import Property
from gatehouse.server.errors import BadRequest, Conflict, RequestError
from gatehouse.server.kubeflow.errors import required_missing
from gatehouse.server.kubeflow.members import ApiVersion, BodyForm, Member, read_member
from gatehouse.server.kubeflow.resources import RestResource, artifact_of_type

__all__ = ["LARGEST_BODY", "EntryBody", "check_artifact_type", "new_entry", "read_body", "updated_entry"]

LARGEST_BODY: Final = 16_777_216
"""Bytes of a body, at most; the server's setting maxBody is the bound of a request."""
_DEEPEST: Final = 32
_MOST_ITEMS: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryBody:
    """What a client sent about one entry. A field that is None was not sent; ``members`` has only what was sent.

    An ``external_id`` without characters takes the external id away. ``id`` is that of an existing entry, which only
    an upsert can name.
    """

    resource: RestResource
    id: int | None = None
    name: str | None = None
    external_id: str | None = None
    parent_id: int | None = None
    state: str | None = None
    members: Mapping[str, JsonValue] = field(default_factory=dict)
    properties: Mapping[str, Property] | None = None


def read_body(data: bytes, *, form: BodyForm, resources: tuple[RestResource, ...], version: ApiVersion) -> EntryBody:
    """The entry of a body. Of several resources, the member ``artifactType`` chooses one.

    Raises RequestError: 422 for a required member that is missing or empty, and 400 for all
    else, with the texts that clients compare.
    """
    document = _document(data)
    resource = resources[0] if len(resources) == 1 else _chosen(document, resources)
    known = resource.of_body(form, version=version)
    for name in document:
        if name not in known:
            raise BadRequest(f"json: unknown field {_quoted(name)}")
    values = {
        name: _read(member, document[name], resource=resource, version=version)
        for name, member in known.items()
        if name in document and not _is_missing(member, document[name])
    }
    if form != "update":
        _check_required(known, values)
    return _body(resource, known, values, properties=_properties(document))


def new_entry(body: EntryBody, *, namespace: str, fallback_name: str, parent_id: int | None = None) -> NewEntry:
    """The entry that a body describes. ``parent_id`` is that of the path; ``fallback_name`` names a nameless entry.

    Raises BadRequest for a property that only Gatehouse writes.
    """
    resource = body.resource
    own = _own_properties(body.properties or {}, governed=False, shows={}, refusal=BadRequest)
    defaults = {
        member.name: member.default for member in resource.members if member.target == "members" and member.default
    }
    states = [member.default for member in resource.members if member.target == "state"]
    return NewEntry(
        kind=resource.kind,
        namespace=namespace,
        name=body.name if body.name is not None else fallback_name,
        external_id=body.external_id or None,
        parent_id=parent_id if parent_id is not None else body.parent_id,
        state=body.state or "".join(states),
        members={**defaults, **body.members},
        properties=own,
    )


def updated_entry(entry: Entry, body: EntryBody) -> Entry:
    """The entry after an update: what the body has replaces what the entry had, the properties as a whole.

    The name, the parent and the kind never change. Properties that Gatehouse shows may come back unchanged, and a
    client's requests for governing stay on an entry that is governed. Raises Conflict for a property that
    only Gatehouse writes and that differs from what the entry shows.
    """
    properties = entry.properties
    if body.properties is not None:
        governed = entry.governed is not None
        shows = {**entry.properties, **governed_properties(entry.governed)}
        kept = {name: entry.properties[name] for name in REQUESTS if governed and name in entry.properties}
        properties = {**kept, **_own_properties(body.properties, governed=governed, shows=shows, refusal=Conflict)}
    return replace(
        entry,
        external_id=entry.external_id if body.external_id is None else body.external_id or None,
        state=body.state or entry.state,
        members={**entry.members, **body.members},
        properties=properties,
    )


def check_artifact_type(existing: RestResource, body: EntryBody) -> None:
    """Refuses a body of another kind of artifact than the entry's. Raises BadRequest."""
    if body.resource.kind != existing.kind:
        raise _other_type(existing.artifact_type, body.resource.artifact_type)


def _document(data: bytes) -> dict[str, JsonValue]:
    try:
        document = loads(
            data,
            what="the body",
            max_bytes=LARGEST_BODY,
            max_depth=_DEEPEST,
            max_items=_MOST_ITEMS,
            constants=False,
        )
    except FormatError as error:
        raise BadRequest(
            f"the body is not valid: found {error.finding.found}; expected {error.finding.expected}"
        ) from None
    if not isinstance(document, dict):
        raise BadRequest(f"the body is {shown(document)}; expected a JSON object")
    return document


def _chosen(document: Mapping[str, JsonValue], resources: tuple[RestResource, ...]) -> RestResource:
    value = document.get("artifactType")
    chosen = artifact_of_type(value) if isinstance(value, str) else None
    if chosen is None or chosen not in resources:
        found = shown(value) if "artifactType" in document else "missing"
        types = ", ".join(resource.artifact_type for resource in resources)
        raise BadRequest(f"invalid artifact type: artifactType is {found}; expected one of {types}")
    return chosen


def _is_missing(member: Member, value: JsonValue) -> bool:
    """Whether a required member has no value: upstream takes null and an empty text for a member that is not there."""
    return member.required and value in (None, "")


def _read(member: Member, value: JsonValue, *, resource: RestResource, version: ApiVersion) -> JsonValue:
    if member.type == "artifact_type":
        if value != resource.artifact_type:
            if isinstance(value, str) and artifact_of_type(value) is not None:
                raise _other_type(resource.artifact_type, value)
            raise BadRequest(f"artifactType is {shown(value)}; expected {resource.artifact_type}")
        return value
    if member.type == "properties":
        return None
    if member.type == "time":
        if not isinstance(value, str) or "\0" in value:
            raise BadRequest(f"{member.name} is {shown(value)}; expected a text, which the registry sets itself")
        return value
    return read_member(member, value, version=version)


def _properties(document: Mapping[str, JsonValue]) -> Mapping[str, Property] | None:
    if "customProperties" not in document:
        return None
    try:
        return read_custom_properties(document["customProperties"])
    except CustomPropertyError as error:
        raise BadRequest(str(error)) from None


def _own_properties(
    properties: Mapping[str, Property], *, governed: bool, shows: Mapping[str, Property], refusal: type[RequestError]
) -> Mapping[str, Property]:
    sorted_ = sort_properties(properties, governed=governed)
    try:
        refuse_reserved(sorted_.reserved, shows=shows)
    except ReservedPropertyError as error:
        raise refusal(str(error)) from None
    return sorted_.own


def _check_required(known: Mapping[str, Member], values: Mapping[str, JsonValue]) -> None:
    for member in known.values():
        if member.required and member.name not in values:
            if member.type == "number":
                raise BadRequest(f"metric {member.name} is required: bad request")
            raise required_missing(member.name)


def _body(
    resource: RestResource,
    known: Mapping[str, Member],
    values: Mapping[str, JsonValue],
    *,
    properties: Mapping[str, Property] | None,
) -> EntryBody:
    by_target = {known[name].target: value for name, value in values.items() if known[name].target != "members"}
    members = {
        name: value
        for name, value in values.items()
        if known[name].target == "members" and known[name].forms != {"upsert"}
    }
    return EntryBody(
        resource=resource,
        id=_number(by_target.get("id")),
        name=_text(by_target.get("name")),
        external_id=_text(by_target.get("external_id")),
        parent_id=_number(by_target.get("parent_id")),
        state=_text(by_target.get("state")),
        members=members,
        properties=properties,
    )


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: JsonValue) -> int | None:
    return int(value) if isinstance(value, str) else None


def _quoted(name: str) -> str:
    """A member's name as Go quotes it, bounded."""
    short = name if len(name) <= 64 else f"{name[:64]}..."
    escaped = short.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in escaped) + '"'


def _other_type(existing: str, update: str) -> BadRequest:
    return BadRequest(
        f"cannot change artifact type from '{existing}' to '{update}': artifact type is immutable: bad request"
    )
