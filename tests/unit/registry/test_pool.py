"""Opening databases: which file, which connection, what is imported, what survives."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pymysql
import pytest
from sqlalchemy import Connection, Table, select, text
from sqlalchemy.dialects import mysql as mysql_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient
from gatehouse.registry import database
from gatehouse.registry.address import Address, Credentials, DatabaseLimits, Target, address_of
from gatehouse.registry.connector import Connector
from gatehouse.registry.drivers import mysql, postgresql
from gatehouse.registry.failures import Cause, Failure
from gatehouse.registry.keys import VersionKey, of_versions
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.schema import HEAD, REVISIONS
from gatehouse.registry.tables import artifact_files, metadata, model_versions, version_table
from gatehouse.registry.versions import LoadVersion
from registrycontract import a_registry, a_version, load, open_file

MYSQL = {"host": "db.example", "database": "registry", "username": "gatehouse"}


def test_a_registry_without_a_server_has_a_file_of_its_own(tmp_path: Path) -> None:
    databases = DatabasePool(data_dir=tmp_path)
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
    databases = DatabasePool(data_dir=tmp_path)
    assert databases.describe(a_registry(mysql=MYSQL)) == "mysql://db.example:3306/registry"
    assert databases.describe(a_registry(postgres=MYSQL)) == "postgresql://db.example:5432/registry"
    v6 = a_registry(postgres={**MYSQL, "host": "fd00::1"})
    assert databases.describe(v6) == "postgresql://[fd00::1]:5432/registry"
    assert "hunter2" not in repr(Credentials("hunter2", "hunter2"))


async def test_one_connection_for_each_address_and_credentials(tmp_path: Path) -> None:
    databases = DatabasePool(data_dir=tmp_path)
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
    databases = DatabasePool(data_dir=tmp_path / "file" / "data")
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
    databases = DatabasePool(data_dir=tmp_path)
    with pytest.raises(Stalled, match=r"registries\.local\.db is damaged") as caught:
        await databases.open(a_registry(), password=None, ca_pem=None)
    assert caught.value.reason == "DatabaseDamaged"
    await databases.aclose()


async def test_a_locked_file_is_contention(tmp_path: Path) -> None:
    databases = DatabasePool(data_dir=tmp_path, limits=DatabaseLimits(lock=0))
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
from gatehouse.registry.pool import DatabasePool

async def main():
    metadata = {{"name": "local", "namespace": "registries"}}
    registry = ModelRegistry.model_validate({{"metadata": metadata, "spec": {{}}}})
    databases = DatabasePool(data_dir=Path({str(tmp_path)!r}))
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
from gatehouse.registry.pool import DatabasePool

async def main():
    rows = await DatabasePool(data_dir=Path({str(tmp_path)!r})).open(a_registry(), password=None, ca_pem=None)
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
        limits=DatabaseLimits(),
        data_dir=Path(),
    )
    failure = Connector(target).failure_of(OSError(1, f"refused: password={password};"), connected=False)
    assert failure.detail == "refused: password=***;"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ('FATAL:  password authentication failed for user "x"', Cause.DENIED),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x", database "y", no encryption', Cause.TLS_REQUIRED),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x", database "y", SSL off', Cause.TLS_REQUIRED),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x", database "y", SSL encryption', Cause.DENIED),
        ("FATAL:  SSL required", Cause.TLS_REQUIRED),
        ("FATAL:  SSL connection is required. Please specify SSL options and retry.", Cause.TLS_REQUIRED),
        ("ERROR:  connection is insecure (try using `sslmode=require`)", Cause.TLS_REQUIRED),
        ('FATAL:  PAM authentication failed for user "x"', Cause.DENIED),
        ("FATAL:  no such database: x", Cause.NOT_FOUND),
        ("FATAL:  no such user: x", Cause.DENIED),
        ("FATAL:  auth failed", Cause.DENIED),
        ("FATAL:  SASL authentication failed", Cause.DENIED),
        ("FATAL:  unsupported startup parameter: options", Cause.SETTING),
        ("FATAL:  query_wait_timeout", Cause.UNAVAILABLE),
        ("FATAL:  server login has been failing, cached error: connect failed", Cause.UNAVAILABLE),
        ("FATAL:  conversion between UTF8 and MULE_INTERNAL is not supported", Cause.ENCODING),
        ('FATAL:  invalid value for parameter "client_encoding": "UTF8"', Cause.ENCODING),
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
        (1153, Cause.TOO_LARGE),
        (3159, Cause.TLS_REQUIRED),
        (9002, Cause.TLS_REQUIRED),
        (1286, Cause.SETTING),
        (1665, Cause.SETTING),
        (3098, Cause.SETTING),
        (3750, Cause.SETTING),
        (1047, Cause.UNAVAILABLE),
        (3100, Cause.UNAVAILABLE),
        (3101, Cause.CONTENTION),
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
    with pytest.raises(ReconcileError, match=r"lacks a table.*no such table") as caught:
        await opened.rows.load_version(model="granite", version="v1")
    assert caught.value.reason == "DatabaseError"
    opened.run(text("ALTER TABLE hidden RENAME TO model_versions"))
    assert await opened.rows.load_version(model="granite", version="v1") is None
    await opened.databases.aclose()


@pytest.mark.parametrize(("state", "cause"), [("22P05", Cause.UNENCODABLE), ("22021", Cause.UNENCODABLE)])
def test_a_value_that_the_encoding_lacks_is_of_its_row_alone(state: str, cause: Cause) -> None:
    failure = Failure(cause=cause, connected=True, database="postgresql://h:1/d", detail="no equivalent in LATIN1")
    assert postgresql._SQLSTATE[state] is cause
    assert (failure.poisoned, failure.down, failure.drops_connection) == (True, False, False)
    assert isinstance(failure.error(), Stalled)
    assert "UTF8" in failure.error().remedy


@pytest.mark.parametrize("cause", list(Cause))
def test_each_cause_has_words_and_what_somebody_mends_a_way_out(cause: Cause) -> None:
    error = Failure(cause=cause, connected=True, database="mysql://h:1/d", detail="words").error()
    assert error.message.startswith("Database mysql://h:1/d ")
    assert error.message.endswith(": words")
    assert isinstance(error, Transient) or error.remedy.endswith(".")


@pytest.mark.parametrize("fault", [TypeError("of a driver"), KeyError("x"), RecursionError(), MemoryError()])
async def test_a_fault_that_nobody_foresaw_is_of_its_operation_alone(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registries that share a database share batches: whoever asks for another row has nothing to do with it."""
    opened = await open_file(tmp_path)
    await asyncio.gather(*(opened.rows.save_version(a_version(n), files=None, change=None) for n in range(8)))
    run = LoadVersion.run

    def faulty(connection: Connection, batch: Sequence[LoadVersion]) -> Sequence[object]:
        if any(operation.key.version == "v5" for operation in batch):
            raise fault
        return run(connection, batch)

    monkeypatch.setattr(LoadVersion, "run", faulty)
    found = await asyncio.gather(
        *(opened.rows.load_version(model="granite", version=f"v{n}") for n in range(8)), return_exceptions=True
    )
    assert [n for n, each in enumerate(found) if isinstance(each, BaseException)] == [5]
    assert found[5] is fault
    await opened.databases.aclose()


