"""The tables on every database: batches, rows that do not read, migrations, and two operators at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text, update
from sqlalchemy.schema import CreateTable

from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.domain.version.records import (
    VersionRecord,
)
from gatehouse.registry.migrations import upgrade
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.rows import Rows
from gatehouse.registry.schema import HEAD
from gatehouse.registry.tables import artifact_files, history, metadata, model_versions, registered_models
from registrycontract import (
    LIMITS,
    NOW,
    Opened,
    a_change,
    a_file,
    a_version,
    connected,
)

__all__ = ["TablesContract"]


def described(opened: Opened) -> dict[str, Any]:
    """Everything that the database tells of its tables, columns in any order."""
    with connected(opened) as connection:
        inspector = inspect(connection)
        return {
            table: {
                "columns": sorted(map(repr, inspector.get_columns(table))),
                "primary key": inspector.get_pk_constraint(table),
                "unique": sorted(map(repr, inspector.get_unique_constraints(table))),
                "foreign keys": sorted(map(repr, inspector.get_foreign_keys(table))),
                "indexes": sorted(map(repr, inspector.get_indexes(table))),
                "options": inspector.get_table_options(table),
            }
            for table in inspector.get_table_names()
        }


def drop_tables(opened: Opened) -> None:
    """As if no operator had ever been there."""
    with connected(opened) as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE gatehouse_schema"))
        connection.commit()


class TablesContract:
    """Subclasses have the fixtures ``opened`` and ``again`` of :class:`registrycontract.RegistryContract`."""

    async def test_many_at_once_are_few_transactions(self, opened: Opened) -> None:
        await opened.rows.counts()
        opened.counts.transactions = opened.counts.queries = 0
        records = [a_version(n, model=f"model-{n % 7}") for n in range(1000)]
        ids = await asyncio.gather(
            *(opened.rows.save_version(record, files=[a_file()], change=a_change()) for record in records)
        )
        assert opened.counts.transactions == 5
        assert opened.counts.rows == {
            "registered_models": 7,
            "model_versions": 1000,
            "artifact_files": 1000,
            "history": 1000,
            "audit_records": 1007,
            "audit_heads": 5,
        }
        found = await asyncio.gather(
            *(opened.rows.load_version(model=record.model, version=record.version) for record in records)
        )
        assert opened.counts.queries == 5
        assert found == [
            replace(record, id=each.version_id, model_id=each.model_id)
            for record, each in zip(records, ids, strict=True)
        ]
        await asyncio.gather(
            *(
                opened.rows.save_version(
                    replace(record, id=each.version_id, phase="Deprecated"),
                    files=None,
                    change=a_change("Ready to Deploy", "Deprecated"),
                )
                for record, each in zip(records, ids, strict=True)
            )
        )
        assert opened.counts.transactions == 10
        assert opened.count(history) == 2000
        assert opened.count(model_versions) == 1000

    async def test_an_unreadable_row_fails_alone_and_is_named(self, opened: Opened) -> None:
        await asyncio.gather(*(opened.rows.save_version(a_version(n), files=None, change=None) for n in range(3)))
        opened.run(update(model_versions).where(model_versions.c.version == "v1").values(artifact='{"outcome":"Verif'))
        outcomes = await asyncio.gather(
            *(opened.rows.load_version(model="granite", version=f"v{n}") for n in range(3)), return_exceptions=True
        )
        assert [isinstance(outcome, VersionRecord) for outcome in outcomes] == [True, False, True]
        (error,) = [outcome for outcome in outcomes if isinstance(outcome, Stalled)]
        assert error.reason == "RowUnreadable"
        assert "version 'v1' of model 'granite'" in error.message
        assert opened.counts.queries > 0

    async def test_one_bad_row_does_not_keep_the_others_out(self, opened: Opened) -> None:
        (database,) = opened.databases._databases.values()
        forbidding = (
            "CREATE TRIGGER forbid BEFORE INSERT ON model_versions WHEN NEW.version = 'v13' "
            "BEGIN SELECT RAISE(ABORT, 'v13 is forbidden'); END"
            if database._connector.engine.dialect.name == "sqlite"
            else "ALTER TABLE model_versions ADD CONSTRAINT forbid CHECK (version <> 'v13')"
        )
        opened.run(text(forbidding))
        outcomes = await asyncio.gather(
            *(opened.rows.save_version(a_version(n), files=[a_file()], change=a_change()) for n in range(100)),
            return_exceptions=True,
        )
        errors = {n: outcome for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)}
        assert set(errors) == {13}
        assert isinstance(errors[13], Stalled)
        assert errors[13].reason == "RowRejected"
        assert "forbid" in errors[13].message
        assert opened.counts.transactions < 20
        assert (opened.count(model_versions), opened.count(history), opened.count(artifact_files)) == (99, 99, 99)

    async def test_migrations_make_the_tables_that_are_made_at_once(self, opened: Opened) -> None:
        at_once = described(opened)
        assert set(at_once) == {*metadata.tables, "gatehouse_schema"}
        drop_tables(opened)
        with connected(opened) as connection:
            upgrade(connection, HEAD)
            connection.commit()
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "version_table": "gatehouse_schema"}
            )
            differences = compare_metadata(context, metadata)
            assert differences == [], differences
        assert described(opened) == at_once

    @pytest.mark.parametrize("made", [1, 3, 8])
    async def test_an_operator_that_was_killed_as_it_made_the_tables(self, opened: Opened, made: int) -> None:
        """MariaDB commits each statement; the last one made lacks its indexes, and nothing tells a revision."""
        whole = described(opened)
        drop_tables(opened)
        *tables, last = metadata.sorted_tables[:made]
        with connected(opened) as connection:
            metadata.create_all(connection, tables=tables)
            connection.execute(CreateTable(last))
            connection.commit()
        databases = DatabasePool(data_dir=opened.databases._data_dir, limits=LIMITS)
        await databases.open(opened.registry, password=opened.password, ca_pem=None)
        await databases.aclose()
        assert described(opened) == whole

    async def test_where_a_hash_is_from_is_kept_and_not_known_of_files_from_before(self, opened: Opened) -> None:
        files = [a_file("a", source="Bytes"), a_file("b", source="StoreChecksum"), a_file("c")]
        await opened.rows.save_version(a_version(), files=files, change=a_change())
        kept = await opened.rows.load_files(model="granite", version=a_version().version)
        assert {path: file.source for path, file in kept.items()} == {"a": "Bytes", "b": "StoreChecksum", "c": None}

        opened.run(text("ALTER TABLE artifact_files DROP COLUMN source"))
        opened.run(text("UPDATE gatehouse_schema SET version_num = '0002'"))
        databases = DatabasePool(data_dir=opened.databases._data_dir, limits=LIMITS)
        rows = await databases.open(opened.registry, password=opened.password, ca_pem=None)
        old = await rows.load_files(model="granite", version=a_version().version)
        await databases.aclose()
        assert {path: replace(file, source=None) for path, file in kept.items()} == old

    async def test_two_operators_at_once_never_double_a_row(self, opened: Opened, again: Opened) -> None:
        records = [a_version(n, model=f"model-{n % 3}") for n in range(300)]

        async def save(rows: Rows, record: VersionRecord, second: int) -> None:
            """As a controller does: load, save, and look again on a conflict."""
            while True:
                known = await rows.load_version(model=record.model, version=record.version)
                change = a_change(None, at=NOW + timedelta(seconds=second)) if known is None else None
                try:
                    await rows.save_version(replace(record, id=known and known.id), files=[a_file()], change=change)
                except Transient as error:
                    assert error.reason in {"RowConflict", "DatabaseContention"}  # noqa: PT017 - retried otherwise
                else:
                    return

        await asyncio.gather(
            *(save(opened.rows, record, 1) for record in records),
            *(save(again.rows, record, 2) for record in reversed(records)),
        )
        assert opened.count(registered_models) == 3
        assert opened.count(model_versions) == 300
        assert opened.count(artifact_files) == 300
        assert opened.count(history) == 300

    async def test_a_newer_schema_is_refused(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        opened.run(text("UPDATE gatehouse_schema SET version_num = '9999'"))
        databases = DatabasePool(data_dir=opened.databases._data_dir, limits=LIMITS)
        with pytest.raises(Stalled, match="revision 9999, this Gatehouse knows revisions up to") as caught:
            await databases.open(opened.registry, password=opened.password, ca_pem=None)
        assert caught.value.reason == "SchemaTooNew"
        await databases.aclose()

    async def test_somebody_elses_tables_are_left_alone(self, opened: Opened) -> None:
        for table in ("history", "artifact_files", "model_versions", "registered_models", "gatehouse_schema"):
            opened.run(text(f"DROP TABLE {table}"))
        opened.run(text("CREATE TABLE registered_models (name VARCHAR(256) NOT NULL PRIMARY KEY)"))
        databases = DatabasePool(data_dir=opened.databases._data_dir, limits=LIMITS)
        with pytest.raises(
            Stalled, match="registered_models was not created by Gatehouse: it has no column id in"
        ) as caught:
            await databases.open(opened.registry, password=opened.password, ca_pem=None)
        assert caught.value.reason == "SchemaForeign"
        await databases.aclose()
