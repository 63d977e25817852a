"""Servers that go away, lose answers, hang, take no writes, deadlock or refuse: no row is lost and none is doubled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import DBAPIError

from cluster.registry.databasefaults import KINDS, PASSWORD, Machine, Proxy, Site, connect, end_sessions, execute
from gatehouse.domain.common.errors import Stalled, Transient, Waiting
from gatehouse.domain.version.records import VersionRecord
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.rows import Rows
from gatehouse.registry.tables import artifact_files, history, model_versions, registered_models
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.files import make_traversable
from gatehouse_local.net import free_port
from gatehouse_local.pki import ensure_certificate
from registrycontract import LIMITS, NOW, OTHER_DIGEST, Opened, a_change, a_file, a_version, connected, load


@pytest.fixture(scope="module", params=KINDS)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    # pytest's own folders are closed to the accounts that database servers run as.
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder:
        machine = Machine(request.param, make_traversable(Path(folder)))
        try:
            machine.start()
            yield machine
        finally:
            machine.stop()


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> LocalDatabase:
    """The session's server; it speaks without TLS."""
    found: LocalDatabase = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def database(server: LocalDatabase) -> Iterator[str]:
    """A database of the test's own on the session's server."""
    with closing(connect(server, autocommit=True)) as connection, closing(connection.cursor()) as cursor:
        name = f"outage_{os.urandom(4).hex()}"
        cursor.execute(f"CREATE DATABASE {name}")
        yield name
        cursor.execute(f"DROP DATABASE {name}{' WITH (FORCE)' if server.kind == 'postgres' else ''}")


@pytest.fixture
async def opened(server: LocalDatabase, database: str, tmp_path: Path) -> AsyncIterator[Opened]:
    opened = await Site(server=server, database=database, folder=tmp_path).open()
    yield opened
    await opened.databases.aclose()


@pytest.fixture
def proxy(server: LocalDatabase) -> Iterator[Proxy]:
    proxy = Proxy(server)
    yield proxy
    proxy.close()


def engine_of(opened: Opened) -> Any:
    (database,) = opened.databases._databases.values()
    return database._connector.engine


@pytest.mark.parametrize("action", ["lose commit", "lose answer"])
async def test_a_lost_commit_and_a_lost_answer_look_the_same_and_double_nothing(
    action: str, proxy: Proxy, server: LocalDatabase, database: str, tmp_path: Path
) -> None:
    opened = await Site(server=server, database=database, folder=tmp_path, port=proxy.port).open()
    old = await asyncio.gather(
        *(
            opened.rows.save_version(a_version(n, phase="Verifying"), files=None, change=a_change(None, "Verifying"))
            for n in range(20)
        )
    )
    proxy.arm(action)
    ids = await asyncio.gather(
        *(
            opened.rows.save_version(
                a_version(n, id=old[n].version_id if n < 20 else None),
                files=[a_file()],
                change=a_change("Verifying" if n < 20 else None),
            )
            for n in range(40)
        )
    )
    assert proxy.acted.is_set()
    assert opened.counts.retries == {"DatabaseUnavailable": 1}
    assert ids[:20] == old
    assert len({each.version_id for each in ids}) == 40
    assert (opened.count(model_versions), opened.count(artifact_files), opened.count(history)) == (40, 40, 60)
    await opened.databases.aclose()


async def test_a_silent_server_is_given_up(proxy: Proxy, server: LocalDatabase, database: str, tmp_path: Path) -> None:
    opened = await Site(server=server, database=database, folder=tmp_path, port=proxy.port, silence=1).open()
    proxy.muted = True
    outcomes = await asyncio.gather(*(opened.rows.counts() for _ in range(500)), return_exceptions=True)
    assert {getattr(outcome, "reason", None) for outcome in outcomes} == {"DatabaseUnavailable"}
    proxy.muted = False
    assert (await opened.rows.counts()).versions == 0
    await opened.databases.aclose()


async def test_an_ended_session_is_not_noticed(opened: Opened, server: LocalDatabase, database: str) -> None:
    await opened.rows.save_version(a_version(1), files=None, change=a_change())
    end_sessions(server, database)
    assert (await load(opened.rows)).phase == "Ready to Deploy"
    end_sessions(server, database)
    await opened.rows.save_version(a_version(2), files=None, change=a_change())
    assert opened.counts.retries == {"DatabaseUnavailable": 2}
    assert (opened.count(model_versions), opened.count(history)) == (2, 2)


