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
from sqlalchemy import event, insert, select, text

from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.domain.entries.entry import ARTIFACT_KINDS, FIRST_RECORDED_ID, LARGEST_ID, Entry, EntryKind, NewEntry
from gatehouse.domain.entries.names import model_key_choice
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.entries.refusals import EntryExists, EntryGoverned, EntryMissing, ParentMissing
from gatehouse.domain.query.filters import All, Comparison, Filter
from gatehouse.domain.query.pages import Order, Page, Position
from gatehouse.domain.version.records import KnownIds, RegistryCounts, VersionIds, VersionRecord
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.registry.entries import Entries
from gatehouse.registry.entry_pages import EntryPage, ListEntries, page_statement, position_of
from gatehouse.registry.entry_writes import CreateEntry, EntryChange
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.tables import entries, entry_properties, model_versions, registered_models
from registrycontract import DIGEST, NOW, Opened, a_change, a_model, a_version, connected

__all__ = ["EntriesContract", "a_new", "statements"]

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
            (None, [hidden, shown]),
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

    # Pages

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("by", ["ID", "NAME", "CREATE_TIME", "LAST_UPDATE_TIME", "team", "score"])
    @pytest.mark.parametrize("kinds", [MODELS, ("metric", "doc_artifact")])
    async def test_pages_have_each_entry_once_in_order(
        self, opened: Opened, kinds: tuple[EntryKind, ...], by: str, descending: bool
    ) -> None:
        made = []
        for n in range(21):
            properties = {
                "team": Property("string", f"t{n % 4}"),
                **({"score": Property("double", n % 5 / 3)} if n % 3 else {}),
            }
            rows = Entries(
                registry="registries/local",
                database=opened.rows._database,
                now=lambda n=n: NOW + timedelta(microseconds=n % 6),  # type: ignore[misc]
            )
            made.append(
                await rows.create(a_new(kinds[n % len(kinds)], f"n{n * 5 % 21:02}", properties=properties), actor="a")
            )
        order = Order(by, descending, {"team": "string", "score": "double"}.get(by))  # type: ignore[arg-type]
        seen: list[Entry] = []
        after: Position | None = None
        sizes = []
        with statements(opened) as asked:
            while True:
                page = await opened.rows.entries.page(kinds=kinds, page=Page(order=order, after=after, size=10))
                seen += page.entries
                sizes.append((len(page.entries), page.more))
                if not page.more:
                    break
                after = position_of(page.entries[-1], order)
        assert sizes == [(10, True), (10, True), (1, False)]
        lists = [statement for statement in asked if "order_value" in statement or "ORDER BY" in statement]
        assert len(lists) <= 4

        def key(entry: Entry) -> Any:
            match by:
                case "ID":
                    return entry.id
                case "NAME":
                    return entry.name, entry.id
                case "CREATE_TIME":
                    return entry.created_at, entry.id
                case "LAST_UPDATE_TIME":
                    return entry.updated_at, entry.id
            return entry.properties[by].value, entry.id

        with_value = [entry for entry in made if by.isupper() or by in entry.properties]
        without = [entry for entry in made if entry not in with_value]
        expected = sorted(with_value, key=key, reverse=descending)
        expected += sorted(without, key=lambda entry: entry.id, reverse=descending)
        assert [entry.id for entry in seen] == [entry.id for entry in expected]
        if by != "ID":
            forgetful = Page(order=order, after=Position(None, expected[6].id), size=3)
            assert await listed(opened, kinds, page=forgetful) == expected[7:10]
            nowhere = Page(order=order, after=Position(None, 123), size=3)
            assert await listed(opened, kinds, page=nowhere) == []

    async def test_a_read_is_one_statement_and_a_list_at_most_two(self, opened: Opened) -> None:
        model, version = await a_recorded_version(opened)
        await opened.rows.save_version(a_decided(2, model="other"), files=None, change=None)
        reads = opened.rows.entries
        tree = All(
            (equal("team", "x"), equal("description", "%a%", operator="LIKE"), equal("accuracy", 1, 2, operator="IN"))
        )
        calls = [
            (1, reads.get(kinds=ARTIFACT_KINDS, id=version.id)),
            (1, reads.find(kinds=VERSIONS, name="v1", parent_id=model.id)),
            (1, reads.find(kinds=ARTIFACT_KINDS, external_id="x")),
            (1, reads.page(kinds=MODELS, page=ALL, tree=tree)),
            (1, reads.page(kinds=ARTIFACT_KINDS, page=Page(size=5), parent_id=version.id, tree=tree)),
            (2, reads.page(kinds=VERSIONS, page=Page(order=Order("NAME"), after=Position(None, version.id), size=2))),
            (0, reads.page(kinds=VERSIONS, page=ALL, namespaces=frozenset())),
        ]
        for most, call in calls:
            with statements(opened) as asked:
                await call
            assert len(asked) == most, asked

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
        assert governed.members == {"author": "alice", "description": "first light", "note": "n"}
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

    # The cost of a page

    async def test_a_page_of_many_rows_reads_no_more_than_a_page_of_few(self, opened: Opened) -> None:
        """The plan goes to the page by an index, whatever the order and the page, and sorts nothing."""
        await a_recorded_version(opened)
        await opened.rows.entries.create(a_new("metric", "m", properties=PROPERTIES), actor="a")
        with connected(opened) as connection:
            multiply(connection, model_versions, 4000, version="w", title="w", external_id=None)
            multiply(connection, entries, 4000, name="w", external_id=None)
            for kinds in (VERSIONS, ("metric",)):
                for by, after in POSITIONS.items():
                    for descending in (False, True):
                        for position in (None, after):
                            statement = a_page(connection, kinds, Order(by, descending), position)
                            read = rows_read(connection, statement, seeks=position is not None)
                            assert read <= 2 * PAGE, (kinds, by, descending, position)

    async def test_a_page_of_one_model_reads_no_more_with_many_versions(self, opened: Opened) -> None:
        model, _ = await a_recorded_version(opened)
        other = await opened.rows.entries.create(a_new(name="other"), actor="a")
        await opened.rows.entries.create(a_new("model_version", "v1", parent_id=other.id), actor="a")
        with connected(opened) as connection:
            multiply(connection, model_versions, 4000, version="w", title="w", external_id=None)
            for position in (None, Position(None, 2500)):
                statement = a_page(connection, VERSIONS, Order(), position, parent_id=model.id)
                assert rows_read(connection, statement, seeks=False) <= 2 * PAGE, position


