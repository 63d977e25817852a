"""Passwords and keys that are rotated on real servers while the operator works: nobody has to tell it."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from cluster.rig import Operator, until
from cluster.servers import Restartable, available
from cluster.status import Manifest, condition, kstatus
from cluster.world import World, make_world
from gatehouse_local.binaries import Binaries
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.minio import Minio
from gatehouse_local.net import free_port
from gatehouse_local.process import Server
from gatehouse_local.s3 import S3Endpoint, new_credentials

QUICK = ("--secret-interval=1s", "--probe-interval=1s")


def shown(body: Manifest, type_: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition; empty when it is not there."""
    found = condition(body, type_)
    return (found["status"], found["reason"], found["message"]) if found else ("", "", "")


def healthy(world: World, before: Manifest, *, name: str = "granite-1") -> None:
    """Waits until registry and version say nothing of an outage, and the version is what it was."""
    world.final("registry", kind="ModelRegistry")
    after = world.wait(name, lambda body: condition(body, "Reconciling") is None, what="does not heal")
    assert kstatus(after) == []
    assert condition(after, "Ready") == condition(before, "Ready")
    assert {**after["status"], "conditions": []} == {**before["status"], "conditions": []}


def said_anywhere(world: World, operator: Operator) -> str:
    """Log, objects and Events, in which no secret may stand."""
    kinds = ("ModelRegistry", "RegisteredModel", "ModelVersion", "ConfigMap", "Event")
    return operator.text() + str([world.all(kind) for kind in kinds])


@pytest.fixture
def password(mariadb: LocalDatabase) -> Iterator[LocalDatabase]:
    """A user of MariaDB whose password is rotated, with a database of its own."""
    name = f"rotation_{secrets.token_hex(4)}"
    database = dataclasses.replace(mariadb, database=name, username=name, password=secrets.token_urlsafe(16))
    run(mariadb, f"CREATE DATABASE {name}", f"CREATE USER '{name}'@'%' IDENTIFIED BY '{database.password}'")
    run(mariadb, f"GRANT ALL ON {name}.* TO '{name}'@'%'")
    yield database
    run(mariadb, f"DROP USER '{name}'@'%'", f"DROP DATABASE {name}")


