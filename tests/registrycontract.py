"""What every database must do: one suite, run on SQLite, MariaDB and PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactRecord, ArtifactSummary
from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.entries.entry import NewEntry
from gatehouse.domain.entries.mirroring import EntryKey, Mirrored
from gatehouse.domain.query.pages import Position
from gatehouse.domain.version.records import (
    FileRecord,
    KnownIds,
    ModelRecord,
    RegistryCounts,
    StateChange,
    VersionIds,
    VersionRecord,
)
from gatehouse.registry.address import DatabaseLimits
from gatehouse.registry.hints import MOST_HINTS
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.rows import Rows
from gatehouse.registry.tables import artifact_files, history, model_versions, registered_models

NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
OTHER_DIGEST = "sha256:" + "b" * 64
LIMITS = DatabaseLimits(connect=5, statement=10, lock=2, silence=5, idle=3)


@dataclass
class Counts:
    """A RowMetrics that keeps what it is told."""

    transactions: int = 0
    queries: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:
        self.transactions += 1
        self.rows.update(rows)

    def queried(self, *, operations: int) -> None:
        self.queries += 1

    def retried(self, *, reason: str) -> None:
        self.retries[reason] += 1


@dataclass
class Opened:
    """One registry, open."""

    registry: ModelRegistry
    password: str | None
    databases: DatabasePool
    rows: Rows
    counts: Counts

    def run(self, statement: Any) -> Any:
        """Runs a statement beside the registry's own work, and commits it."""

        def work(connection: Connection) -> Any:
            result = connection.execute(statement)
            return result.all() if result.returns_rows else None

        with connected(self) as connection:
            found = work(connection)
            connection.commit()
        return found

    def count(self, table: Any) -> int:
        return int(self.run(select(func.count()).select_from(table))[0][0])


def a_registry(name: str = "local", **spec: Any) -> ModelRegistry:
    return ModelRegistry.model_validate({"metadata": {"name": name, "namespace": "registries"}, "spec": spec})


async def open_file(folder: Path) -> Opened:
    """A registry in SQLite."""
    counts = Counts()
    databases = DatabasePool(data_dir=folder, now=lambda: NOW, limits=LIMITS, metrics=counts)
    rows = await databases.open(a_registry(), password=None, ca_pem=None)
    return Opened(a_registry(), None, databases, rows, counts)


def an_artifact(**changes: Any) -> ArtifactRecord:
    record = ArtifactRecord(
        outcome="Verified",
        fingerprint="f" * 64,
        digest=DIGEST,
        verified_at=NOW,
        summary=ArtifactSummary(
            format="safetensors",
            files=3,
            total_bytes=8_000_000_000,
            parameters=8_170_848_256,
            weights_bytes=8_600_000_000,
            dtypes={"F8_E4M3": 8_000_000_000, "BF16": 170_848_256},
            config=ModelConfig(architecture="GraniteForCausalLM", num_hidden_layers=40, layer_types={"full": 40}),
            notes=("a note",),
        ),
    )
    return replace(record, **changes)


def a_version(number: int = 1, **changes: Any) -> VersionRecord:
    record = VersionRecord(
        model="granite",
        version=f"v{number}",
        namespace="team-a",
        object_name=f"granite-v{number}",
        uid=f"00000000-0000-0000-0000-{number:012d}",
        uri=f"s3://models/granite/{number}/",
        state="LIVE",
        phase="Ready to Deploy",
        digest=DIGEST,
        hardware_profile="nvidia-l4",
        artifact=an_artifact(),
        spec='{"version":"ünïcödé 模型"}',
    )
    return replace(record, **changes)


def a_model(**changes: Any) -> ModelRecord:
    record = ModelRecord(name="granite", namespace="team-a", uid="u-1", state="LIVE", spec='{"provider":"IBM"}')
    return replace(record, **changes)


