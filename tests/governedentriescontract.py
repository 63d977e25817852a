"""What every database must do for entries that objects stand for: run on SQLite, MariaDB and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from sqlalchemy import select, text

from entriescontract import (
    ALL,
    ARTIFACT,
    MODELS,
    PROPERTIES,
    VERSIONS,
    a_decided,
    a_new,
    a_recorded_version,
    equal,
    listed,
)
from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.domain.entries.entry import ARTIFACT_KINDS, FIRST_RECORDED_ID, Entry
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.entries.refusals import EntryGoverned
from gatehouse.domain.query.pages import Order, Page
from gatehouse.domain.version.records import KnownIds, RegistryCounts, VersionIds
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.registry.entry_pages import EntryPage, position_of
from gatehouse.registry.entry_updates import EntryChange
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.tables import model_versions
from registrycontract import DIGEST, Opened, a_change, a_model, a_version

__all__ = ["GovernedEntriesContract"]


class GovernedEntriesContract:
    """Subclasses have the fixtures ``opened`` and ``again`` of :class:`registrycontract.RegistryContract`."""

    # Recorded and governed

    async def test_nothing_of_the_operator_counts_a_recorded_row(self, opened: Opened) -> None:
        await a_recorded_version(opened)
        rows = opened.rows
        assert await rows.counts() == RegistryCounts(models=0, versions=0)
        assert [item async for item in rows.live_objects()] == []
        for kind, name in (("model", "granite"), ("version", ""), ("version", "granite-v1")):
            archive = rows.archive_object(kind, namespace="team-a", name=name, change=a_change())  # type: ignore[arg-type]
            assert await archive == 0
        record = await rows.load_version(model="granite", version="v1")
        assert record is not None
        assert (record.is_recorded, record.uid, record.phase, record.digest) == (True, "", "", None)
        assert (record.object_name, record.artifact, record.governance, record.shown) == ("", None, None, None)
        held = await rows.load_model(model="granite")
        assert held is not None
        assert (held.state, held.uid, held.held) == ("RECORDED", "", None)
        assert [entry.governed for entry in await listed(opened, (*MODELS, *VERSIONS))] == [None, None]
        assert await listed(opened, ARTIFACT) == []

    async def test_no_write_of_a_client_makes_an_entry_governed(self, opened: Opened) -> None:
        model, version = await a_recorded_version(opened)
        lies = {
            "phase": "Ready to Deploy",
            "digest": DIGEST,
            "uid": "u",
            "shown": ShownDecision(cleared_for=("production",)).text(),
            "governance": "{}",
            "row_state": "LIVE",
        }
        properties = {f"gatehouse.{name}": Property("string", value) for name, value in lies.items()}
        for kinds, entry in ((MODELS, model), (VERSIONS, version)):
            for state in ("LIVE", "ARCHIVED", "RECORDED", "Ready to Deploy"):
                change = EntryChange(state=state, members=lies, properties=properties)
                changed = await opened.rows.entries.update(kinds=kinds, id=entry.id, change=change, actor="a")
                assert (changed.governed, changed.state) == (None, state)
        (row,) = opened.run(select(model_versions))
        assert (row.state, row.uid, row.phase, row.digest, row.uri) == ("RECORDED", "", "", None, "")
        assert (row.shown, row.governance, row.artifact, row.object_name) == (None, None, None, "")
        assert await opened.rows.counts() == RegistryCounts(models=0, versions=0)

    async def test_an_object_takes_over_the_row_of_its_namespace(self, opened: Opened) -> None:
        rows = opened.rows
        model, version = await a_recorded_version(opened, members={"author": "carol", "note": "n"})
        ids = VersionIds(model.id, version.id)
        record = replace(a_decided(), id=version.id, model_id=model.id)
        assert await rows.save_version(record, files=None, change=a_change()) == ids
        assert await rows.save_model(a_model(id=model.id)) == model.id
        governed = await rows.entries.get(kinds=VERSIONS, id=version.id)
        assert governed is not None
        assert governed.governed is not None
        assert (governed.id, governed.name, governed.external_id) == (version.id, "v1", "x-1")
        assert governed.properties == {"origin": Property("string", "lab"), **PROPERTIES}
        assert governed.members == {"author": "carol", "description": "first light", "note": "n"}
        assert governed.created_at == version.created_at
        assert (governed.governed.cleared_for, governed.governed.fit) == (("dev", "production"), "Fits")
        adopted = await rows.entries.get(kinds=MODELS, id=model.id)
        assert adopted is not None
        assert (adopted.id, adopted.external_id, adopted.members["provider"]) == (model.id, "m-1", "IBM")
        assert adopted.properties == PROPERTIES
        assert await rows.counts() == RegistryCounts(models=1, versions=1)
        reasons = [orjson.loads(each.content)["reason"] for each in await rows.audit.records(after=2, limit=10)]
        assert reasons == ["Verified", "Governed"]

    async def test_a_title_stays_when_its_row_is_taken_over(self, opened: Opened) -> None:
        create, rows = opened.rows.entries.create, opened.rows
        model = await create(a_new(name="Granite, 3.1"), actor="a")
        version = await create(a_new("model_version", "the first: one", parent_id=model.id), actor="a")
        assert (model.key, version.key, version.parent_key) == ("granite-3.1", "the-first-one", "granite-3.1")
        assert await rows.save_model(a_model(name="granite-3.1")) == model.id
        kept = await rows.load_version(model="granite-3.1", version="the-first-one")
        assert kept is not None
        record = a_decided(model="granite-3.1", version="the-first-one", id=kept.id, model_id=kept.model_id)
        await rows.save_version(record, files=None, change=a_change())
        (found,) = await listed(opened, VERSIONS)
        assert (found.id, found.name, found.parent_id) == (version.id, "the first: one", model.id)
        assert await rows.entries.find(kinds=MODELS, name="Granite, 3.1") is not None
        assert (await listed(opened, ARTIFACT))[0].name == "Granite, 3.1"

    async def test_a_recorded_name_belongs_to_its_namespace(self, opened: Opened) -> None:
        rows = opened.rows
        model, version = await a_recorded_version(opened)
        for attempt in (
            rows.save_model(a_model(namespace="team-b")),
            rows.save_model(a_model(namespace="team-b", id=model.id)),
            rows.save_version(
                a_version(namespace="team-b", id=version.id, model_id=model.id), files=None, change=a_change()
            ),
            rows.save_version(a_version(2, namespace="team-b"), files=None, change=a_change()),
        ):
            with pytest.raises(Stalled, match="recorded for namespace team-a") as caught:
                await attempt
            assert caught.value.reason == "NameTaken"
        with pytest.raises(Transient, match="has row"):
            await rows.save_version(a_version(), files=None, change=a_change())
        assert await listed(opened, VERSIONS) == [version]
        assert await rows.save_version(a_version(3), files=None, change=None) == VersionIds(model.id, version.id + 1)

    async def test_a_version_is_not_taken_over_while_its_model_is_elsewhere(self, opened: Opened) -> None:
        create, rows = opened.rows.entries.create, opened.rows
        model = await create(a_new(name="granite", namespace="team-b"), actor="a")
        version = await create(a_new("model_version", "v1", parent_id=model.id), actor="a")
        record = a_version(id=version.id, model_id=model.id)
        with pytest.raises(Stalled, match="recorded for namespace team-b"):
            await rows.save_version(record, files=None, change=a_change())
        assert (await listed(opened, VERSIONS))[0].governed is None

    async def test_an_object_gives_up_its_old_version_for_a_recorded_one(self, opened: Opened) -> None:
        model, version = await a_recorded_version(opened)
        await opened.rows.save_version(a_version(2, object_name="granite-v1"), files=None, change=None)
        record = a_version(id=version.id, model_id=model.id)
        await opened.rows.save_version(record, files=None, change=a_change())
        states = {entry.name: entry.state for entry in await listed(opened, VERSIONS)}
        assert states == {"v1": "LIVE", "v2": "ARCHIVED"}

    async def test_governed_objects_are_entries_with_nothing_done(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_decided(), files=None, change=a_change())
        spec = {
            "displayName": "Granite",
            "description": "d",
            "owners": ["ann", "bob"],
            "license": "apache-2.0",
            "languages": ["en"],
            "tasks": ["text-generation"],
            "provider": "IBM",
            "tags": {"tier": "gold"},
        }
        await opened.rows.save_model(a_model(spec=orjson.dumps(spec).decode()))
        (model,) = await listed(opened, MODELS)
        assert (model.id, model.name, model.state, model.key) == (ids.model_id, "granite", "LIVE", "granite")
        assert model.members == {
            "description": "d",
            "owner": "ann",
            "license": "apache-2.0",
            "language": ["en"],
            "tasks": ["text-generation"],
            "provider": "IBM",
        }
        assert model.properties == {"tier": Property("string", "gold")}
        (version,) = await listed(opened, VERSIONS, parent_id=model.id)
        assert (version.id, version.parent_id, version.name) == (ids.version_id, model.id, "v1")
        assert version.governed is not None
        assert version.governed.uri == "s3://models/granite/1/"
        for tree in (
            equal("description", "first light"),
            equal("author", "ali%", operator="LIKE"),
            equal("origin", "lab"),
            equal("gatehouse.phase", "Ready to Deploy", typed="string"),
            equal("registeredModelId", str(model.id)),
            equal("state", "LIVE"),
        ):
            assert await listed(opened, VERSIONS, tree) == [version], tree
        for tree in (
            equal("owner", "ann"),
            equal("tier", "gold"),
            equal("license", "mit", "apache-2.0", operator="IN"),
        ):
            assert await listed(opened, MODELS, tree) == [model], tree
        assert await listed(opened, MODELS, equal("tier", "gold", operator="!=")) == []

    async def test_an_archived_version_shows_no_stage(self, opened: Opened) -> None:
        await opened.rows.save_version(a_decided(), files=None, change=a_change())
        gone = a_change(None, "Archived", digest=None)
        await opened.rows.archive_object("version", namespace="team-a", name="granite-v1", change=gone)
        (version,) = await listed(opened, VERSIONS)
        assert version.governed is not None
        assert (version.state, version.governed.cleared_for, version.governed.phase) == ("ARCHIVED", (), "Archived")

    async def test_a_governed_version_has_an_artifact_until_one_is_recorded(self, opened: Opened) -> None:
        create = opened.rows.entries.create
        ids = await opened.rows.save_version(a_decided(), files=None, change=a_change())
        metric = await create(a_new("metric", "loss", parent_id=ids.version_id, members={"value": 0.5}), actor="a")
        kinds = ARTIFACT_KINDS
        derived, *others = await listed(opened, kinds, parent_id=ids.version_id)
        assert others == [metric]
        assert (derived.id, derived.kind, derived.name) == (ids.version_id, "model_artifact", "granite")
        assert derived.members == {"uri": "s3://models/granite/1/", "modelFormatName": "safetensors"}
        assert derived.governed is not None
        assert await opened.rows.entries.get(kinds=kinds, id=derived.id) == derived
        assert await opened.rows.entries.find(kinds=kinds, name="granite", parent_id=ids.version_id) == derived
        for tree in (
            equal("uri", "s3://models/%", operator="LIKE"),
            equal("modelFormatName", "safetensors"),
            equal("artifactType", "model-artifact"),
            equal("id", str(derived.id)),
        ):
            assert await listed(opened, kinds, tree) == [derived], tree
        for tree in (equal("team", "x"), equal("externalId", "x"), equal("accuracy", 1)):
            assert await listed(opened, kinds, tree) == []
        seen: list[Entry] = []
        for _ in range(3):
            after = position_of(seen[-1], Order()) if seen else None
            seen += await listed(opened, kinds, page=Page(size=1, after=after))
        assert seen == [derived, metric]
        own = await create(a_new("model_artifact", "own", parent_id=ids.version_id), actor="a")
        assert await listed(opened, kinds, parent_id=ids.version_id) == [metric, own]
        assert await opened.rows.entries.get(kinds=kinds, id=derived.id) is None

    async def test_a_change_of_the_derived_artifact_records_it_under_its_id(self, opened: Opened) -> None:
        update = opened.rows.entries.update
        ids = await opened.rows.save_version(a_decided(), files=None, change=a_change())
        (derived,) = await listed(opened, ARTIFACT)
        with pytest.raises(EntryGoverned, match="verified at s3://models/granite/1/"):
            await update(
                kinds=ARTIFACT_KINDS, id=derived.id, change=EntryChange(members={"uri": "s3://evil/"}), actor="a"
            )
        change = EntryChange(
            members={"uri": "s3://models/granite/1/", "description": "d"}, properties=PROPERTIES, state="LIVE"
        )
        kept = await update(kinds=ARTIFACT_KINDS, id=derived.id, change=change, actor="a")
        assert (kept.id, kept.parent_id, kept.properties) == (ids.version_id, ids.version_id, PROPERTIES)
        assert kept.members == {**derived.members, "description": "d"}
        assert await listed(opened, ARTIFACT) == [kept]
        assert await listed(opened, ARTIFACT, equal("accuracy", 0.9, operator=">")) == [kept]
        again = await update(kinds=ARTIFACT, id=derived.id, change=EntryChange(properties={}), actor="a")
        assert (again.id, again.properties) == (derived.id, {})
        other = await opened.rows.entries.create(a_new("model_artifact", "other"), actor="a")
        assert other.id >= FIRST_RECORDED_ID

    async def test_the_state_of_a_governed_version_is_its_objects(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_decided(), files=None, change=a_change())
        update = opened.rows.entries.update
        with pytest.raises(EntryGoverned, match="team-a/granite-v1 declares"):
            await update(kinds=VERSIONS, id=ids.version_id, change=EntryChange(state="ARCHIVED"), actor="a")
        change = EntryChange(state="LIVE", properties=PROPERTIES)
        kept = await update(kinds=VERSIONS, id=ids.version_id, change=change, actor="a")
        assert kept.properties == {"origin": Property("string", "lab"), **PROPERTIES}
        record = await opened.rows.load_version(model="granite", version="v1")
        assert record == replace(a_decided(), id=ids.version_id, model_id=ids.model_id)
        assert record is not None
        assert record.shown == a_decided().shown
        await opened.rows.save_version(replace(record, phase="Deprecated"), files=None, change=None)
        (again,) = await listed(opened, VERSIONS)
        assert again.properties == kept.properties

    async def test_the_audit_trail_names_who_declared_the_state_of_an_object(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_decided(), files=None, change=a_change())
        change = EntryChange(declared_state="ARCHIVED")
        kept = await opened.rows.entries.update(kinds=VERSIONS, id=ids.version_id, change=change, actor="bob")
        assert kept.state == "LIVE"  # The row follows the object.
        told = [orjson.loads(each.content) for each in await opened.rows.audit.records(after=0, limit=10)]
        (record,) = [each for each in told if each["actor"] == "bob"]
        assert (record["name"], record["before"], record["after"]) == (
            "granite-v1",
            {"state": "LIVE"},
            {"state": "ARCHIVED"},
        )

    async def test_a_lost_row_comes_back_beside_recorded_ones(self, opened: Opened) -> None:
        model, _ = await a_recorded_version(opened)
        known = KnownIds(model=40, version=70)
        ids = await opened.rows.save_version(a_version(2, model="lost"), files=None, change=None, known=known)
        assert ids == VersionIds(40, 70)
        following = await opened.rows.entries.create(a_new("model_version", "v9", parent_id=model.id), actor="a")
        assert following.id == 71

    # Migrating

    async def test_rows_from_before_have_their_names_as_titles(self, opened: Opened) -> None:
        await opened.rows.save_version(a_decided(), files=None, change=a_change())
        for table in ("entries", "entry_properties"):
            opened.run(text(f"DROP TABLE {table}"))
        opened.run(text("UPDATE registered_models SET title = NULL"))
        opened.run(text("UPDATE model_versions SET title = NULL, shown = NULL"))
        opened.run(text("UPDATE gatehouse_schema SET version_num = '0006'"))
        await opened.databases.aclose()
        databases = DatabasePool(data_dir=opened.databases._data_dir)
        rows = await databases.open(opened.registry, password=opened.password, ca_pem=None)
        try:
            page: EntryPage = await rows.entries.page(kinds=(*MODELS, *VERSIONS), page=ALL)
            assert [entry.name for entry in page.entries] == ["granite", "v1"]
            made = await rows.entries.create(a_new("metric", "m", properties=PROPERTIES), actor="a")
            assert made.id == FIRST_RECORDED_ID
        finally:
            await databases.aclose()