@pytest.mark.parametrize("moment", ["in the transaction", "before its commit"])
async def test_a_server_killed_in_the_middle_of_a_batch(machine: Machine, moment: str, tmp_path: Path) -> None:
    site = Site(server=machine.database, database=machine.database.database, folder=tmp_path)
    execute(site.server, *(f"DROP TABLE IF EXISTS {name}" for name in drop_order()))
    opened = await site.open()
    loop, down, up = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    up.set()
    batches = 0

    def crash(*_: Any) -> None:
        nonlocal batches
        batches += 1
        if batches in {1, 3, 5}:
            loop.call_soon_threadsafe(up.clear)
            machine.kill()
            loop.call_soon_threadsafe(down.set)

    def crash_in_history(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT INTO history", "INSERT INTO `history`")):
            crash()

    if moment == "before its commit":
        event.listen(engine_of(opened), "commit", crash)
    else:
        event.listen(engine_of(opened), "before_cursor_execute", crash_in_history)

    async def nurse() -> None:
        while True:
            await down.wait()
            down.clear()
            await asyncio.to_thread(machine.start)
            up.set()

    nursing = asyncio.create_task(nurse())
    await asyncio.gather(*(converge(opened.rows, a_version(n), up) for n in range(300)))
    nursing.cancel()
    assert batches > 5
    assert opened.count(registered_models) == 1
    assert opened.count(model_versions) == 300
    assert opened.count(artifact_files) == 300
    per_version = opened.run(select(history.c.version_id, func.count()).group_by(history.c.version_id))
    assert {count for _, count in per_version} == {2}
    assert opened.run(select(model_versions.c.phase).distinct()) == [("Ready to Deploy",)]
    await opened.databases.aclose()


def drop_order() -> list[str]:
    return ["history", "artifact_files", "model_versions", "registered_models", "gatehouse_schema"]


async def converge(rows: Rows, wanted: VersionRecord, up: asyncio.Event) -> None:
    """What a controller does: load, compare, save; after an outage, again from the start."""
    while True:
        await up.wait()
        try:
            found = await rows.load_version(model=wanted.model, version=wanted.version)
            if found is None:
                await rows.save_version(
                    replace(wanted, phase="Verifying"), files=[a_file()], change=a_change(None, "Verifying")
                )
            elif found.phase == "Verifying":
                await rows.save_version(
                    replace(wanted, id=found.id), files=None, change=a_change("Verifying", "Ready to Deploy")
                )
            else:
                return
        except Transient as error:
            assert error.reason == "DatabaseUnavailable", error  # noqa: PT017 - an outage leads to another round
            await asyncio.sleep(0)


async def test_an_absent_server_is_an_outage_and_not_an_endless_wait(machine: Machine, tmp_path: Path) -> None:
    site = Site(server=machine.database, database=machine.database.database, folder=tmp_path, port=free_port())
    with pytest.raises(Transient) as caught:
        await site.open()
    assert caught.value.reason == "DatabaseUnavailable"
    assert f"{site.server.host}:{site.port}/" in caught.value.message
    assert PASSWORD not in repr(caught.value)


async def test_a_deadlock_is_tried_again(opened: Opened, server: LocalDatabase, database: str) -> None:
    ids = await asyncio.gather(*(opened.rows.save_version(a_version(n), files=None, change=None) for n in range(2)))
    with closing(connect(server, database)) as rival, closing(rival.cursor()) as cursor:
        rivals_row = (
            "INSERT INTO registered_models (registry, name, namespace, uid, state, spec, created_at, updated_at) "
            "VALUES ('rival', %s, 'n', 'u', 'LIVE', '', '2026-01-01', '2026-01-01')"
        )
        # The heavier transaction wins in InnoDB; in PostgreSQL the one that came last to wait.
        for n in range(50):
            cursor.execute(rivals_row, (f"m{n}",))
        locking = "SELECT id FROM model_versions WHERE id = %s FOR UPDATE"
        cursor.execute(locking, (ids[1].version_id,))
        saving = asyncio.gather(
            *(
                opened.rows.save_version(a_version(n, id=ids[n].version_id), files=None, change=a_change())
                for n in range(2)
            )
        )
        await until(lambda: waits_for_lock(server))
        await asyncio.to_thread(cursor.execute, locking, (ids[0].version_id,))
        rival.commit()
    assert await saving == ids
    assert opened.counts.retries == {"DatabaseContention": 1}
    assert opened.count(history) == 2


def waits_for_lock(server: LocalDatabase) -> bool:
    if server.kind == "postgres":
        return bool(execute(server, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    return bool(execute(server, "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - a server cannot set an Event
            await asyncio.sleep(0)


async def test_a_decision_waits_for_what_another_operator_decides(
    opened: Opened, server: LocalDatabase, database: str
) -> None:
    ids = await opened.rows.save_version(a_version(digest=None), files=None, change=None)
    with closing(connect(server, database)) as rival, closing(rival.cursor()) as cursor:
        cursor.execute("UPDATE model_versions SET digest = %s WHERE id = %s", (OTHER_DIGEST, ids.version_id))
        saving = asyncio.ensure_future(
            opened.rows.save_version(a_version(id=ids.version_id), files=None, change=a_change())
        )
        await until(lambda: waits_for_lock(server))
        rival.commit()
    with pytest.raises(Stalled, match=OTHER_DIGEST) as caught:
        await saving
    assert caught.value.reason == "DigestImmutable"
    assert opened.run(select(model_versions.c.digest)) == [(OTHER_DIGEST,)]


async def test_a_lock_held_for_too_long_is_contention(opened: Opened, server: LocalDatabase, database: str) -> None:
    ids = await opened.rows.save_version(a_version(), files=None, change=None)
    with closing(connect(server, database)) as rival, closing(rival.cursor()) as cursor:
        cursor.execute("SELECT id FROM model_versions FOR UPDATE")
        with pytest.raises(Transient) as caught:
            await opened.rows.save_version(a_version(id=ids.version_id), files=None, change=a_change())
    assert caught.value.reason == "DatabaseContention"
    assert opened.count(history) == 0
    await opened.rows.save_version(a_version(id=ids.version_id), files=None, change=a_change())
    assert opened.count(history) == 1


async def test_the_locks_of_a_process_that_stops_in_mid_transaction_end(
    opened: Opened, server: LocalDatabase, database: str, tmp_path: Path
) -> None:
    """Its connection stays open: to the server, a stopped process and a node that is cut off are only silent."""
    ids = await opened.rows.save_version(a_version(), files=None, change=None)
    stopped = await Site(server=server, database=database, folder=tmp_path / "stopped").open()
    with contextlib.suppress(DBAPIError), connected(stopped) as connection:
        connection.execute(select(model_versions.c.id).with_for_update())
        async with asyncio.timeout(LIMITS.idle + 5 * LIMITS.lock):
            while opened.count(history) == 0:
                with contextlib.suppress(Transient):
                    await opened.rows.save_version(a_version(id=ids.version_id), files=None, change=a_change())
        with pytest.raises(DBAPIError):
            connection.execute(select(1))
    await stopped.databases.aclose()


async def test_a_replica_that_takes_no_writes(server: LocalDatabase, database: str, tmp_path: Path) -> None:
    user = plain_user(server, database)
    site = Site(server=server, database=database, folder=tmp_path, username=user, password=PASSWORD)
    opened = await site.open()
    await opened.rows.save_version(a_version(1), files=None, change=None)
    read_only(server, database, on=True)
    try:
        with pytest.raises(Transient, match="takes no writes") as caught:
            await opened.rows.save_version(a_version(2), files=None, change=a_change())
        assert caught.value.reason == "DatabaseReadOnly"
        assert (await load(opened.rows)).version == "v1"
        assert (await opened.rows.counts()).versions == 1
    finally:
        read_only(server, database, on=False)
    with contextlib.suppress(Transient):
        await opened.rows.save_version(a_version(2), files=None, change=a_change())
    await opened.rows.save_version(a_version(2), files=None, change=a_change())
    assert (opened.count(model_versions), opened.count(history)) == (2, 1)
    await opened.databases.aclose()
    drop_user(server, user)


def plain_user(server: LocalDatabase, database: str) -> str:
    """A user who may do everything in the database and nothing on the server: read_only holds for no superuser."""
    user = f"plain_{database}"
    if server.kind == "mariadb":
        execute(
            server,
            f"CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON `{database}`.* TO '{user}'@'%'",
        )
    else:
        execute(
            server,
            f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'",
            f"ALTER DATABASE {database} OWNER TO {user}",
        )
    return user


def drop_user(server: LocalDatabase, user: str) -> None:
    if server.kind == "mariadb":
        execute(server, f"DROP USER '{user}'@'%'")
    else:
        execute(server, f"REASSIGN OWNED BY {user} TO {server.username}", database=user.removeprefix("plain_"))
        execute(server, f"DROP ROLE {user}")


def read_only(server: LocalDatabase, database: str, *, on: bool) -> None:
    if server.kind == "mariadb":
        execute(server, f"SET GLOBAL read_only = {int(on)}")
        return
    # Only new sessions see it, as after a failover: one that is not made anew keeps to the server it had.
    execute(server, f"ALTER DATABASE {database} SET default_transaction_read_only = {'on' if on else 'off'}")
    if on:
        end_sessions(server, database)


async def test_a_wrong_password_and_its_rotation(server: LocalDatabase, database: str, tmp_path: Path) -> None:
    user = plain_user(server, database)
    site = Site(server=server, database=database, folder=tmp_path, username=user, password="not-the-word")
    databases = DatabasePool(data_dir=tmp_path, now=lambda: NOW, limits=LIMITS)
    with pytest.raises(Waiting) as caught:
        await site.open()
    assert caught.value.reason == "DatabaseAccessDenied"
    assert caught.value.after.total_seconds() == 30
    assert f"{server.host}:{server.port}/{database}" in caught.value.message
    assert "not-the-word" not in f"{caught.value!r} {caught.value.remedy} {caught.value.__cause__}"

    databases = DatabasePool(data_dir=tmp_path, now=lambda: NOW, limits=LIMITS)
    old = await replace(site, password=PASSWORD).open(databases)
    await old.rows.save_version(a_version(), files=None, change=None)
    host = "@'%'" if server.kind == "mariadb" else ""
    quoted = f"'{user}'{host} IDENTIFIED BY 'rotated'" if host else f"{user} PASSWORD 'rotated'"
    execute(server, f"ALTER {'USER' if host else 'ROLE'} {quoted}")
    new = await replace(site, password="rotated").open(databases)
    assert (await load(new.rows)).version == "v1"
    with pytest.raises(Transient) as closed:
        await old.rows.counts()
    assert closed.value.reason == "DatabaseClosed"
    assert len(databases._databases) == 1
    await databases.aclose()
    drop_user(server, user)


async def test_a_database_that_is_not_there(server: LocalDatabase, tmp_path: Path) -> None:
    with pytest.raises(Waiting, match="nowhere") as caught:
        await Site(server=server, database="nowhere", folder=tmp_path).open()
    assert caught.value.reason == "DatabaseNotFound"


async def test_tls_is_required_unless_the_registry_says_otherwise(
    machine: Machine, server: LocalDatabase, tmp_path: Path
) -> None:
    for database in (machine.database, server):  # one of a private authority, and one that has no certificate
        site = Site(server=database, database=database.database, folder=tmp_path, encrypted=True)
        with pytest.raises(Waiting) as caught:
            await site.open()
        assert "tls: Disabled" in caught.value.remedy
        assert caught.value.reason == "DatabaseCertificateRejected"
    opened = await Site(server=server, database=server.database, folder=tmp_path).open()
    assert not encrypted(opened, server)
    await opened.databases.aclose()


async def test_tls_is_required_and_verified_with_a_ca(machine: Machine, server: LocalDatabase, tmp_path: Path) -> None:
    here = Site(server=machine.database, database=machine.database.database, folder=tmp_path)
    good = await replace(here, ca_pem=machine.authority).open()
    assert encrypted(good, machine.database)
    await good.databases.aclose()
    strangers = ensure_certificate(tmp_path / "stranger", authority="stranger").authority.read_text()
    plain = Site(server=server, database=server.database, folder=tmp_path, ca_pem=machine.authority)
    for site in (replace(here, ca_pem=strangers), replace(here, ca_pem="no certificate"), plain):
        with pytest.raises(Waiting) as caught:
            await site.open()
        assert caught.value.reason == "DatabaseCertificateRejected"


def encrypted(opened: Opened, server: LocalDatabase) -> bool:
    from sqlalchemy import text

    if server.kind == "postgres":
        return bool(opened.run(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))[0][0])
    return bool(opened.run(text("SHOW STATUS LIKE 'Ssl_cipher'"))[0][1])


async def test_operators_that_migrate_at_once(server: LocalDatabase, database: str, tmp_path: Path) -> None:
    site = Site(server=server, database=database, folder=tmp_path)
    everyone = await asyncio.gather(*(site.open() for _ in range(6)))
    ids = await asyncio.gather(
        *(each.rows.save_version(a_version(n), files=None, change=None) for n, each in enumerate(everyone)),
        return_exceptions=True,
    )
    assert not any(isinstance(outcome, BaseException) for outcome in ids)
    assert everyone[0].run(select(func.count()).select_from(model_versions)) == [(6,)]
    for each in everyone:
        await each.databases.aclose()


async def test_a_migration_that_died_half_way_is_finished(server: LocalDatabase, database: str, tmp_path: Path) -> None:
    site = Site(server=server, database=database, folder=tmp_path)
    whole = await site.open()
    await whole.databases.aclose()
    execute(
        server, "DROP TABLE history", "DROP TABLE artifact_files", "DELETE FROM gatehouse_schema", database=database
    )
    opened = await site.open()
    await opened.rows.save_version(a_version(), files=[a_file()], change=a_change())
    assert opened.count(history) == 1
    await opened.databases.aclose()