def a_change(before: str | None = None, after: str = "Ready to Deploy", **changes: Any) -> StateChange:
    change = StateChange(
        at=NOW,
        actor="alice",
        before=before,
        after=after,
        digest=DIGEST,
        reason="Verified",
        message="Every gate is open",
    )
    return replace(change, **changes)


def a_file(path: str = "model.safetensors", **changes: Any) -> FileRecord:
    return replace(
        FileRecord(
            path=path,
            size=2**40,
            etag='"e1"',
            sha256="c" * 64,
            modified="2026-11-01T00:00:00.123Z",
            version_id="v1",
            hashed_at=NOW,
        ),
        **changes,
    )


async def load(rows: Rows, number: int = 1) -> VersionRecord:
    record = await rows.load_version(model="granite", version=f"v{number}")
    assert record is not None
    return record


@contextmanager
def connected(opened: Opened) -> Iterator[Connection]:
    """The connection of the registry's own database."""
    (database,) = opened.databases._databases.values()
    with database._connector.engine.connect() as connection:
        yield connection


class HintsContract:
    """Store hints: each taken once, by its registry alone, and never more than a limit."""

    async def test_hints_are_taken_once(self, opened: Opened) -> None:
        assert await opened.rows.add_hints(["s3://models/a/", "s3://models/b/", "s3://models/a/"]) == 3
        assert await opened.rows.add_hints([]) == 0
        other = await opened.databases.open(
            a_registry("other").model_copy(update={"spec": opened.registry.spec}), password=opened.password, ca_pem=None
        )
        await other.add_hints(["s3://others/" + "x" * 1_024 + "/"])
        assert await opened.rows.take_hints() == ["s3://models/a/", "s3://models/b/"]
        transactions = opened.counts.transactions
        assert await opened.rows.take_hints() == []
        assert opened.counts.transactions == transactions
        if opened.registry.spec.mysql or opened.registry.spec.postgres:
            assert await other.take_hints() == ["s3://others/" + "x" * 1_024 + "/"]

    async def test_no_more_hints_wait_than_a_limit(self, opened: Opened) -> None:
        folders = [f"s3://models/{number}/" for number in range(MOST_HINTS)]
        added = await asyncio.gather(opened.rows.add_hints(folders[:-1]), opened.rows.add_hints(["s3://late/"] * 2))
        assert sum(added) == MOST_HINTS
        assert await opened.rows.add_hints(["s3://models/late/"]) == 0
        assert set(await opened.rows.take_hints()) == {*folders[:-1], "s3://late/"}
        assert await opened.rows.add_hints(["s3://models/late/"]) == 1


class MirroredContract:
    """What mirrors have, and the entries that changed since."""

    async def test_what_a_mirror_has_is_its_own(self, opened: Opened) -> None:
        rows = opened.rows
        model, version = EntryKey("registered_model", 1), EntryKey("model_version", 1)
        await asyncio.gather(
            rows.save_mirrored("a", model, Mirrored("41", "f")), rows.save_mirrored("b", model, Mirrored("7", "f"))
        )
        await rows.save_mirrored("a", version, Mirrored("42", "g"))
        await rows.save_mirrored("a", version, Mirrored("42", "h"))
        keys = [model, version, EntryKey("doc_artifact", 1)]
        assert await rows.mirrored("a", keys) == {model: Mirrored("41", "f"), version: Mirrored("42", "h")}
        assert await rows.mirrored("a", []) == {}
        await rows.forget_mirror("a")
        assert await rows.mirrored("a", keys) == {}
        assert await rows.mirrored("b", keys) == {model: Mirrored("7", "f")}

    async def test_entries_that_changed_come_once_each_in_pages(self, opened: Opened) -> None:
        rows = opened.rows
        made = [
            await rows.entries.create(
                NewEntry(kind="registered_model", namespace="team", name=f"m{number}"), actor="ann"
            )
            for number in range(5)
        ]
        names: list[str] = []
        after: Position | None = None
        for _ in range(3):
            page, after = await rows.changed_entries(("registered_model",), since=None, after=after, limit=2)
            names += [entry.name for entry in page]
        assert (names, after) == (["m0", "m1", "m2", "m3", "m4"], None)
        late = made[3].updated_at - timedelta(microseconds=1)
        page, after = await rows.changed_entries(("registered_model",), since=late, after=None, limit=9)
        assert {"m3", "m4"} <= {entry.name for entry in page}
        page, _ = await rows.changed_entries(
            ("registered_model",),
            since=max(entry.updated_at for entry in made) + timedelta(days=1),
            after=None,
            limit=9,
        )
        assert page == ()


