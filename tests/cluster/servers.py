"""Servers that come and go while the operator works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import select
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self, TypeVar

import pytest

from cluster.faultstore import FaultStore, running
from gatehouse.install.shipped_files import documents
from gatehouse_local.binaries import Binaries
from gatehouse_local.controlplane import CONTROL_PLANE_PROGRAMS, ControlPlane, ControlPlanePorts, new_tokens
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import BuildFailed, ProgramMissing
from gatehouse_local.files import make_traversable
from gatehouse_local.install import install_kinds
from gatehouse_local.mariadb import Mariadb
from gatehouse_local.minio import Minio
from gatehouse_local.net import free_port
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.process import Server, Supervisor
from gatehouse_local.s3 import S3Endpoint, new_credentials

__all__ = [
    "FaultyStore",
    "Restartable",
    "available",
    "restartable_control_plane",
    "restartable_mariadb",
    "restartable_minio",
]

T = TypeVar("T")
_DEATH_SECONDS = 30.0


@contextlib.contextmanager
def available(server: AbstractContextManager[T]) -> Iterator[T]:
    """A server; one whose program is not installed skips the test, with the reason, and fails it with CI=true."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except (ProgramMissing, BuildFailed) as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI must have every server: {error}")
            pytest.skip(str(error))
        yield running


class Restartable:
    """A server in a folder of its own, to be stopped and started again."""

    def __init__(self, folder: Path, describe: Callable[[], Server]) -> None:
        self._supervisor = Supervisor(run=folder / "run", logs=folder / "logs")
        self._describe = describe

    def start(self) -> None:
        """Returns when it answers."""
        self._supervisor.ensure(self._describe())

    def stop(self) -> None:
        """Returns when it has ended."""
        self._supervisor.stop(self._describe().name)

    def kill(self) -> None:
        """kill -9. Returns when the last thread has ended: the port is taken until then."""
        name = self._describe().name
        ended = os.pidfd_open(self._supervisor.records()[name].identity.pid)
        try:
            signal.pidfd_send_signal(ended, signal.SIGKILL)
            assert select.select([ended], [], [], _DEATH_SECONDS)[0], f"{name} does not end"
        finally:
            os.close(ended)
        self._supervisor.stop(name)


@contextlib.contextmanager
def restartable_minio(folder: Path) -> Iterator[tuple[Restartable, S3Endpoint]]:
    """MinIO, started."""
    store = Minio(
        folder / "minio", program=Binaries().obtain(["minio"])["minio"], port=free_port(), credentials=new_credentials()
    )
    server = Restartable(folder, store.server)
    server.start()
    try:
        yield server, store.endpoint
    finally:
        server.stop()


@contextlib.contextmanager
def restartable_mariadb() -> Iterator[tuple[Restartable, LocalDatabase]]:
    """MariaDB, prepared but not started. Its account may not enter pytest's folders."""
    folder = make_traversable(Path(tempfile.mkdtemp(prefix="gatehouse-")))
    database = Mariadb(folder / "mariadb", port=free_port(), password=secrets.token_urlsafe(24), superuser=True)
    database.prepare()
    server = Restartable(folder, database.server)
    try:
        yield server, database.database
    finally:
        server.stop()
        shutil.rmtree(database.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def restartable_control_plane(folder: Path) -> Iterator[tuple[Restartable, RunningControlPlane]]:
    """etcd and an API server with the kinds, the roles and one hardware profile; the API server is restartable."""
    programs = Binaries().obtain(CONTROL_PLANE_PROGRAMS)
    etcd, peer, apiserver, manager = (free_port() for _ in range(4))
    ports = ControlPlanePorts(etcd=etcd, etcd_peer=peer, apiserver=apiserver, controller_manager=manager)
    tokens = new_tokens()
    plane = ControlPlane(folder / "kubernetes", ports=ports, tokens=tokens, programs=programs)
    plane.prepare()
    servers = [Restartable(folder, plane.etcd), Restartable(folder, plane.apiserver)]
    try:
        for server in servers:
            server.start()
        with contextlib.closing(plane.client()) as client:
            install_kinds(client)
            for manifest in (namespace_manifest(), *documents("manifests/hardware")):
                client.apply(manifest)
        yield (
            servers[1],
            RunningControlPlane(
                url=plane.url,
                authority=plane.authority,
                kubeconfig=plane.kubeconfig,
                tokens=tokens,
                _client=plane.client,
            ),
        )
    finally:
        for server in reversed(servers):
            server.stop()


class FaultyStore:
    """A `FaultStore`, served by a thread of its own. Its one bucket is ``models``."""

    def __init__(self) -> None:
        self.store = FaultStore()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="faulty store")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def requests(self) -> int:
        """How many requests came."""
        return self.store.requests.total()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        async with running(self.store):
            self._up.set()
            await self._stop.wait()
