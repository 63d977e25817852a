"""Which writes bring a mirror in step: each difference once, parents first, and nothing the second time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.entries.entry import Entry, EntryKind, Governed
from gatehouse.domain.entries.mirroring import (
    MIRRORED_KINDS,
    CreateCopy,
    EntryKey,
    Mirrored,
    MirroredForm,
    UpdateCopy,
    decide,
    mirrored_form,
)
from gatehouse.domain.entries.properties import Property

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def an_entry(kind: EntryKind, id_: int, parent: int | None = None, **fields: object) -> Entry:
    entry = Entry(
        kind=kind,
        namespace="team",
        name=f"{kind} {id_}",
        parent_id=parent,
        state="LIVE",
        id=id_,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(entry, **fields)  # type: ignore[arg-type]


def form(entry: Entry) -> MirroredForm:
    return mirrored_form(entry, outward=lambda uri: f"{uri}?endpoint=https://s3.example.com")


def test_a_governed_version_shows_what_gatehouse_established() -> None:
    governed = Governed(object_name="granite-1", phase="Ready to Deploy", digest="sha256:aa")
    entry = an_entry(
        "model_version",
        7,
        3,
        governed=governed,
        members={"author": "ann", "description": "first"},
        properties={"accuracy": Property("double", 0.5)},
        external_id="x",
    )
    made = form(entry)
    assert made.parent == EntryKey("registered_model", 3)
    assert made.body == {
        "author": "ann",
        "description": "first",
        "state": "LIVE",
        "externalId": "x",
        "customProperties": {
            "accuracy": {"metadataType": "MetadataDoubleValue", "double_value": 0.5},
            "gatehouse.phase": {"metadataType": "MetadataStringValue", "string_value": "Ready to Deploy"},
            "gatehouse.digest": {"metadataType": "MetadataStringValue", "string_value": "sha256:aa"},
            "Ready to Deploy": {"metadataType": "MetadataStringValue", "string_value": ""},
        },
    }


def test_an_artifact_has_its_type_and_the_uri_for_clients() -> None:
    entry = an_entry("model_artifact", 9, 7, members={"uri": "s3://models/a/", "experimentId": "1"})
    body = form(entry).body
    assert (body["artifactType"], body["uri"]) == ("model-artifact", "s3://models/a/?endpoint=https://s3.example.com")
    assert "experimentId" not in body


def test_what_was_taken_away_is_written_as_empty() -> None:
    described = an_entry("registered_model", 1, members={"description": "long"})
    assert form(replace(described, members={})).body["description"] == ""
    assert form(replace(described, members={})).fingerprint != form(described).fingerprint


def test_a_child_waits_for_its_parent_and_a_refused_entry_for_other_content() -> None:
    model, version = form(an_entry("registered_model", 1)), form(an_entry("model_version", 1, 1))
    assert decide([version], mirrored={}, refused={}) == []
    there = {model.key: Mirrored("41", model.fingerprint)}
    assert decide([version], mirrored=there, refused={}) == [CreateCopy(version, "41")]
    assert decide([version], mirrored=there, refused={version.key: version.fingerprint}) == []
    assert decide([version], mirrored=there, refused={version.key: "other"}) == [CreateCopy(version, "41")]


@st.composite
def registries(draw: st.DrawFn) -> Sequence[Entry]:
    models = [an_entry("registered_model", number) for number in range(1, draw(st.integers(1, 4)) + 1)]
    versions = [
        an_entry("model_version", 10 + n, draw(st.sampled_from(models)).id) for n in range(draw(st.integers(0, 5)))
    ]
    artifacts = [
        an_entry("model_artifact", 100 + number, version.id)
        for number, version in enumerate(versions)
        if draw(st.booleans())
    ]
    return [*models, *versions, *artifacts]


class Remote:
    """A mirror that numbers what it gets, and refuses an entry without its parent."""

    def __init__(self) -> None:
        self.known: dict[EntryKey, Mirrored] = {}
        self.bodies: dict[str, Mapping[str, object]] = {}
        self.writes = 0

    def step(self, entries: Sequence[Entry]) -> None:
        for kinds in MIRRORED_KINDS:
            forms = [form(entry) for entry in entries if entry.kind in kinds]
            for write in decide(forms, mirrored=self.known, refused={}):
                self.writes += 1
                if isinstance(write, CreateCopy):
                    assert write.form.key not in self.known
                    assert not write.form.parent or write.parent_id == self.known[write.form.parent].remote_id
                    remote_id = str(1_000 + len(self.known))
                else:
                    assert isinstance(write, UpdateCopy)
                    assert self.known[write.form.key].remote_id == write.remote_id
                    remote_id = write.remote_id
                self.bodies[remote_id] = write.form.body
                self.known[write.form.key] = Mirrored(remote_id, write.form.fingerprint)


@given(registries(), st.data())
def test_one_pass_brings_a_mirror_in_step_and_the_next_writes_only_what_changed(
    entries: Sequence[Entry], data: st.DataObject
) -> None:
    remote = Remote()
    remote.step(entries)
    assert remote.writes == len(entries) == len(remote.known)
    remote.step(entries)
    assert remote.writes == len(entries)
    changed = data.draw(st.sets(st.sampled_from([entry.id for entry in entries])))
    later = [replace(entry, state="ARCHIVED") if entry.id in changed else entry for entry in entries]
    remote.step(later)
    assert remote.writes == len(entries) + len(changed)
    for entry in later:
        there = remote.known[EntryKey(entry.kind, entry.id)]
        assert remote.bodies[there.remote_id]["state"] == entry.state