class RegistryContract(HintsContract, MirroredContract):
    """Subclasses have a fixture ``opened`` with empty tables, and ``again`` that opens the same registry once more."""

    async def test_a_version_comes_back_as_it_was_saved(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(), files=[a_file()], change=a_change())
        assert await load(opened.rows) == a_version(id=ids.version_id, model_id=ids.model_id)
        assert await opened.rows.load_files(model="granite", version="v1") == {"model.safetensors": a_file()}
        assert list(await opened.rows.history(model="granite", version="v1")) == [a_change()]

    async def test_times_keep_their_microseconds_and_their_zone(self, opened: Opened) -> None:
        at = NOW.astimezone(UTC) + timedelta(microseconds=1)
        elsewhere = at.astimezone(tz=datetime.now().astimezone().tzinfo)
        await opened.rows.save_version(a_version(), files=None, change=a_change(at=elsewhere))
        (entry,) = await opened.rows.history(model="granite", version="v1")
        assert entry.at == at
        assert entry.at.utcoffset() == timedelta(0)

    async def test_what_is_not_there_is_none_or_empty(self, opened: Opened) -> None:
        assert await opened.rows.load_version(model="granite", version="v1") is None
        assert await opened.rows.load_model(model="granite") is None
        assert await opened.rows.load_files(model="granite", version="v1") == {}
        assert list(await opened.rows.history(model="granite", version="v1")) == []
        assert await opened.rows.counts() == RegistryCounts(models=0, versions=0)

    async def test_namespaces_are_those_of_the_entries_of_the_registry(self, opened: Opened) -> None:
        assert await opened.rows.namespaces() == frozenset()
        await opened.rows.save_version(a_version(namespace="team-b"), files=None, change=None)
        await opened.rows.save_model(a_model(name="other", namespace="team-c"))
        await opened.rows.save_model(a_model(name="third", namespace="team-b", state="ARCHIVED"))
        experiment = NewEntry(kind="experiment", namespace="team-d", name="tuning", state="LIVE")
        made = await opened.rows.entries.create(experiment, actor="ann")
        run = NewEntry(kind="experiment_run", namespace="team-d", name="1", state="LIVE", parent_id=made.id)
        await opened.rows.entries.create(run, actor="ann")
        assert await opened.rows.namespaces() == {"team-b", "team-c", "team-d"}
        elsewhere = Rows(registry="registries/elsewhere", database=opened.rows._database, now=lambda: NOW)
        assert await elsewhere.namespaces() == frozenset()

    async def test_a_version_makes_its_model(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(), files=None, change=None)
        made = await opened.rows.load_model(model="granite")
        assert made == a_model(id=ids.model_id, uid="", spec="{}")
        assert await opened.rows.save_model(a_model()) == ids.model_id
        assert await opened.rows.load_model(model="granite") == a_model(id=ids.model_id)

    async def test_names_that_differ_in_case_or_accent_are_different(self, opened: Opened) -> None:
        names = ["v1", "V1", "vÏ", "vI", "vi"]
        await asyncio.gather(
            *(
                opened.rows.save_version(
                    a_version(n, version=name), files=[a_file(name), a_file(f"{name} ")], change=None
                )
                for n, name in enumerate(names)
            )
        )
        for n, name in enumerate(names):
            record = await opened.rows.load_version(model="granite", version=name)
            assert record is not None
            assert record.uri == f"s3://models/granite/{n}/"
        assert set(await opened.rows.load_files(model="granite", version="V1")) == {"V1", "V1 "}
        assert opened.count(model_versions) == len(names)

    async def test_an_update_keeps_the_id_and_appends_to_the_history(self, opened: Opened) -> None:
        verifying = a_version(phase="Verifying", digest=None, artifact=None)
        ids = await opened.rows.save_version(verifying, files=None, change=a_change(None, "Verifying", digest=None))
        ready = a_version(id=ids.version_id)
        assert await opened.rows.save_version(ready, files=None, change=a_change("Verifying")) == ids
        assert await load(opened.rows) == replace(ready, model_id=ids.model_id)
        assert [entry.after for entry in await opened.rows.history(model="granite", version="v1")] == [
            "Verifying",
            "Ready to Deploy",
        ]

    async def test_the_history_is_cut_to_the_newest(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(), files=None, change=a_change(None, "0"))
        for n in range(1, 5):
            await opened.rows.save_version(
                a_version(id=ids.version_id), files=None, change=a_change(str(n - 1), str(n))
            )
        entries = await opened.rows.history(model="granite", version="v1", limit=2)
        assert [entry.after for entry in entries] == ["3", "4"]

    async def test_files_are_replaced_added_or_left(self, opened: Opened) -> None:
        rows = opened.rows
        await rows.save_files(model="granite", version="v1", files=[a_file("a"), a_file("b")])
        await rows.save_files(model="granite", version="v1", files=[a_file("b", etag='"e2"'), a_file("c")])
        found = await rows.load_files(model="granite", version="v1")
        assert found == {"a": a_file("a"), "b": a_file("b", etag='"e2"'), "c": a_file("c")}
        ids = await rows.save_version(a_version(), files=None, change=None)
        assert await rows.load_files(model="granite", version="v1") == found
        await rows.save_version(a_version(id=ids.version_id), files=[a_file("z"), a_file("z", size=0)], change=None)
        assert await rows.load_files(model="granite", version="v1") == {"z": a_file("z", size=0)}
        await rows.save_version(a_version(id=ids.version_id), files=[], change=None)
        assert await rows.load_files(model="granite", version="v1") == {}

    async def test_the_longest_names_fit_every_index(self, opened: Opened) -> None:
        record = a_version(
            model="模" * 253,
            version="本" * 128,
            object_name="o" * 253,
            namespace="n" * 63,
            uri="s3://" + "u" * 1019,
            hardware_profile="h" * 253,
            spec="ü" * 1_500_000,
        )
        path = "型" * 1024
        ids = await opened.rows.save_version(record, files=[a_file(path), a_file(path[:-1] + "x")], change=None)
        assert await opened.rows.load_version(model=record.model, version=record.version) == replace(
            record, id=ids.version_id, model_id=ids.model_id
        )
        assert len(await opened.rows.load_files(model=record.model, version=record.version)) == 2

    @pytest.mark.parametrize(
        ("record", "said"),
        [
            (a_version(version="v" * 129), "version has 129 characters, expected at most 128"),
            (a_version(uri="s3://models/\x00/"), "uri contains a NUL character"),
            (a_version(spec="\ud800"), "spec is not valid Unicode"),
        ],
    )
    async def test_what_no_column_holds_is_refused_by_name(
        self, opened: Opened, record: VersionRecord, said: str
    ) -> None:
        with pytest.raises(Stalled, match=said) as caught:
            await opened.rows.save_version(record, files=None, change=None)
        assert caught.value.reason == "RowRejected"
        assert opened.count(model_versions) == 0

    async def test_a_hostile_object_name_is_kept_as_an_escape(self, opened: Opened) -> None:
        problem = Finding(reason="UnsafeName", found="a\udcff\x00b", expected="UTF-8", remedy="rename it")
        record = a_version(artifact=an_artifact(outcome="Invalid", digest=None, problems=(problem,)))
        await opened.rows.save_version(record, files=None, change=a_change(message="found a\udcff\x00b"))
        kept = await load(opened.rows)
        assert kept.artifact is not None
        assert kept.artifact.problems[0].found == "a\\udcff\x00b"
        (entry,) = await opened.rows.history(model="granite", version="v1")
        assert entry.message == "found a\\udcff\\x00b"

    async def test_the_digest_never_changes_once_set(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(digest=None), files=None, change=None)
        await opened.rows.save_version(a_version(id=ids.version_id), files=None, change=None)
        for digest in (OTHER_DIGEST, None):
            with pytest.raises(Stalled, match=DIGEST) as caught:
                await opened.rows.save_version(
                    a_version(id=ids.version_id, digest=digest), files=[a_file()], change=a_change()
                )
            assert caught.value.reason == "DigestImmutable"
        assert (await load(opened.rows)).digest == DIGEST
        assert opened.count(history) == 0
        assert opened.count(artifact_files) == 0

    async def test_the_row_of_another_object_is_a_conflict(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(), files=None, change=None)
        other = a_version(object_name="other")
        for record in (other, replace(other, id=ids.version_id), a_version(id=ids.version_id + 1), a_version(2, id=7)):
            with pytest.raises(Transient) as caught:
                await opened.rows.save_version(record, files=None, change=a_change())
            assert caught.value.reason == "RowConflict"
        assert (await load(opened.rows)).object_name == "granite-v1"
        assert (opened.count(model_versions), opened.count(history)) == (1, 0)

    async def test_one_version_asked_for_twice_at_once_is_one_row(self, opened: Opened) -> None:
        outcomes = await asyncio.gather(
            *(
                opened.rows.save_version(a_version(object_name=f"object-{n}"), files=None, change=a_change())
                for n in range(5)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, Transient) for outcome in outcomes) == 4
        assert (opened.count(model_versions), opened.count(history)) == (1, 1)

    async def test_saving_again_doubles_nothing(self, opened: Opened) -> None:
        save = opened.rows.save_version
        ids = await save(a_version(phase="Verifying"), files=[a_file()], change=a_change(None, "Verifying"))
        assert await save(a_version(phase="Verifying"), files=[a_file()], change=a_change(None, "Verifying")) == ids
        ready = a_version(id=ids.version_id)
        for late in range(3):
            at = NOW + timedelta(seconds=late)
            assert await save(ready, files=None, change=a_change("Verifying", at=at)) == ids
        remark = a_change("Ready to Deploy", reason="Checked")
        for _ in range(2):
            assert await save(ready, files=None, change=remark) == ids
        entries = await opened.rows.history(model="granite", version="v1")
        assert [(entry.after, entry.reason) for entry in entries] == [
            ("Verifying", "Verified"),
            ("Ready to Deploy", "Verified"),
            ("Ready to Deploy", "Checked"),
        ]
        assert (opened.count(model_versions), opened.count(artifact_files)) == (1, 1)

    async def test_the_same_row_with_another_story_is_a_conflict(self, opened: Opened) -> None:
        """Another operator saved what we would: its history stands, and ours is not added to it."""
        await opened.rows.save_version(a_version(), files=None, change=a_change())
        with pytest.raises(Transient) as caught:
            await opened.rows.save_version(a_version(), files=None, change=a_change(at=NOW + timedelta(microseconds=1)))
        assert caught.value.reason == "RowConflict"
        assert opened.count(history) == 1

    async def test_a_state_that_comes_back_is_told_again(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(), files=None, change=a_change(None))
        states = ["Ready to Deploy", "Artifact Missing", "Ready to Deploy", "Artifact Missing"]
        for before, after in itertools.pairwise(states):
            await opened.rows.save_version(
                a_version(id=ids.version_id, phase=after), files=None, change=a_change(before, after)
            )
        entries = await opened.rows.history(model="granite", version="v1")
        assert [entry.after for entry in entries] == states

    async def test_a_model_name_belongs_to_one_namespace_while_it_lives(self, opened: Opened) -> None:
        rows = opened.rows
        id_ = await rows.save_model(a_model())
        assert await rows.save_model(a_model(id=id_, spec="{}")) == id_
        for attempt in (
            rows.save_model(a_model(namespace="team-b")),
            rows.save_version(a_version(namespace="team-b"), files=None, change=None),
        ):
            with pytest.raises(Stalled, match="team-a/granite") as caught:
                await attempt
            assert caught.value.reason == "NameTaken"
        assert await rows.archive_object("model", namespace="team-a", name="granite", change=a_change(after="Archived"))
        assert await rows.save_model(a_model(namespace="team-b")) == id_
        found = await rows.load_model(model="granite")
        assert found is not None
        assert (found.namespace, found.state) == ("team-b", "LIVE")

    async def test_a_model_with_another_id_is_a_conflict(self, opened: Opened) -> None:
        id_ = await opened.rows.save_model(a_model())
        for record in (a_model(id=id_ + 1), a_model(name="other", id=id_)):
            with pytest.raises(Transient) as caught:
                await opened.rows.save_model(record)
            assert caught.value.reason == "RowConflict"
        assert opened.count(registered_models) == 1

    async def test_archiving_keeps_the_row_and_tells_the_history(self, opened: Opened) -> None:
        rows = opened.rows
        ids = await rows.save_version(a_version(), files=[a_file()], change=a_change())
        gone = a_change(None, "Archived", digest=None, reason="ObjectDeleted")
        archive = {"namespace": "team-a", "name": "granite-v1", "change": gone}
        assert await rows.archive_object("version", **archive) == 1
        assert await rows.archive_object("version", **archive) == 0
        assert await rows.archive_object("version", **{**archive, "namespace": "team-b"}) == 0
        kept = await load(rows)
        assert (kept.id, kept.state, kept.phase, kept.digest) == (ids.version_id, "ARCHIVED", "Archived", DIGEST)
        ((archived_at,),) = opened.run(select(model_versions.c.archived_at))
        assert archived_at == NOW
        last = (await rows.history(model="granite", version="v1"))[-1]
        assert (last.before, last.after, last.digest) == ("Ready to Deploy", "Archived", DIGEST)
        assert opened.count(artifact_files) == 1
        await rows.save_version(a_version(id=ids.version_id, object_name="again"), files=None, change=None)
        assert opened.run(select(model_versions.c.archived_at)) == [(None,)]

    async def test_an_object_that_is_another_version_now_gives_its_old_row_up(self, opened: Opened) -> None:
        await opened.rows.save_version(a_version(1), files=None, change=None)
        await opened.rows.save_version(a_version(2, object_name="granite-v1"), files=None, change=None)
        old = await load(opened.rows, 1)
        assert (old.state, old.phase) == ("ARCHIVED", "Archived")
        (entry,) = await opened.rows.history(model="granite", version="v1")
        assert (entry.before, entry.reason) == ("Ready to Deploy", "ObjectReplaced")

    async def test_a_lost_row_comes_back_under_the_ids_that_its_object_knows(self, opened: Opened) -> None:
        save, known = opened.rows.save_version, KnownIds(model=40, version=70)
        assert await save(a_version(1), files=None, change=a_change(), known=known) == VersionIds(40, 70)
        # A second one that knows the same id, from another database's life, gets one of its own; so do new ones.
        ids = [await save(a_version(n), files=None, change=a_change(), known=known) for n in (2, 3)]
        ids += [await save(a_version(n), files=None, change=a_change()) for n in (4, 5)]
        assert {each.model_id for each in ids} == {40}
        assert all(each.version_id > 70 for each in ids)
        assert len({each.version_id for each in ids}) == 4
        assert await opened.rows.save_model(a_model(name="lost"), known=33) == 33
        assert await opened.rows.save_model(a_model(name="rival"), known=33) not in {33, 40}
        assert await save(a_version(6), files=None, change=None, known=KnownIds(version=60)) == VersionIds(40, 60)
        assert (await save(a_version(7), files=None, change=None)).version_id not in {60, 70}

    async def test_lost_rows_and_new_ones_are_told_apart_in_one_batch(self, opened: Opened) -> None:
        await opened.rows.save_version(a_version(0), files=None, change=None)
        wanted = {n: KnownIds(version=1000 - n) for n in range(1, 90, 2)}
        ids = await asyncio.gather(
            *(
                opened.rows.save_version(a_version(n), files=[a_file()], change=a_change(), known=wanted.get(n))
                for n in range(1, 90)
            )
        )
        assert len({each.version_id for each in ids}) == 89
        for n, each in enumerate(ids, start=1):
            assert (await load(opened.rows, n)).id == each.version_id
            assert n not in wanted or each.version_id == 1000 - n
            assert (await opened.rows.history(model="granite", version=f"v{n}"))[0].digest == DIGEST

    async def test_no_new_row_gets_a_reserved_id(self, opened: Opened) -> None:
        await opened.rows.reserve(KnownIds(model=20, version=30))
        first = await opened.rows.save_version(a_version(1), files=None, change=None)
        await opened.rows.reserve(KnownIds(version=10))
        second = await opened.rows.save_version(a_version(2), files=None, change=None)
        assert first == VersionIds(21, 31)
        assert second.version_id > 31
        back = await opened.rows.save_version(a_version(3), files=None, change=None, known=KnownIds(version=30))
        assert back.version_id == 30

    async def test_tables_that_are_emptied_under_a_connection_give_no_id_out_again(self, opened: Opened) -> None:
        """As when an older backup is restored: what is numbered from the start would be known by others already."""
        saved = [await opened.rows.save_version(a_version(n), files=None, change=None) for n in range(3)]
        for table in ("history", "artifact_files", "model_versions", "registered_models", "gatehouse_schema"):
            opened.run(text(f"DROP TABLE {table}"))
        assert await opened.rows.load_version(model="granite", version="v0") is None
        fresh = await opened.rows.save_version(a_version(9, model="new"), files=None, change=None)
        assert fresh.version_id > saved[-1].version_id
        assert fresh.model_id > saved[-1].model_id
        for n, before in enumerate(saved):
            known = KnownIds(model=before.model_id, version=before.version_id)
            again = await opened.rows.save_version(a_version(n), files=None, change=a_change(), known=known)
            assert again == before

    async def test_live_rows_are_listed_and_counted(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gatehouse.registry.rows._PAGE", 2)
        rows = opened.rows
        await asyncio.gather(*(rows.save_version(a_version(n), files=None, change=None) for n in range(5)))
        await rows.archive_object("version", namespace="team-a", name="granite-v3", change=a_change(after="Archived"))
        live = [item async for item in rows.live_objects()]
        names = ["granite-v0", "granite-v1", "granite-v2", "granite-v4"]
        assert sorted(live) == [("model", "team-a", "granite"), *[("version", "team-a", name) for name in names]]
        assert await rows.counts() == RegistryCounts(models=1, versions=4)

    async def test_registries_in_one_database_do_not_see_each_other(self, opened: Opened) -> None:
        other = Rows(registry="registries/other", database=opened.rows._database, now=lambda: NOW)
        await opened.rows.save_version(a_version(), files=[a_file()], change=a_change())
        assert await other.load_version(model="granite", version="v1") is None
        assert await other.load_files(model="granite", version="v1") == {}
        assert await other.counts() == RegistryCounts(models=0, versions=0)
        assert [item async for item in other.live_objects()] == []
        await other.save_version(a_version(namespace="team-b", uri="s3://models/b/"), files=[], change=None)
        assert (await load(opened.rows)).uri == "s3://models/granite/1/"
        assert await opened.rows.load_files(model="granite", version="v1") != {}
