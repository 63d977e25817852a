"""A database that takes connections and never answers, beside one that does: what it may hold, and what goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from cluster.rig import Operator, until
from cluster.status import condition
from cluster.world import World, make_world
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK
from gatehouse_local.s3 import S3Endpoint

WORKERS = 4
SHARE = 2
"""Half of them, which one database may hold while there are others."""
WAITING = 12
VERSIONS = "modelversions"


@dataclass
class SilentServer:
    """Takes every connection, and neither answers nor closes it. ``connections`` are those that were ever taken."""

    listener: socket.socket = field(default_factory=lambda: socket.create_server((LOOPBACK, 0)))
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def open(self) -> int:
        """Connections that the other side has not closed."""
        found = 0
        for connection in list(self.connections):
            connection.setblocking(False)
            try:
                found += bool(connection.recv(1, socket.MSG_PEEK))
            except BlockingIOError:
                found += 1
            except OSError:
                continue
        return found

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        for connection in self.connections:
            connection.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.connections.append(self.listener.accept()[0])


@dataclass
class Site:
    """A registry whose database is silent, one whose database answers, and the operator of both."""

    server: SilentServer
    silent: World
    healthy: World
    operator: Operator

    def waiting(self) -> float:
        """Versions that wait for their database's share of the workers."""
        return self.operator.metrics().sum("gatehouse_queue_set_aside", kind=VERSIONS)


def leads(operator: Operator) -> bool:
    try:
        return bool(operator.metrics().sum("gatehouse_leader"))
    except OSError:
        return False


@pytest.fixture(scope="module")
def site(installed: RunningControlPlane, minio: S3Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """MariaDB's driver waits the longest for a server that says nothing."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(SilentServer())
        database = LocalDatabase(kind="mariadb", port=server.port, username="gatehouse", password="x")
        silent = stack.enter_context(make_world(installed, minio, database=database))
        healthy = stack.enter_context(make_world(installed, minio))
        healthy.upload()
        silent.apply(silent.registry(), silent.model())
        silent.apply(*(silent.version(f"granite-{number}") for number in range(WAITING)))
        operator = Operator(
            installed,
            tmp_path_factory.mktemp("operator"),
            namespaces=(silent.namespace, healthy.namespace),
            arguments=[f"--workers={WORKERS}"],
        )
        stack.enter_context(contextlib.closing(operator))
        # One registry alone has all the workers: the other one must be there when the first versions are taken.
        healthy.apply(healthy.registry())
        operator.start(wait=False)
        until(lambda: leads(operator), what=operator.tail)
        yield Site(server, silent, healthy, operator)


def test_a_healthy_registry_goes_on_beside_a_database_that_never_answers(site: Site) -> None:
    until(
        lambda: site.waiting() == WAITING - SHARE,
        what=lambda: f"{site.waiting():g} of {WAITING} versions wait, not {WAITING - SHARE}",
    )
    until(site.server.open, what="the database was not asked")
    assert site.server.open() == 1, "one database has one connection"
    before = site.operator.metrics()
    site.healthy.apply(site.healthy.model(), site.healthy.version())
    site.healthy.ready()
    after = site.operator.metrics()
    assert len(site.healthy.rows(site.operator)) == 1
    assert after.since(before)["rows model_versions"] >= 1
    assert site.server.open() <= 1
    for number in range(WAITING):
        found = site.silent.get("ModelVersion", f"granite-{number}")
        ready = condition(found, "Ready") if found is not None and "status" in found else None
        assert ready is None or ready["status"] == "False"


def test_the_registry_of_the_silent_database_says_that_objects_wait_for_it(site: Site) -> None:
    told = site.silent.wait(
        "registry",
        lambda body: "status" in body and condition(body, "WaitingForDatabase") is not None,
        kind="ModelRegistry",
        what="does not say that objects wait for its database",
        seconds=180,
    )
    said = condition(told, "WaitingForDatabase")
    assert said is not None
    assert (said["status"], said["reason"]) == ("True", "ShareOfWorkers")
    healthy = site.healthy.final("registry", kind="ModelRegistry")
    assert condition(healthy, "WaitingForDatabase") is None


def test_what_is_deleted_meanwhile_is_archived_where_the_database_answers(site: Site) -> None:
    site.healthy.apply(site.healthy.model(), site.healthy.version())
    site.healthy.ready()
    site.healthy.delete("ModelVersion", "granite-1")
    until(
        lambda: [row["state"] for row in site.healthy.rows(site.operator)] == ["ARCHIVED"],
        what="the row of the deleted version is live",
    )
    assert site.server.open() <= 1
