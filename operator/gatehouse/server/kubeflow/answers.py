"""Answers: entries and lists of entries as the clients' JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.epoch import milliseconds
from gatehouse.domain.entries.custom_properties import write_custom_properties
from gatehouse.domain.entries.entry import Entry, EntryKind
from gatehouse.domain.entries.governed_properties import governed_properties
from gatehouse.server.kubeflow.members import ApiVersion, Member, Target
from gatehouse.server.kubeflow.resources import RestResource, resource_of

__all__ = ["write_entry", "write_list"]


def _unchanged(uri: str) -> str:
    return uri


def write_entry(
    entry: Entry, *, version: ApiVersion, outward: Callable[[str], str] = _unchanged
) -> dict[str, JsonValue]:
    """The JSON of an entry. ``outward`` turns the URI of a model artifact into that for clients."""
    document: dict[str, JsonValue] = {}
    for name, value_of in _writers(entry.kind, version):
        value = value_of(entry)
        if value is not None:
            document[name] = value
    if entry.kind == "model_artifact":
        uri = entry.governed.uri if entry.governed is not None else document.get("uri")
        if isinstance(uri, str) and uri:
            document["uri"] = outward(uri)
    return document


def write_list(
    entries: Sequence[Entry],
    *,
    version: ApiVersion,
    next_page_token: str,
    page_size: int | None,
    outward: Callable[[str], str] = _unchanged,
) -> dict[str, JsonValue]:
    """The JSON of one page. The token is empty on the last page; ``pageSize`` is 0 when the client named none."""
    return {
        "items": [write_entry(entry, version=version, outward=outward) for entry in entries],
        "nextPageToken": next_page_token,
        "pageSize": page_size or 0,
        "size": len(entries),
    }


@cache
def _writers(kind: EntryKind, version: ApiVersion) -> tuple[tuple[str, Callable[[Entry], JsonValue]], ...]:
    """For each member of a kind, how its value follows from an entry. Lists have thousands of entries."""
    resource = resource_of(kind)
    return tuple((member.name, _writer(member, resource, version=version)) for member in resource.of_version(version))


def _writer(member: Member, resource: RestResource, *, version: ApiVersion) -> Callable[[Entry], JsonValue]:
    if member.target == "members":
        return _member(member, as_text=member.type == "step" and version == "v1")
    if member.target == "state":
        return _state(member)
    if member.target == "kind":
        return lambda _entry: resource.artifact_type
    return _VALUES[member.target]


def _member(member: Member, *, as_text: bool) -> Callable[[Entry], JsonValue]:
    name, default = member.name, member.default or None

    def value(entry: Entry) -> JsonValue:
        found: JsonValue = entry.members.get(name)
        return default if found is None else str(found) if as_text else found

    return value


def _state(member: Member) -> Callable[[Entry], JsonValue]:
    """The state; a word of the rows that the contract does not have would break the clients' whole list."""
    values, default = frozenset(member.values), member.default
    return lambda entry: entry.state if entry.state in values else default


def _properties(entry: Entry) -> JsonValue:
    if entry.governed is None:
        return write_custom_properties(entry.properties)
    return write_custom_properties({**entry.properties, **governed_properties(entry.governed)})


_VALUES: Final[Mapping[Target, Callable[[Entry], JsonValue]]] = {
    "id": lambda entry: str(entry.id),
    "name": lambda entry: entry.name,
    "external_id": lambda entry: entry.external_id,
    "parent_id": lambda entry: None if entry.parent_id is None else str(entry.parent_id),
    "properties": _properties,
    "created_at": lambda entry: str(milliseconds(entry.created_at)),
    "updated_at": lambda entry: str(milliseconds(entry.updated_at)),
}
