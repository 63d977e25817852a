"""What every database must do for the entries of REST clients: one suite, run on SQLite, MariaDB and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest
from sqlalchemy import event

from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.entries.entry import ARTIFACT_KINDS, FIRST_RECORDED_ID, LARGEST_ID, Entry, EntryKind, NewEntry
from gatehouse.domain.entries.names import model_key_choice
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.entries.refusals import EntryExists, EntryMissing, ParentMissing
from gatehouse.domain.query.filters import Comparison, Filter
from gatehouse.domain.query.pages import Page
from gatehouse.domain.query.scopes import EVERY_NAMESPACE
from gatehouse.domain.version.records import VersionRecord
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.registry.entries import Entries
from gatehouse.registry.entry_creations import CreateEntry
from gatehouse.registry.entry_updates import EntryChange
from gatehouse.registry.tables import entries, entry_properties, registered_models
from registrycontract import NOW, Opened, a_version

__all__ = [
    "ALL",
    "ARTIFACT",
    "MODELS",
    "PROPERTIES",
    "VERSIONS",
    "EntriesContract",
    "a_decided",
    "a_new",
    "a_recorded_version",
    "equal",
    "listed",
    "names",
    "statements",
]

MODELS: tuple[EntryKind, ...] = ("registered_model",)
VERSIONS: tuple[EntryKind, ...] = ("model_version",)
ARTIFACT: tuple[EntryKind, ...] = ("model_artifact",)
ALL = Page()
PROPERTIES = {
    "count": Property("int", -7),
    "accuracy": Property("double", 0.93),
    "team": Property("string", "rëd 模型"),
    "blank": Property("string", ""),
    "good": Property("bool", True),
    "shape": Property("struct", "eyJhIjoxfQ=="),
    "wire": Property("proto", "AAEC", "example.Thing"),
}


def a_new(kind: EntryKind = "registered_model", name: str = "Granite 3.1", **changes: Any) -> NewEntry:
    return NewEntry(kind=kind, namespace=changes.pop("namespace", "team-a"), name=name, **{"state": "LIVE"} | changes)


def equal(name: str, *values: Any, operator: Any = "=", typed: Any = None) -> Comparison:
    return Comparison(tuple(name.split(".")), operator, values, typed)


def a_decided(number: int = 1, **changes: Any) -> VersionRecord:
    shown = ShownDecision(cleared_for=("dev", "production"), fit="Fits")
    spec = {
        "version": f"v{number}",
        "description": "first light",
        "submittedBy": "alice",
        "customProperties": {"origin": "lab"},
        "artifact": {"uri": f"s3://models/granite/{number}/", "format": "safetensors"},
    }
    return a_version(number, **{"shown": shown.text(), "spec": orjson.dumps(spec).decode()} | changes)


@contextmanager
def statements(opened: Opened) -> Iterator[list[str]]:
    """The statements that the database gets meanwhile."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    (database,) = opened.databases._databases.values()
    engine = database._connector.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def listed(opened: Opened, kinds: Sequence[EntryKind], tree: Filter | None = None, **more: Any) -> list[Entry]:
    page = await opened.rows.entries.page(kinds=kinds, page=more.pop("page", ALL), tree=tree, **more)
    return list(page.entries)


async def names(opened: Opened, kinds: Sequence[EntryKind], tree: Filter | None = None, **more: Any) -> list[str]:
    return [entry.name for entry in await listed(opened, kinds, tree, **more)]


async def a_recorded_version(opened: Opened, **changes: Any) -> tuple[Entry, Entry]:
    create = opened.rows.entries.create
    model = await create(a_new(name="granite", external_id="m-1", properties=PROPERTIES), actor="alice")
    version = await create(
        a_new("model_version", "v1", parent_id=model.id, external_id="x-1", properties=PROPERTIES, **changes),
        actor="alice",
    )
    return model, version