@pytest.mark.parametrize("fault", [TypeError("a bytes-like object"), ValueError(), AttributeError("x")])
async def test_a_driver_that_fails_as_it_connects_is_told_as_the_databases_error(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_connector: Connector) -> None:
        raise fault

    monkeypatch.setattr(database, "ensure_schema", broken)
    databases = DatabasePool(data_dir=tmp_path)
    with pytest.raises(Transient, match=type(fault).__name__) as caught:
        await databases.open(a_registry(), password=None, ca_pem=None)
    assert caught.value.reason == "DatabaseError"
    monkeypatch.undo()
    rows = await databases.open(a_registry(), password=None, ca_pem=None)
    assert (await rows.counts()).read_only is False
    await databases.aclose()


class _Session:
    """A connection of psycopg, to a server directly or to a pool that greets with a number of its own."""

    def __init__(self, greeted: int, answers: int) -> None:
        self.info = SimpleNamespace(backend_pid=greeted)
        self._answers = answers

    def execute(self, statement: str) -> SimpleNamespace:
        assert statement == "SELECT pg_backend_pid()"
        return SimpleNamespace(fetchone=lambda: (self._answers,))


@pytest.mark.parametrize(("greeted", "answers", "pooled"), [(7, 7, False), (7, 8, True), (0, 8, True)])
def test_a_pool_is_told_by_its_number(greeted: int, answers: int, pooled: bool) -> None:
    assert postgresql._is_pooled(_Session(greeted, answers)) is pooled  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [None, {"statement_timeout": "30000", "lock_timeout": "10000"}])