PAGE = 100
POSITIONS = {
    "ID": Position(None, 2500),
    "NAME": Position("w2000", 2500),
    "CREATE_TIME": Position(int(NOW.timestamp()) * 1_000_000, 2500),
    "LAST_UPDATE_TIME": Position(int(NOW.timestamp()) * 1_000_000, 2500),
}


def multiply(connection: Any, table: Any, count: int, **numbered: str | None) -> None:
    """Many rows like the first one, with other names and times, as after long use."""
    row = dict(connection.execute(select(table).order_by(table.c.id)).mappings().first())
    first = int(row["id"])
    rows = [
        row
        | {column: None if text is None else f"{text}{n}" for column, text in numbered.items()}
        | {"id": first + 10 + n, "created_at": NOW - timedelta(seconds=n - count // 2)}
        | {"updated_at": NOW + timedelta(seconds=n - count // 2), "creation": "many"}
        for n in range(count)
    ]
    connection.execute(insert(table), rows)
    connection.commit()
    analyze = {"postgresql": "ANALYZE", "sqlite": ""}.get(connection.dialect.name, "ANALYZE TABLE")
    if analyze:
        connection.execute(text(f"{analyze} {table.name}")).close()
        connection.commit()


def a_page(
    connection: Any,
    kinds: tuple[EntryKind, ...],
    order: Order,
    position: Position | None,
    *,
    parent_id: int | None = None,
) -> Any:
    if position is not None and kinds != VERSIONS:
        position = Position(position.value, FIRST_RECORDED_ID + position.id)
    operation = ListEntries(
        registry="registries/local",
        kinds=kinds,
        parent_id=parent_id,
        namespaces=frozenset({"team-a", "team-b"}),
        tree=None,
        page=Page(order=order, after=position, size=PAGE),
    )
    return page_statement(operation, position, dialect=connection.dialect.name)


def rows_read(connection: Any, statement: Any, *, seeks: bool) -> int:
    """The number of rows that the statement makes the database read; large for a plan that sorts or scans.

    ``seeks`` is whether the plan must also use the value of the order to go to the page.
    """
    literal = {"literal_binds": True}
    match connection.dialect.name:
        case "sqlite":
            plan = text(f"EXPLAIN QUERY PLAN {statement.compile(connection.engine, compile_kwargs=literal)}")
            steps = [row[3] for row in connection.execute(plan)]
            good = (
                len(steps) == 1 and steps[0].startswith("SEARCH") and (">" in steps[0] or "<" in steps[0] or not seeks)
            )
            return PAGE if good else 10**6
        case "postgresql":
            compiled = statement.compile(connection.engine, compile_kwargs={"render_postcompile": True})
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", compiled.params)
            return most_rows(explained.scalar_one()[0]["Plan"])
        case _:
            plan = text(f"EXPLAIN {statement.compile(connection.engine, compile_kwargs=literal)}")
            access = connection.execute(plan).one()
            if "filesort" in access.Extra or (seeks and access.type != "range"):
                return 10**6
            connection.exec_driver_sql("FLUSH STATUS")
            connection.execute(statement).all()
            counters = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'")).all()
            return sum(int(count) for _, count in counters)


def most_rows(plan: Any) -> int:
    """The most rows that one step of PostgreSQL's plan read."""
    read = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return max([int(read), *[most_rows(part) for part in plan.get("Plans", ())]])
