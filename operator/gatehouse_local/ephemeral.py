"""Servers for the time of a `with` block, in a temporary folder, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatehouse_local.binaries import Binaries
from gatehouse_local.controlplane import (
    ADMIN,
    CONTROL_PLANE_PROGRAMS,
    ControlPlane,
    ControlPlanePorts,
    new_tokens,
)
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.files import make_traversable
from gatehouse_local.install import install_kinds
from gatehouse_local.kube import KubeClient
from gatehouse_local.mariadb import Mariadb
from gatehouse_local.minio import Minio, MinioWebhook
from gatehouse_local.net import free_port
from gatehouse_local.postgres import Postgres
from gatehouse_local.process import Supervisor
from gatehouse_local.s3 import S3Endpoint, new_credentials
from gatehouse_local.stack import DatabaseServer, in_stop_order
from gatehouse_local.versitygw import Versitygw

__all__ = [
    "RunningControlPlane",
    "RunningVersitygw",
    "control_plane",
    "mariadb",
    "minio",
    "postgres",
    "versitygw",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningControlPlane:
    """An API server, with Gatehouse's kinds and roles unless it is bare.

    `kubeconfig` has a context for each user, and `admin` is current; `tokens` are by user.
    """

    url: str
    authority: Path
    kubeconfig: Path
    tokens: Mapping[str, str]
    _client: Callable[[str], KubeClient]

    def client(self, user: str = ADMIN) -> KubeClient:
        """A client as one of the users. The caller closes the client."""
        return self._client(user)


@dataclass(frozen=True, slots=True)
class RunningVersitygw:
    """A gateway whose buckets are the sub-folders of `data`."""

    endpoint: S3Endpoint
    data: Path


@contextlib.contextmanager
def control_plane(
    binaries: Binaries | None = None, *, bare: bool = False, without: Sequence[str] = ()
) -> Iterator[RunningControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager, with the CRDs, the roles and their bindings unless ``bare``.

    ``without`` names controllers of the kube-controller-manager that do not run.
    """
    programs = (binaries or Binaries()).obtain(CONTROL_PLANE_PROGRAMS)
    with _servers() as (home, supervisor):
        etcd, peer, apiserver, manager = _ports(4)
        ports = ControlPlanePorts(etcd=etcd, etcd_peer=peer, apiserver=apiserver, controller_manager=manager)
        tokens = new_tokens()
        plane = ControlPlane(home / "kubernetes", ports=ports, tokens=tokens, programs=programs, without=without)
        plane.prepare()
        for server in (plane.etcd(), plane.apiserver(), plane.controller_manager()):
            supervisor.ensure(server)
        if not bare:
            with contextlib.closing(plane.client()) as client:
                install_kinds(client)
        yield RunningControlPlane(
            url=plane.url,
            authority=plane.authority,
            kubeconfig=plane.kubeconfig,
            tokens=tokens,
            _client=plane.client,
        )


@contextlib.contextmanager
def minio(
    binaries: Binaries | None = None, *, tls: bool = False, webhook: MinioWebhook | None = None
) -> Iterator[S3Endpoint]:
    """MinIO without buckets; with `tls`, MinIO has a certificate of its own authority."""
    programs = (binaries or Binaries()).obtain(["minio"])
    with _servers() as (home, supervisor):
        store = Minio(
            home / "minio",
            program=programs["minio"],
            port=free_port(),
            credentials=new_credentials(),
            tls=tls,
            webhook=webhook,
        )
        supervisor.ensure(store.server())
        yield store.endpoint


@contextlib.contextmanager
def versitygw(binaries: Binaries | None = None) -> Iterator[RunningVersitygw]:
    """versitygw over an empty folder."""
    programs = (binaries or Binaries()).obtain(["versitygw"])
    with _servers() as (home, supervisor):
        store = Versitygw(
            home / "versitygw", program=programs["versitygw"], port=free_port(), credentials=new_credentials()
        )
        supervisor.ensure(store.server())
        yield RunningVersitygw(store.endpoint, store.data)


@contextlib.contextmanager
def mariadb() -> Iterator[LocalDatabase]:
    """MariaDB with an empty database; its user has every right on the server."""
    with (
        _servers() as (home, supervisor),
        _database(
            Mariadb(home / "mariadb", port=free_port(), password=secrets.token_urlsafe(24), superuser=True), supervisor
        ) as database,
    ):
        yield database


@contextlib.contextmanager
def postgres() -> Iterator[LocalDatabase]:
    """PostgreSQL with an empty database; its user has every right on the server."""
    with (
        _servers() as (home, supervisor),
        _database(
            Postgres(home / "postgres", port=free_port(), password=secrets.token_urlsafe(24), superuser=True),
            supervisor,
        ) as database,
    ):
        yield database


@contextlib.contextmanager
def _database(server: DatabaseServer, supervisor: Supervisor) -> Iterator[LocalDatabase]:
    try:
        server.prepare()
        supervisor.ensure(server.server())
        server.ensure_database()
        yield server.database
    finally:
        supervisor.stop(server.server().name)
        shutil.rmtree(server.home, ignore_errors=True)


@contextlib.contextmanager
def _servers() -> Iterator[tuple[Path, Supervisor]]:
    """A temporary folder and a supervisor that stops everything at the end of the block."""
    home = make_traversable(Path(tempfile.mkdtemp(prefix="gatehouse-")))
    supervisor = Supervisor(run=home / "run", logs=home / "logs")
    try:
        yield home, supervisor
    finally:
        for name in in_stop_order(supervisor.records()):
            supervisor.stop(name)
        shutil.rmtree(home, ignore_errors=True)


def _ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        found.append(free_port(avoid=frozenset(found)))
    return found
