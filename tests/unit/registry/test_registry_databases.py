"""Opening databases: which file, which connection, what is imported, what survives."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, text

from gatehouse.domain.errors import ReconcileError, Stalled, Transient
from gatehouse.registry.address import Address, Credentials, Limits, Target, address_of
from gatehouse.registry.connector import Connector
from gatehouse.registry.databases import Databases
from gatehouse.registry.drivers import mysql, postgresql
from gatehouse.registry.failures import Cause
from gatehouse.registry.lookup import of_versions
from gatehouse.registry.operations import VersionKey
from gatehouse.registry.schema import HEAD, REVISIONS
from gatehouse.registry.tables import artifact_files, model_versions
from registrycontract import a_registry, a_version, load, open_file

MYSQL = {"host": "db.example", "database": "registry", "username": "gatehouse"}


def test_a_registry_without_a_server_has_a_file_of_its_own(tmp_path: Path) -> None:
    databases = Databases(data_dir=tmp_path)
    assert databases.describe(a_registry()) == f"sqlite:///{tmp_path}/registries.local.db"
    long = address_of(a_registry("a" * 253), data_dir=tmp_path).file
    other = address_of(a_registry("a" * 252 + "b"), data_dir=tmp_path).file
    assert long is not None
    assert other is not None
    assert long != other
    assert len(long.name) <= 250


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A", "a/b", "a\x00"])
def test_a_name_that_is_no_name_opens_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(Stalled, match="is not the name of a ModelRegistry"):
        address_of(a_registry(name), data_dir=tmp_path)


def test_an_address_has_no_credentials(tmp_path: Path) -> None:
    databases = Databases(data_dir=tmp_path)
    assert databases.describe(a_registry(mysql=MYSQL)) == "mysql://db.example:3306/registry"
    assert databases.describe(a_registry(postgres=MYSQL)) == "postgresql://db.example:5432/registry"
    v6 = a_registry(postgres={**MYSQL, "host": "fd00::1"})
    assert databases.describe(v6) == "postgresql://[fd00::1]:5432/registry"
    assert "hunter2" not in repr(Credentials("hunter2", "hunter2"))


async def test_one_connection_for_each_address_and_credentials(tmp_path: Path) -> None:
    databases = Databases(data_dir=tmp_path)
    first = await databases.open(a_registry(), password=None, ca_pem=None)
    again = await databases.open(a_registry(), password=None, ca_pem=None)
    other = await databases.open(a_registry("other"), password=None, ca_pem=None)
    assert first._database is again._database
    assert first._database is not other._database
    databases.forget("registries/other")
    databases.forget("registries/other")
    await asyncio.gather(*databases._closing)
    with pytest.raises(Transient) as caught:
        await other.counts()
    assert caught.value.reason == "DatabaseClosed"
    await first.counts()
    await databases.aclose()
    with pytest.raises(Transient):
        await first.counts()


async def test_a_folder_that_cannot_be_made_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    databases = Databases(data_dir=tmp_path / "file" / "data")
    with pytest.raises(Transient, match="Not a directory") as caught:
        await databases.open(a_registry(), password=None, ca_pem=None)
    assert caught.value.reason == "DatabaseUnavailable"
    await databases.aclose()


async def test_commits_are_flushed(tmp_path: Path) -> None:
    opened = await open_file(tmp_path)
    assert opened.run(text("PRAGMA synchronous")) == [(2,)]
    assert opened.run(text("PRAGMA journal_mode")) == [("wal",)]
    await opened.databases.aclose()


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "registries.local.db").write_bytes(b"not a database at all" * 100)
    databases = Databases(data_dir=tmp_path)
    with pytest.raises(Stalled, match=r"registries\.local\.db is damaged") as caught:
        await databases.open(a_registry(), password=None, ca_pem=None)
    assert caught.value.reason == "DatabaseDamaged"
    await databases.aclose()


async def test_a_locked_file_is_contention(tmp_path: Path) -> None:
    databases = Databases(data_dir=tmp_path, limits=Limits(lock=0))
    rows = await databases.open(a_registry(), password=None, ca_pem=None)
    rival = sqlite3.connect(tmp_path / "registries.local.db", isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient) as caught:
        await rows.save_version(a_version(), files=None, change=None)
    assert caught.value.reason == "DatabaseContention"
    assert await rows.load_version(model="granite", version="v1") is None
    rival.execute("ROLLBACK")
    rival.close()
    await rows.save_version(a_version(), files=None, change=None)
    await databases.aclose()


async def test_operators_that_migrate_one_file_at_once(tmp_path: Path) -> None:
    everyone = await asyncio.gather(*(open_file(tmp_path) for _ in range(6)))
    for n, each in enumerate(everyone):
        await each.rows.save_version(a_version(n), files=None, change=None)
    assert (await everyone[0].rows.counts()).versions == 6
    for each in everyone:
        await each.databases.aclose()


def test_the_revisions_known_are_the_revisions_shipped() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from gatehouse.registry import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(REVISIONS))
    assert scripts.get_heads() == [HEAD]


async def test_the_keys_of_a_batch_are_looked_up_by_index(tmp_path: Path) -> None:
    opened = await open_file(tmp_path)
    keys = [VersionKey("registries/local", "m", f"v{n}") for n in range(3)]
    (database,) = opened.databases._databases.values()
    with database._connector.engine.connect() as connection:
        for table in (model_versions, artifact_files):
            for some in (keys, keys[:1]):
                query = select(table).where(of_versions(connection, table, some))
                compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
                assert f"SEARCH {table.name} USING INDEX" in plan[0].detail
                assert "registry=? AND model=? AND version=?" in plan[0].detail
    await opened.databases.aclose()


def test_neither_alembic_nor_drivers_that_are_not_used_are_imported(tmp_path: Path) -> None:
    """CPU at start and memory at rest are budgets; the drivers and Alembic are a good part of both."""
    program = f"""
