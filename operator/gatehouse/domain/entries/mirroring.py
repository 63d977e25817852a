"""What a mirror gets of each entry, and which writes bring it in step: pure functions of the own rows.

A mirror is a Kubeflow Model Registry. Of what it has, only its ids and a hash of what was written last are known; its
own content is never read. An entry whose hash is unchanged costs no write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from gatehouse.domain.entries.custom_properties import write_custom_properties
from gatehouse.domain.entries.entry import Entry, EntryKind
from gatehouse.domain.entries.governed_properties import governed_properties

__all__ = [
    "MIRRORED_KINDS",
    "CopyLost",
    "CopyRefused",
    "CreateCopy",
    "EntryKey",
    "Mirrored",
    "MirroredForm",
    "UpdateCopy",
    "decide",
    "mirrored_form",
]

MIRRORED_KINDS: Final[tuple[tuple[EntryKind, ...], ...]] = (
    ("registered_model",),
    ("model_version",),
    ("model_artifact", "doc_artifact"),
)
"""The kinds that mirrors get, parents first. Older registries know no other artifacts."""
_PARENT: Final[Mapping[EntryKind, EntryKind]] = {
    "model_version": "registered_model",
    "model_artifact": "model_version",
    "doc_artifact": "model_version",
}
_TYPES: Final[Mapping[EntryKind, str]] = {"model_artifact": "model-artifact", "doc_artifact": "doc-artifact"}
_SET_BY_THE_REGISTRY: Final = frozenset({"experimentId", "experimentRunId"})


class CopyRefused(Exception):
    """The mirror does not accept the content of one entry; other entries may be accepted."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class CopyLost(Exception):
    """The mirror no longer has an entry that it had."""


class EntryKey(NamedTuple):
    """An entry of the own registry."""

    kind: EntryKind
    id: int


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirror has of an entry: its id there, and the hash of what was written last."""

    remote_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class MirroredForm:
    """An entry as a mirror gets it: ``name`` and ``parent`` never change, ``body`` is what an update may change."""

    key: EntryKey
    name: str
    parent: EntryKey | None
    body: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The same for the same content."""
        content = orjson.dumps([self.name, self.body], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class CreateCopy:
    """The mirror does not have the entry. ``parent_id`` is the parent's id there; empty for a model."""

    form: MirroredForm
    parent_id: str


@dataclass(frozen=True, slots=True)
class UpdateCopy:
    """The mirror has the entry with other content."""

    form: MirroredForm
    remote_id: str


def mirrored_form(entry: Entry, *, outward: Callable[[str], str]) -> MirroredForm:
    """The form of a model, a version or an artifact. ``outward`` turns the URI of an artifact into that for clients."""
    members = {name: value for name, value in entry.members.items() if name not in _SET_BY_THE_REGISTRY}
    if isinstance(uri := members.get("uri"), str) and entry.kind == "model_artifact":
        members["uri"] = outward(uri)
    # A description that was taken away is written as an empty one: an update leaves out nothing else.
    members.setdefault("description", "")
    body: dict[str, Any] = {
        **members,
        "customProperties": write_custom_properties({**entry.properties, **governed_properties(entry.governed)}),
    }
    if entry.state:
        body["state"] = entry.state
    if entry.external_id is not None:
        body["externalId"] = entry.external_id
    if entry.kind in _TYPES:
        body["artifactType"] = _TYPES[entry.kind]
    parent_kind = _PARENT.get(entry.kind)
    parent = None if parent_kind is None else EntryKey(parent_kind, entry.parent_id or 0)
    return MirroredForm(key=EntryKey(entry.kind, entry.id), name=entry.name, parent=parent, body=body)


def decide(
    forms: Iterable[MirroredForm],
    *,
    mirrored: Mapping[EntryKey, Mirrored],
    refused: Mapping[EntryKey, str],
) -> Sequence[CreateCopy | UpdateCopy]:
    """The writes that bring a mirror in step, in the order of the forms.

    ``mirrored`` has the entries that the mirror has, parents among them. ``refused`` has the hash of each entry that
    the mirror did not accept: it is tried again with other content. An entry whose parent the mirror does not have
    waits.
    """
    writes: list[CreateCopy | UpdateCopy] = []
    for form in forms:
        there, fingerprint = mirrored.get(form.key), form.fingerprint
        if refused.get(form.key) == fingerprint or (there is not None and there.fingerprint == fingerprint):
            continue
        parent = None if form.parent is None else mirrored.get(form.parent)
        if there is not None:
            writes.append(UpdateCopy(form, there.remote_id))
        elif form.parent is None or parent is not None:
            writes.append(CreateCopy(form, "" if parent is None else parent.remote_id))
    return writes