def test_times_are_set_within_each_transaction_of_a_pool(times: Mapping[str, str] | None) -> None:
    said: list[tuple[str, object]] = []
    connection = SimpleNamespace(
        connection=SimpleNamespace(driver_connection=SimpleNamespace(per_transaction=times)),
        execute=lambda statement, values: said.append((str(statement), values)),
    )
    postgresql.begin(connection)  # type: ignore[arg-type]
    if times is None:
        assert said == []
    else:
        ((statement, values),) = said
        assert "set_config('statement_timeout', :statement_timeout, true)" in statement
        assert values == times


def test_a_statement_that_the_server_does_not_take_is_refused_before_it_is_sent() -> None:
    connection = object.__new__(mysql._Connection)
    connection.largest, connection.encoding = 1_000, "utf8"
    with pytest.raises(pymysql.err.OperationalError) as caught:
        connection.query("x" * 1_000)
    assert mysql.cause_of(caught.value)[0] is Cause.TOO_LARGE
    assert "max_allowed_packet of the server is 1000" in str(caught.value)


class _Cluster:
    """A connection to a cluster that has no named locks. ``free`` says how often the lease is somebody else's."""

    def __init__(self, refuses: int = 1235, busy: int = 0) -> None:
        self.refuses, self.busy, self.said, self.invalidated = refuses, busy, [], False

    said: list[str]

    def scalar(self, statement: object, _values: object = None) -> object:
        if "GET_LOCK" in str(statement):
            raise DBAPIError("", {}, pymysql.err.NotSupportedError(self.refuses, "GET_LOCK in cluster (WSREP_ON=ON)"))
        return "registry"

    def execute(self, statement: object, _values: object = None) -> SimpleNamespace:
        self.said.append(str(statement).split()[0])
        if "UTC_TIMESTAMP" in str(statement) and self.busy:
            self.busy -= 1
            return SimpleNamespace(rowcount=0)
        return SimpleNamespace(rowcount=1)

    def commit(self) -> None:
        self.said.append("commit")

    def rollback(self) -> None:
        self.said.append("rollback")


@pytest.mark.parametrize("refuses", [1235, 1105, 1305])
def test_a_cluster_without_named_locks_has_a_lease(refuses: int) -> None:
    cluster = _Cluster(refuses)
    with mysql.migration_lock(cluster, 1) as held:  # type: ignore[arg-type]
        assert held
        assert cluster.said == ["rollback", "CREATE", "INSERT", "commit", "UPDATE", "commit"]
    assert cluster.said[-4:] == ["commit", "rollback", "UPDATE", "commit"]


def test_a_lease_of_somebody_else_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_LEASE_PAUSE", 0.0)
    with mysql.migration_lock(_Cluster(busy=3), 10) as held:  # type: ignore[arg-type]
        assert held
    with mysql.migration_lock(_Cluster(busy=10**9), 0) as held:  # type: ignore[arg-type]
        assert not held


def test_another_refusal_of_the_lock_is_none_of_a_cluster() -> None:
    with pytest.raises(DBAPIError), mysql.migration_lock(_Cluster(1045), 1):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("table", [*metadata.sorted_tables, version_table], ids=lambda table: table.name)
def test_tables_do_not_depend_on_the_servers_defaults(table: Table) -> None:
    made = str(CreateTable(table).compile(dialect=mysql_dialect.dialect()))
    assert "ENGINE=InnoDB" in made
    assert "ROW_FORMAT=DYNAMIC" in made
    assert "PRIMARY KEY" in made