class EntriesContract:
    """Subclasses have the fixtures ``opened`` and ``again`` of :class:`registrycontract.RegistryContract`."""

    # Creating

    async def test_an_entry_comes_back_word_for_word(self, opened: Opened) -> None:
        members = {"description": 'a, "b" %_|\\ 模型\n', "language": ["en", "de"], "maturity": "beta"}
        new = a_new(name="Granite, 3.1: the (best)", external_id="e 1", members=members, properties=PROPERTIES)
        made = await opened.rows.entries.create(new, actor="alice")
        assert made == Entry(
            **{name: getattr(new, name) for name in NewEntry.__slots__},
            id=made.id,
            key="granite-3.1-the-best",
            created_at=NOW,
            updated_at=NOW,
        )
        assert await opened.rows.entries.get(kinds=MODELS, id=made.id) == made
        assert await opened.rows.entries.find(kinds=MODELS, name=new.name) == made
        assert await opened.rows.entries.find(kinds=MODELS, external_id="e 1") == made
        assert await listed(opened, MODELS) == [made]

    @pytest.mark.parametrize(
        "kind", ["doc_artifact", "metric", "serving_environment", "inference_service", "experiment", "experiment_run"]
    )
    async def test_entries_of_other_kinds_have_ids_of_their_own(self, opened: Opened, kind: EntryKind) -> None:
        made = [
            await opened.rows.entries.create(a_new(kind, f"n{n}", properties=PROPERTIES), actor="a") for n in (1, 2)
        ]
        assert [each.id for each in made] == [FIRST_RECORDED_ID, FIRST_RECORDED_ID + 1]
        assert await listed(opened, (kind,)) == made
        assert all(each.id <= LARGEST_ID for each in made)

    async def test_a_name_of_250_characters_of_any_script_fits(self, opened: Opened) -> None:
        model = await opened.rows.entries.create(a_new(name="模" * 250), actor="a")
        version = await opened.rows.entries.create(
            a_new("model_version", "a, b " * 50, parent_id=model.id, external_id="ü" * 255), actor="a"
        )
        artifact = await opened.rows.entries.create(
            a_new("model_artifact", "型" * 250, parent_id=version.id, properties={"p" * 255: Property("int", 1)}),
            actor="a",
        )
        assert model.key.startswith("recorded-")
        assert len(version.key) <= 128
        assert await opened.rows.entries.find(kinds=MODELS, name="模" * 250) == model
        assert await listed(opened, ARTIFACT, equal("p" * 255, 1, typed="int")) == [artifact]

    @pytest.mark.parametrize(
        ("new", "said"),
        [
            (a_new(name="n" * 254), "title has 254 characters"),
            (a_new("metric", "n" * 251), "name has 251 characters"),
            (a_new(name="a\x00b"), "NUL"),
            (a_new(name="a\udcff"), "Unicode"),
            (a_new(external_id="e" * 256), "external_id has 256 characters"),
            (a_new(properties={"p" * 256: Property("int", 1)}), "256 characters"),
            (a_new(properties={"p": Property("double", float("inf"))}), "inf"),
            (a_new(members={"n": 2**70}), "members"),
        ],
    )
    async def test_what_no_column_holds_is_refused_by_name(self, opened: Opened, new: NewEntry, said: str) -> None:
        with pytest.raises(Stalled, match=said) as caught:
            await opened.rows.entries.create(new, actor="a")
        assert caught.value.reason == "RowRejected"
        for table in (registered_models, entries, entry_properties):
            assert opened.count(table) == 0

    async def test_a_name_and_an_external_id_are_unique_in_their_place(self, opened: Opened) -> None:
        create = opened.rows.entries.create
        model, version = await a_recorded_version(opened)
        other = await create(a_new(name="other"), actor="a")
        artifact = a_new("model_artifact", "granite", parent_id=version.id, external_id="a-1")
        await create(artifact, actor="a")
        for new, said in (
            (a_new(name="granite"), "registered model with the name 'granite' already exists"),
            (a_new(name="granite", namespace="team-b"), "already exists"),
            (a_new(name="new", external_id="m-1"), "external id 'm-1' already exists"),
            (a_new("model_version", "v1", parent_id=model.id), "already exists"),
            (a_new("model_version", "v2", parent_id=other.id, external_id="x-1"), "already exists"),
            (artifact, "already exists"),
            (a_new("model_artifact", "b", external_id="a-1"), "already exists"),
        ):
            with pytest.raises(EntryExists, match=said):
                await create(new, actor="a")
        # Case, another parent, another kind, and no external id at all are no conflict.
        for new in (
            a_new(name="Granite"),
            a_new(name="GRANITE"),
            a_new("model_version", "V1", parent_id=model.id),
            a_new("model_version", "v1", parent_id=other.id),
            a_new("doc_artifact", "granite", parent_id=version.id, external_id="a-1"),
            a_new("model_artifact", "granite"),
        ):
            assert (await create(new, actor="a")).name == new.name

    async def test_names_with_one_slug_have_different_keys(self, opened: Opened) -> None:
        titles = ["My Model", "my model", "my-model", "my_model", "MY MODEL!"]
        made = [await opened.rows.entries.create(a_new(name=title), actor="a") for title in titles]
        assert [each.key for each in made] == ["my-model", *[model_key_choice(title).other for title in titles[1:]]]
        for title, entry in zip(titles, made, strict=True):
            assert await opened.rows.entries.find(kinds=MODELS, name=title) == entry
            with pytest.raises(EntryExists):
                await opened.rows.entries.create(a_new(name=title), actor="a")

    async def test_the_name_of_a_governed_model_is_taken(self, opened: Opened) -> None:
        await opened.rows.save_version(a_version(model="a--b"), files=None, change=None)
        (model,) = await listed(opened, MODELS)
        with pytest.raises(EntryExists):
            await opened.rows.entries.create(a_new(name="a--b"), actor="a")
        with pytest.raises(EntryExists):
            await opened.rows.entries.create(a_new("model_version", "v1", parent_id=model.id), actor="a")
        assert (await opened.rows.entries.create(a_new(name="a-b"), actor="a")).key == "a-b"

    async def test_of_many_creators_at_once_one_wins(self, opened: Opened, again: Opened) -> None:
        both = [opened.rows.entries, again.rows.entries]
        for kind, name in (("registered_model", "Granite 3"), ("serving_environment", "prod")):
            results = await asyncio.gather(
                *(both[n % 2].create(a_new(kind, name), actor=f"user-{n}") for n in range(8)),  # type: ignore[arg-type]
                return_exceptions=True,
            )
            assert sum(isinstance(result, Entry) for result in results) == 1
            assert all(isinstance(result, Entry | EntryExists) for result in results), results
        assert (opened.count(registered_models), opened.count(entries)) == (1, 1)

    async def test_a_creation_that_runs_twice_makes_one_entry(self, opened: Opened) -> None:
        """As when the answer to a commit is lost."""
        model, version = await a_recorded_version(opened)
        for new in (
            a_new(name="Twice"),
            a_new("model_version", "twice", parent_id=model.id),
            a_new("metric", "twice", parent_id=version.id, properties=PROPERTIES),
        ):
            operation = CreateEntry(registry="registries/local", entry=new, actor="a", at=NOW, creation=f"c-{new.kind}")
            made = [await opened.rows._database.submit(operation) for _ in range(2)]
            assert made[0] == made[1]

    async def test_many_entries_of_one_batch_come_back_each(self, opened: Opened) -> None:
        results = await asyncio.gather(
            *(opened.rows.entries.create(a_new(name=f"m{n % 30}"), actor="a") for n in range(60)),
            return_exceptions=True,
        )
        made = [result for result in results if isinstance(result, Entry)]
        assert len(made) == len({each.id for each in made}) == 30
        assert [result.reason for result in results if isinstance(result, EntryExists)] == ["NameTaken"] * 30

    async def test_a_parent_must_be_there(self, opened: Opened) -> None:
        for new in (
            a_new("model_version", "v1", parent_id=77),
            a_new("metric", "m", parent_id=77),
            a_new("inference_service", "i", parent_id=FIRST_RECORDED_ID + 5),
        ):
            with pytest.raises(ParentMissing, match="not found"):
                await opened.rows.entries.create(new, actor="a")

    async def test_records_of_one_metric_have_one_name(self, opened: Opened) -> None:
        run = await opened.rows.entries.create(a_new("experiment_run", "run"), actor="a")
        points = [
            await opened.rows.entries.create(
                a_new("metric_record", "loss", parent_id=run.id, members={"value": n / 7, "step": n}), actor="a"
            )
            for n in range(3)
        ]
        assert await listed(opened, ("metric_record",), equal("step", 1, operator=">="), parent_id=run.id) == points[1:]

    # Reading

    async def test_reads_show_only_the_callers_namespaces(self, opened: Opened) -> None:
        create, find, get = opened.rows.entries.create, opened.rows.entries.find, opened.rows.entries.get
        hidden = await create(a_new(name="b", namespace="team-b", external_id="e"), actor="a")
        shown = await create(a_new(name="a", namespace="team-a"), actor="a")
        for namespaces, expected in (
            (EVERY_NAMESPACE, [hidden, shown]),
            (frozenset({"team-a", "team-x"}), [shown]),
            (frozenset[str](), []),
        ):
            assert await listed(opened, MODELS, namespaces=namespaces) == expected
            visible = hidden if hidden in expected else None
            assert await get(kinds=MODELS, id=hidden.id, namespaces=namespaces) == visible
            assert await find(kinds=MODELS, name="b", namespaces=namespaces) == visible
            assert await find(kinds=MODELS, external_id="e", namespaces=namespaces) == visible
            if visible is None:
                with pytest.raises(EntryMissing, match="not found"):
                    await opened.rows.entries.update(
                        kinds=MODELS, id=hidden.id, change=EntryChange(), actor="a", namespaces=namespaces
                    )

    async def test_what_is_not_there_is_none(self, opened: Opened) -> None:
        model, version = await a_recorded_version(opened)
        get, find = opened.rows.entries.get, opened.rows.entries.find
        for id_ in (0, -1, 2**31, 2**70, 999):
            assert await get(kinds=MODELS, id=id_) is None
        assert await get(kinds=ARTIFACT_KINDS, id=version.id) is None
        assert await find(kinds=MODELS, name="Granite") is None
        assert await find(kinds=VERSIONS, name="v1", parent_id=model.id + 1) is None
        assert await find(kinds=MODELS, external_id="x-1") is None
        assert await find(kinds=VERSIONS, external_id="x-1") == version

    async def test_registries_in_one_database_do_not_see_each_other(self, opened: Opened) -> None:
        other = Entries(registry="registries/other", database=opened.rows._database, now=lambda: NOW)
        model, version = await a_recorded_version(opened)
        twin = await other.create(a_new(name="granite", external_id="m-1"), actor="a")
        assert await listed(opened, MODELS) == [model]
        assert await other.get(kinds=MODELS, id=model.id) is None
        assert (await other.page(kinds=MODELS, page=ALL)).entries == (twin,)
        with pytest.raises(ParentMissing):
            await other.create(a_new("metric", "m", parent_id=version.id), actor="a")

    # Changing

    async def test_an_update_keeps_what_it_does_not_name(self, opened: Opened) -> None:
        update = opened.rows.entries.update
        members = {"description": "old", "readme": "r"}
        new = a_new("doc_artifact", "d", members=members, properties=PROPERTIES, external_id="e")
        made = await opened.rows.entries.create(new, actor="a")
        kinds = ARTIFACT_KINDS
        same = await update(kinds=kinds, id=made.id, change=EntryChange(), actor="a")
        assert replace(same, updated_at=made.updated_at) == made
        changed = await update(
            kinds=kinds,
            id=made.id,
            change=EntryChange(members={"description": "new", "uri": "s3", "readme": None}, state="ABANDONED"),
            actor="a",
        )
        assert changed.members == {"description": "new", "uri": "s3"}
        assert (changed.state, changed.properties, changed.external_id) == ("ABANDONED", PROPERTIES, "e")
        assert await listed(opened, kinds, equal("description", "old")) == []
        assert await listed(opened, kinds, equal("description", "new")) == [changed]
        fewer = {"team": Property("string", "blue"), "new": Property("int", 3)}
        last = await update(kinds=kinds, id=made.id, change=EntryChange(properties=fewer, external_id="f"), actor="a")
        assert (last.properties, last.external_id, last.members) == (fewer, "f", changed.members)
        assert await listed(opened, kinds, equal("accuracy", 0.93)) == []
        assert await listed(opened, kinds, equal("team", "blue")) == [last]
        assert (await update(kinds=kinds, id=made.id, change=EntryChange(properties={}), actor="a")).properties == {}

    async def test_each_update_changes_the_time_by_a_millisecond_or_more(self, opened: Opened) -> None:
        model, version = await a_recorded_version(opened)
        metric = await opened.rows.entries.create(a_new("metric", "m"), actor="a")
        for kinds, entry in ((MODELS, model), (VERSIONS, version), (("metric",), metric)):
            times = [entry.updated_at]
            for _ in range(4):
                changed = await opened.rows.entries.update(
                    kinds=kinds,  # type: ignore[arg-type]
                    id=entry.id,
                    change=EntryChange(members={"description": "same"}),
                    actor="a",
                )
                times.append(changed.updated_at)
                assert changed.created_at == entry.created_at
            steps = [later - earlier for earlier, later in pairwise(times)]
            assert min(steps) >= timedelta(milliseconds=1)

    async def test_an_update_may_not_take_what_others_have(self, opened: Opened) -> None:
        model, version = await a_recorded_version(opened)
        create, update = opened.rows.entries.create, opened.rows.entries.update
        alone = await create(a_new("model_artifact", "granite"), actor="a")
        await create(a_new("metric", "granite", external_id="taken"), actor="a")
        other = await create(a_new("metric", "other"), actor="a")
        with pytest.raises(EntryExists, match="'taken' already exists"):
            await update(kinds=("metric",), id=other.id, change=EntryChange(external_id="taken"), actor="a")
        with pytest.raises(ParentMissing):
            await update(kinds=ARTIFACT, id=alone.id, change=EntryChange(parent_id=version.id + 1), actor="a")
        attached = await update(kinds=ARTIFACT, id=alone.id, change=EntryChange(parent_id=version.id), actor="a")
        assert (attached.id, attached.parent_id) == (alone.id, version.id)
        assert await listed(opened, ARTIFACT, parent_id=version.id) == [attached]
        with pytest.raises(EntryExists, match="belongs to the parent"):
            await update(kinds=ARTIFACT, id=alone.id, change=EntryChange(parent_id=version.id + 1), actor="a")
        second = await create(a_new("model_artifact", "granite"), actor="a")
        with pytest.raises(EntryExists, match="already exists at the parent"):
            await update(kinds=ARTIFACT, id=second.id, change=EntryChange(parent_id=version.id), actor="a")
        with pytest.raises(EntryMissing, match="not found"):
            await update(kinds=("metric",), id=alone.id, change=EntryChange(), actor="a")
        assert (
            await update(kinds=MODELS, id=model.id, change=EntryChange(external_id="m-1"), actor="a")
        ).id == model.id

    async def test_writes_of_models_and_versions_are_in_the_audit_trail(self, opened: Opened) -> None:
        _, version = await a_recorded_version(opened)
        change = EntryChange(state="ARCHIVED", properties={"team": Property("string", "blue")})
        await opened.rows.entries.update(kinds=VERSIONS, id=version.id, change=change, actor="bob")
        await opened.rows.entries.update(kinds=VERSIONS, id=version.id, change=change, actor="carol")
        await opened.rows.entries.create(a_new("metric", "m"), actor="a")
        records = [orjson.loads(each.content) for each in await opened.rows.audit.records(after=0, limit=10)]
        assert [(each["kind"], each["reason"], each["actor"]) for each in records] == [
            ("RegisteredModel", "Recorded", "alice"),
            ("ModelVersion", "Recorded", "alice"),
            ("ModelVersion", "RecordChanged", "bob"),
        ]
        assert [(each["model"], each["version"]) for each in records] == [("granite", None), *[("granite", "v1")] * 2]
        assert records[2]["before"]["state"] == "LIVE"
        assert records[2]["after"] == {"customProperties.team": "blue", "state": "ARCHIVED"}
