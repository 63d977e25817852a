"""The contract on servers with settings of their own: other encodings and defaults, pools, clusters, replicas.

A setting is one more class or one more line. Global settings are put back; the servers are those of the session, except
for the cluster and the pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psycopg
import pymysql
import pytest
from sqlalchemy import text

from cluster.registry.on_servers import OnServer, empty_database, execute, opened_on
from cluster.servers import Restartable, available
from gatehouse.domain.common.errors import Stalled, Waiting
from gatehouse.registry.drivers import mysql
from gatehouse.registry.tables import history, model_versions
from gatehouse_local.databases import LocalDatabase, account_for, find_program, give_to
from gatehouse_local.errors import ProgramMissing
from gatehouse_local.files import make_private, make_traversable, write_private
from gatehouse_local.mariadb import Mariadb
from gatehouse_local.net import LOOPBACK, free_port
from gatehouse_local.process import Server
from registrycontract import Opened, a_change, a_file, a_version, connected, load

GALERA = Path("/usr/lib/galera/libgalera_smm.so")
SMALL_PACKET = 1024 * 1024


@contextlib.contextmanager
def database_with(server: LocalDatabase, options: str, *, then: tuple[str, ...] = ()) -> Iterator[str]:
    """An empty database of PostgreSQL made with options, and statements about it."""
    name = f"test_{secrets.token_hex(6)}"
    execute(server, "CREATE DATABASE {} " + options, name)
    for statement in then:
        execute(server, "ALTER DATABASE {} " + statement, name)
    yield name
    execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def encoded(encoding: str) -> str:
    return f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"


@contextlib.contextmanager
def globally(server: LocalDatabase, settings: Mapping[str, str | int]) -> Iterator[None]:
    """Global settings of MariaDB, put back afterwards by the connection that set them."""
    connection = pymysql.connect(
        host=server.host, port=server.port, user=server.username, password=server.password, autocommit=True
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        before = {}
        for name, value in settings.items():
            cursor.execute(f"SELECT @@global.{name}")
            (before[name],) = cursor.fetchone() or (None,)
            cursor.execute(f"SET GLOBAL {name} = %s", (value,))
        try:
            yield
        finally:
            for name, value in before.items():
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))


# PostgreSQL


class OnPostgres(OnServer):
    @pytest.fixture
    def server(self, postgres: LocalDatabase) -> LocalDatabase:
        return postgres


class TestPostgresInAsciiAlone(OnPostgres):
    """A database of no encoding keeps the bytes that it gets, and counts a column's width in them."""

    @pytest.fixture
    def database(self, server: LocalDatabase) -> Iterator[str]:
        with database_with(server, encoded("SQL_ASCII")) as name:
            yield name

    async def test_the_longest_names_fit_every_index(self, opened: Opened) -> None:
        record = a_version(model="m" * 253, version="v" * 128, spec="ü" * 1_500_000)
        ids = await opened.rows.save_version(record, files=[a_file("型" * 341)], change=None)
        found = await opened.rows.load_version(model=record.model, version=record.version)
        assert found == replace(record, id=ids.version_id, model_id=ids.model_id)
        with pytest.raises(Stalled) as refused:
            await opened.rows.save_version(a_version(model="模" * 253), files=None, change=None)
        assert refused.value.reason == "RowRejected"