def run(server: LocalDatabase, *statements: str) -> list[tuple[Any, ...]]:

    where = {"host": server.host, "port": server.port, "user": server.username, "password": server.password}
    with contextlib.closing(pymysql.connect(**where, autocommit=True)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def sessions(server: LocalDatabase, user: str) -> list[int]:
    """The connections that a user has to the server."""
    return [
        number for number, owner in run(server, "SELECT id, user FROM information_schema.processlist") if owner == user
    ]


@contextlib.contextmanager
def operator_for(plane: RunningControlPlane, world: World, folder: Path) -> Iterator[Operator]:
    running = Operator(plane, folder, namespaces=(world.namespace,), arguments=QUICK)
    with contextlib.closing(running):
        yield running.start()


@pytest.fixture
def operated(
    installed: RunningControlPlane, minio: S3Endpoint, password: LocalDatabase, tmp_path: Path
) -> Iterator[tuple[World, Operator]]:
    """A version that is ready, in a registry on that database."""
    with (
        make_world(installed, minio, database=password) as world,
        operator_for(installed, world, tmp_path) as operator,
    ):
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        world.ready()
        world.final("registry", kind="ModelRegistry")
        yield world, operator


@pytest.mark.parametrize("first", ["the Secret", "the server"])
def test_a_database_password_is_rotated(
    operated: tuple[World, Operator], mariadb: LocalDatabase, password: LocalDatabase, first: str
) -> None:
    world, operator = operated
    rotated = secrets.token_urlsafe(16)
    new = dataclasses.replace(password, password=rotated)
    change = f"ALTER USER '{password.username}'@'%' IDENTIFIED BY '{rotated}'"
    before = world.ready()
    if first == "the Secret":
        world.database = new
        world.secrets()
    else:
        run(mariadb, change)
        run(mariadb, *(f"KILL {session}" for session in sessions(mariadb, password.username)))
    denied = world.wait("registry", lambda body: shown(body, "Ready")[0] == "False", kind="ModelRegistry")
    assert shown(denied, "Ready")[1] == "DatabaseAccessDenied"
    assert "passwordSecret" in shown(denied, "Ready")[2]
    held = world.wait("granite-1", lambda body: condition(body, "Reconciling"), what="does not say so")
    assert shown(held, "Reconciling")[1] == "DatabaseAccessDenied"
    assert held["status"]["phase"] == "Ready to Deploy"
    assert condition(held, "Ready") == condition(before, "Ready")
    assert world.templates() == ["granite-1-serving"]
    if first == "the Secret":
        run(mariadb, change)
    else:
        world.database = new
        world.secrets()
    healthy(world, before)
    assert world.history(operator) == ["Ready to Deploy"]
    said = said_anywhere(world, operator)
    assert rotated not in said
    assert password.password not in said


def test_a_session_of_the_old_password_is_given_up_for_the_one_in_the_secret(
    operated: tuple[World, Operator], mariadb: LocalDatabase, password: LocalDatabase
) -> None:
    """Sessions outlive a change of the password, and nobody refuses anything: the Secret is read again all the same."""
    world, operator = operated
    before = world.ready()
    [old] = sessions(mariadb, password.username)
    rotated = secrets.token_urlsafe(16)
    run(mariadb, f"ALTER USER '{password.username}'@'%' IDENTIFIED BY '{rotated}'")
    world.database = dataclasses.replace(password, password=rotated)
    world.secrets()
    until(lambda: old not in sessions(mariadb, password.username), what="the old session stays")
    healthy(world, before)
    events = world.events("registry", at_least=1, kind="ModelRegistry")
    assert not [event for event in events if "AccessDenied" in event]
    assert world.history(operator) == ["Ready to Deploy"]


class RotatingMinio:
    """MinIO on one folder, whose keys change with a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._program = Binaries().obtain(["minio"])["minio"]
        self._current = self._minio()
        self._server = Restartable(folder, self._server_now)
        self._server.start()

    @property
    def endpoint(self) -> S3Endpoint:
        return self._current.endpoint

    def rotate(self) -> None:
        self._server.stop()
        self._current = self._minio()
        self._server.start()

    def close(self) -> None:
        self._server.stop()

    def _server_now(self) -> Server:
        return self._current.server()

    def _minio(self) -> Minio:
        return Minio(self._folder / "minio", program=self._program, port=self._port, credentials=new_credentials())


def test_object_store_keys_are_rotated(installed: RunningControlPlane, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(available(contextlib.closing(RotatingMinio(tmp_path / "store"))))
        old = store.endpoint
        world = stack.enter_context(make_world(installed, old, interval="1s"))
        operator = stack.enter_context(operator_for(installed, world, tmp_path))
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        before = world.ready()
        store.rotate()
        refused = world.wait(
            "granite-1", lambda body: shown(body, "Reconciling")[1] == "CredentialsRejected", what="does not say so"
        )
        assert old.url in shown(refused, "Reconciling")[2]
        assert refused["status"]["phase"] == "Ready to Deploy"
        assert condition(refused, "Ready") == condition(before, "Ready")
        registry = world.wait("registry", lambda body: shown(body, "Ready")[0] == "False", kind="ModelRegistry")
        assert shown(registry, "Ready")[1] == "ObjectStoreUnreachable"
        assert "CredentialsRejected" in shown(registry, "Ready")[2]
        assert world.templates() == ["granite-1-serving"]
        world.endpoint = store.endpoint
        world.secrets()
        healthy(world, before)
        assert world.history(operator) == ["Ready to Deploy"]
        said = said_anywhere(world, operator)
        assert not [each for each in (old, store.endpoint) if each.credentials.secret_key in said]