import asyncio, sys
from pathlib import Path
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.registry.databases import Databases

async def main():
    metadata = {{"name": "local", "namespace": "registries"}}
    registry = ModelRegistry.model_validate({{"metadata": metadata, "spec": {{}}}})
    databases = Databases(data_dir=Path({str(tmp_path)!r}))
    await databases.open(registry, password=None, ca_pem=None)
    await databases.aclose()

asyncio.run(main())
print(*(name for name in ("alembic", "pymysql", "psycopg") if name in sys.modules))
"""
    said = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert said == ["", ""]


async def test_what_was_saved_outlives_a_killed_process(tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from registrycontract import a_change, a_file, a_version
from registrycontract import a_registry
from gatehouse.registry.databases import Databases

async def main():
    rows = await Databases(data_dir=Path({str(tmp_path)!r})).open(a_registry(), password=None, ca_pem=None)
    async def save(n):
        await rows.save_version(a_version(n), files=[a_file()], change=a_change())
        print(n, flush=True)
    for start in range(0, 100000, 7):
        await asyncio.gather(*(save(n) for n in range(start, start + 7)))

asyncio.run(main())
"""
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent / "operator")])}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    told = [int(await child.stdout.readline()) for _ in range(200)]
    child.kill()
    told += [int(line) for line in (await child.stdout.read()).splitlines(keepends=True) if line.endswith(b"\n")]
    await child.wait()
    opened = await open_file(tmp_path)
    for n in told:
        assert (await load(opened.rows, n)).phase == "Ready to Deploy"
        assert len(await opened.rows.history(model="granite", version=f"v{n}")) == 1
    await opened.databases.aclose()


@pytest.mark.parametrize("password", ["hunter2", "p w", "(1045)", "'"])
def test_secrets_are_taken_out_of_a_servers_words(password: str) -> None:
    target = Target(
        address=Address(kind="sqlite", file=Path("x.db")),
        credentials=Credentials(password),
        limits=Limits(),
        data_dir=Path(),
    )
    failure = Connector(target).failure_of(OSError(1, f"refused: password={password};"), connected=False)
    assert failure.detail == "refused: password=***;"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ('FATAL:  password authentication failed for user "x"', Cause.DENIED),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x", database "y", no encryption', Cause.DENIED),
        ('FATAL:  role "x" does not exist', Cause.DENIED),
        ('FATAL:  database "x" does not exist', Cause.NOT_FOUND),
        ("SSL error: certificate verify failed", Cause.CERTIFICATE),
        ("server does not support SSL, but SSL was required", Cause.CERTIFICATE),
        ("FATAL:  the database system is starting up", Cause.UNAVAILABLE),
        ("FATAL:  sorry, too many clients already", Cause.UNAVAILABLE),
        ("Connection refused", Cause.UNAVAILABLE),
        ("SSL connection has been closed unexpectedly", Cause.UNAVAILABLE),
    ],
)
def test_the_words_with_which_postgresql_refuses_a_connection(words: str, cause: Cause) -> None:
    from psycopg import OperationalError

    said = f'connection failed: connection to server at "127.0.0.1", port 5432 failed: {words}'
    assert postgresql.cause_of(OperationalError(said))[0] is cause


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (1213, Cause.CONTENTION),
        (1205, Cause.CONTENTION),
        (1290, Cause.READ_ONLY),
        (1792, Cause.READ_ONLY),
        (1045, Cause.DENIED),
        (1049, Cause.NOT_FOUND),
        (1062, Cause.DUPLICATE),
        (1406, Cause.REJECTED),
        (2003, Cause.UNAVAILABLE),
        (2006, Cause.UNAVAILABLE),
        (2013, Cause.UNAVAILABLE),
        (1053, Cause.UNAVAILABLE),
        (1040, Cause.UNAVAILABLE),
        (9999, Cause.OTHER),
    ],
)
def test_error_numbers_of_mysql(code: int, cause: Cause) -> None:
    from pymysql.err import OperationalError

    assert mysql.cause_of(OperationalError(code, "words")) == (cause, f"words (error {code})")


async def test_every_failure_is_one_of_ours(tmp_path: Path) -> None:
    """A table that somebody dropped is found out about, named, and comes back with its backup."""
    opened = await open_file(tmp_path)
    opened.run(text("ALTER TABLE model_versions RENAME TO hidden"))
    with pytest.raises(ReconcileError, match=r"misses a table.*no such table") as caught:
        await opened.rows.load_version(model="granite", version="v1")
    assert caught.value.reason == "DatabaseError"
    opened.run(text("ALTER TABLE hidden RENAME TO model_versions"))
    assert await opened.rows.load_version(model="granite", version="v1") is None
    await opened.databases.aclose()