class TestPostgresWithSessionsOfItsOwn(OnPostgres):
    @pytest.fixture
    def database(self, server: LocalDatabase) -> Iterator[str]:
        odd = (
            "SET datestyle TO 'German'",
            "SET timezone TO 'Asia/Kolkata'",
            "SET default_transaction_isolation TO 'serializable'",
            "SET standard_conforming_strings TO off",
            "SET client_encoding TO 'LATIN1'",
        )
        with database_with(server, encoded("UTF8"), then=odd) as name:
            yield name


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "SQL_ASCII"])
async def test_a_character_that_the_encoding_lacks_is_of_its_row_alone(
    postgres: LocalDatabase, encoding: str, tmp_path: Path
) -> None:
    with database_with(postgres, encoded(encoding)) as name:
        async with opened_on(postgres, name, tmp_path) as opened:
            specs = ['{"n":"ü"}'] * 10
            specs[3] = '{"n":"🚀 模型"}'
            outcomes = await asyncio.gather(
                *(
                    opened.rows.save_version(a_version(n, spec=spec), files=[a_file()], change=a_change())
                    for n, spec in enumerate(specs)
                ),
                return_exceptions=True,
            )
            errors = {n: each for n, each in enumerate(outcomes) if isinstance(each, BaseException)}
            if encoding == "SQL_ASCII":
                assert errors == {}
                assert (await load(opened.rows, 3)).spec == specs[3]
                return
            assert set(errors) == {3}
            assert isinstance(errors[3], Stalled)
            assert errors[3].reason == "RowRejected"
            assert "UTF8" in errors[3].remedy
            assert (await load(opened.rows, 4)).spec == specs[4]
            assert (opened.count(model_versions), opened.count(history)) == (9, 9)


async def test_a_replica_is_told_by_what_it_says_and_read_all_the_same(postgres: LocalDatabase, tmp_path: Path) -> None:
    with empty_database(postgres) as name:
        async with opened_on(postgres, name, tmp_path) as opened:
            assert not (await opened.rows.counts()).read_only
        execute(postgres, "ALTER DATABASE {} SET default_transaction_read_only = on", name)
        async with opened_on(postgres, name, tmp_path) as opened:
            assert (await opened.rows.counts()).read_only
        execute(postgres, "ALTER DATABASE {} SET default_transaction_read_only = off", name)
        async with opened_on(postgres, name, tmp_path) as opened:
            assert not (await opened.rows.counts()).read_only


# A pool before it


@contextlib.contextmanager
def pgbouncer(server: LocalDatabase, mode: str) -> Iterator[LocalDatabase]:
    """pgbouncer before a server, which gives each transaction the session that was not used for the longest time."""
    program = find_program("pgbouncer", package="pgbouncer", folders=(Path("/usr/sbin"), Path("/usr/local/bin")))
    account, port = account_for("postgres"), free_port()
    folder = make_traversable(Path(tempfile.mkdtemp(prefix="gatehouse-")))
    home = give_to(account, make_private(folder / "pgbouncer"))
    users = write_private(home / "users.txt", f'"{server.username}" "{server.password}"\n')
    lines = (
        "[databases]",
        f"* = host={server.host} port={server.port}",
        "[pgbouncer]",
        f"listen_addr = {LOOPBACK}",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        f"auth_file = {users}",
        f"pool_mode = {mode}",
        "default_pool_size = 4",
        "max_client_conn = 200",
        "server_round_robin = 1",
    )
    settings = write_private(home / "pgbouncer.ini", "\n".join(lines) + "\n")
    for file in (users, settings):
        give_to(account, file)
    database = replace(server, port=port)

    def answers() -> bool:
        try:
            psycopg.connect(
                host=database.host,
                port=port,
                user=server.username,
                password=server.password,
                dbname=server.database,
                connect_timeout=2,
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    process = Restartable(
        folder,
        lambda: Server(name="pgbouncer", argv=(str(program), str(settings)), account=account, ready=answers),
    )
    process.start()
    try:
        yield database
    finally:
        process.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def pool(postgres: LocalDatabase) -> Iterator[LocalDatabase]:
    with available(pgbouncer(postgres, "transaction")) as running:
        yield running


class TestPgbouncerInTransactionMode(OnServer):
    @pytest.fixture
    def server(self, pool: LocalDatabase) -> LocalDatabase:
        return pool

    @pytest.fixture
    def database(self, postgres: LocalDatabase) -> Iterator[str]:
        with empty_database(postgres) as name:
            yield name

    async def test_times_hold_in_each_transaction_and_stay_in_no_session(
        self, opened: Opened, server: LocalDatabase
    ) -> None:
        for _ in range(6):
            assert opened.run(text("SHOW statement_timeout")) == [("10s",)]
        with psycopg.connect(
            host=server.host,
            port=server.port,
            user=server.username,
            password=server.password,
            dbname=next(iter(opened.databases._databases)).address.database,
            autocommit=True,
        ) as other:
            assert {other.execute("SHOW statement_timeout").fetchone() for _ in range(8)} == {("0",)}

    async def test_many_statements_alike_are_prepared_by_nobody(self, opened: Opened) -> None:
        for number in range(20):
            await opened.rows.save_version(a_version(number), files=[a_file()], change=a_change())
        assert opened.run(text("SELECT count(*) FROM pg_prepared_statements")) == [(0,)]
        assert opened.counts.retries == {}


async def test_a_pool_in_statement_mode_is_told_as_a_setting(postgres: LocalDatabase, tmp_path: Path) -> None:
    with available(pgbouncer(postgres, "statement")) as pool, pytest.raises(Waiting) as refused:
        async with opened_on(pool, postgres.database, tmp_path):
            pass
    assert refused.value.reason == "DatabaseMisconfigured"


# MariaDB


class TestMariadbWithOtherDefaults(OnServer):
    @pytest.fixture
    def server(self, mariadb: LocalDatabase) -> Iterator[LocalDatabase]:
        odd: dict[str, str | int] = {
            "default_storage_engine": "MyISAM",
            "innodb_default_row_format": "compact",
            "innodb_force_primary_key": 1,
            "character_set_server": "latin1",
            "collation_server": "latin1_swedish_ci",
        }
        with globally(mariadb, odd):
            yield mariadb

    async def test_every_table_has_transactions(self, opened: Opened) -> None:
        found = opened.run(
            text("SELECT engine, row_format FROM information_schema.tables WHERE table_schema = DATABASE()")
        )
        assert {(engine, row_format) for engine, row_format in found} == {("InnoDB", "Dynamic")}


async def test_a_row_that_no_packet_takes_is_refused_alone_and_the_connection_stays(
    mariadb: LocalDatabase, tmp_path: Path
) -> None:
    with globally(mariadb, {"max_allowed_packet": SMALL_PACKET}), empty_database(mariadb) as name:
        async with opened_on(mariadb, name, tmp_path) as opened:
            (mine,) = opened.run(text("SELECT CONNECTION_ID()"))
            specs = ["x" * 100_000] * 10
            specs[3] = "x" * (2 * SMALL_PACKET)
            outcomes = await asyncio.gather(
                *(
                    opened.rows.save_version(a_version(n, spec=spec), files=[a_file()], change=a_change())
                    for n, spec in enumerate(specs)
                ),
                return_exceptions=True,
            )
            errors = {n: each for n, each in enumerate(outcomes) if isinstance(each, BaseException)}
            assert set(errors) == {3}
            assert isinstance(errors[3], Stalled)
            assert errors[3].reason == "RowRejected"
            assert f"max_allowed_packet of the server is {SMALL_PACKET}" in errors[3].message
            assert "16 MiB" in errors[3].remedy
            assert opened.run(text("SELECT CONNECTION_ID()")) == [mine]
            assert opened.count(model_versions) == 9


async def test_a_server_that_takes_encrypted_connections_only_is_told_as_that(
    mariadb: LocalDatabase, tmp_path: Path
) -> None:
    with globally(mariadb, {"require_secure_transport": 1}), pytest.raises(Waiting) as refused:
        async with opened_on(mariadb, mariadb.database, tmp_path):
            pass
    # MySQL says so with an error of its own (3159); MariaDB up to 10.11 says that access is denied, and no more.
    assert refused.value.reason in {"DatabaseTlsRequired", "DatabaseAccessDenied"}
    assert "tls: Required" in refused.value.remedy


async def test_a_replica_of_mariadb_is_told_too(mariadb: LocalDatabase, tmp_path: Path) -> None:
    with empty_database(mariadb) as name:
        async with opened_on(mariadb, name, tmp_path) as opened:
            assert not (await opened.rows.counts()).read_only
            with globally(mariadb, {"read_only": 1}):
                assert (await opened.rows.counts()).read_only
            assert not (await opened.rows.counts()).read_only


async def test_operators_that_migrate_at_once_without_named_locks(
    mariadb: LocalDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As clusters refuse them; any server can be made to."""
    monkeypatch.setattr(mysql, "_NAMED_LOCK", "SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1235")
    with empty_database(mariadb) as name:
        async with contextlib.AsyncExitStack() as stack:
            everyone = await asyncio.gather(
                *(stack.enter_async_context(opened_on(mariadb, name, tmp_path)) for _ in range(4))
            )
            ids = await asyncio.gather(
                *(each.rows.save_version(a_version(n), files=None, change=None) for n, each in enumerate(everyone))
            )
            assert len(set(ids)) == 4
            found = everyone[0].run(text("SELECT expires < UTC_TIMESTAMP() FROM gatehouse_migration_lease"))
            assert found == [(1,)], "nobody holds it any more"


# A cluster


@contextlib.contextmanager
def galera() -> Iterator[LocalDatabase]:
    """A node of Galera, a cluster by itself: what it refuses, each node of a larger one refuses."""
    if not GALERA.is_file():
        raise ProgramMissing(f"there is no {GALERA}; install it, on Debian or Ubuntu with: apt-get install galera-4")
    folder = make_traversable(Path(tempfile.mkdtemp(prefix="gatehouse-")))
    mariadb = Mariadb(folder / "mariadb", port=free_port(), password=secrets.token_urlsafe(24), superuser=True)
    mariadb.prepare()
    plain = Restartable(folder, mariadb.server)
    group = free_port()

    def node() -> Server:
        alone = mariadb.server()
        argv = tuple(argument for argument in alone.argv if not argument.startswith("--init-file="))
        options = f"base_host={LOOPBACK};base_port={group};gmcast.listen_addr=tcp://{LOOPBACK}:{group}"
        return replace(
            alone,
            argv=(
                *argv,
                "--wsrep-on=ON",
                f"--wsrep-provider={GALERA}",
                f"--wsrep-provider-options={options}",
                "--wsrep-cluster-address=gcomm://",
                f"--wsrep-node-address={LOOPBACK}",
                "--wsrep-sst-method=rsync",
                "--binlog-format=ROW",
                "--innodb-autoinc-lock-mode=2",
            ),
        )

    cluster = Restartable(folder, node)
    try:
        # The statements of the first start are no cluster's.
        plain.start()
        plain.stop()
        cluster.start()
        yield mariadb.database
    finally:
        cluster.stop()
        shutil.rmtree(mariadb.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def node() -> Iterator[LocalDatabase]:
    with available(galera()) as running:
        yield running


@pytest.fixture
async def on_a_cluster(node: LocalDatabase, tmp_path: Path) -> AsyncIterator[Opened]:
    with empty_database(node) as name:
        async with opened_on(node, name, tmp_path) as opened:
            yield opened


async def test_a_cluster_keeps_rows_history_and_audit_records(on_a_cluster: Opened) -> None:
    rows = on_a_cluster.rows
    await asyncio.gather(*(rows.save_version(a_version(n), files=[a_file()], change=a_change()) for n in range(50)))
    assert (await rows.counts()).versions == 50
    assert on_a_cluster.count(history) == 50
    with connected(on_a_cluster) as connection:
        assert connection.scalar(text("SELECT @@wsrep_on")) == 1


async def test_operators_migrate_a_cluster_at_once(node: LocalDatabase, tmp_path: Path) -> None:
    with empty_database(node) as name:
        async with contextlib.AsyncExitStack() as stack:
            everyone = await asyncio.gather(
                *(stack.enter_async_context(opened_on(node, name, tmp_path)) for _ in range(4))
            )
            await everyone[0].rows.save_version(a_version(), files=None, change=None)
            assert (await load(everyone[3].rows)).version == "v1"
