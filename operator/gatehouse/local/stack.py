"""Everything that one local cluster runs, composed from its state."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from gatehouse.local import mariadb, postgres
from gatehouse.local.controlplane import CONTROL_PLANE_PROGRAMS, OPERATOR_USER, ControlPlane
from gatehouse.local.databases import Database, account_for, home_for
from gatehouse.local.errors import LocalClusterError
from gatehouse.local.files import make_private
from gatehouse.local.mariadb import Mariadb
from gatehouse.local.minio import Minio
from gatehouse.local.net import LOOPBACK, http_ready
from gatehouse.local.objects import NAMESPACE, REGISTRY
from gatehouse.local.postgres import Postgres
from gatehouse.local.process import Server
from gatehouse.local.state import DatabaseKind, State

__all__ = ["PROGRAM_NAMES", "DatabaseServer", "Stack", "database_homes", "database_server", "in_stop_order"]

PROGRAM_NAMES = (*CONTROL_PLANE_PROGRAMS, "minio", "kubectl")
_STOP_ORDER = ("operator", "kube-controller-manager", "kube-apiserver", "etcd", "minio", "mariadb", "postgres")
# The operator names the file of a registry without a server after the registry.
_SQLITE_FILE = f"{NAMESPACE}.{REGISTRY}.db"
_OPERATOR_VARIABLES = ("PYTHON", "COVERAGE_", "GATEHOUSE_")


class DatabaseServer(Protocol):
    """What the cluster needs of MariaDB and PostgreSQL."""

    @property
    def home(self) -> Path: ...

    @property
    def database(self) -> Database: ...

    def prepare(self, *, lock: int | None = None) -> None: ...

    def server(self) -> Server: ...

    def ensure_database(self) -> None: ...


def database_server(kind: DatabaseKind, folder: Path, state: State) -> DatabaseServer | None:
    """The server of the chosen kind of database; SQLite has none.

    Raises:
        ProgramMissing: it is not installed.
    """
    password = state.database_password
    if kind == "mariadb":
        return Mariadb(folder / "mariadb", port=state.ports["mariadb"], password=password)
    if kind == "postgres":
        return Postgres(folder / "postgres", port=state.ports["postgres"], password=password)
    return None


def database_homes(folder: Path) -> Iterator[Path]:
    """Where the database servers of a cluster in `folder` keep their data, whether or not they ever ran."""
    for name, account in (("mariadb", mariadb.ACCOUNT), ("postgres", postgres.ACCOUNT)):
        with contextlib.suppress(LocalClusterError):  # no such account: then the server never ran here
            yield home_for(folder / name, account_for(account))


def in_stop_order(names: Iterable[str]) -> list[str]:
    """The names of servers so that each comes before those it needs."""
    places = {name: place for place, name in enumerate(_STOP_ORDER)}
    return sorted(names, key=lambda name: places.get(name, -1))


class Stack:
    """The parts of a local cluster in `folder`, as its state describes them. Starts nothing."""

    def __init__(self, folder: Path, *, state: State, programs: Mapping[str, Path]) -> None:
        self._folder = folder
        self._state = state
        self.control_plane = ControlPlane(
            folder / "kubernetes", ports=state.control_plane_ports, tokens=state.tokens, programs=programs
        )
        self.minio = Minio(
            folder / "minio",
            program=programs["minio"],
            port=state.ports["minio"],
            credentials=state.s3_credentials,
        )
        self.database = database_server(state.database, folder, state)

    @property
    def database_url(self) -> str:
        """The address of the registry's rows in SQLAlchemy's form."""
        if self.database is not None:
            return self.database.database.url
        return f"sqlite:///{self._operator_data / _SQLITE_FILE}"

    def operator(self) -> Server:
        """The operator, with the rights of its own user and none of our environment's credentials."""
        kubeconfig = self.control_plane.user_kubeconfig(OPERATOR_USER)
        port = self._state.ports["operator"]
        return Server(
            name="operator",
            argv=(
                sys.executable,
                "-m",
                "gatehouse",
                "run",
                f"--kubeconfig={kubeconfig}",
                f"--context={OPERATOR_USER}",
                f"--data-dir={make_private(self._operator_data)}",
                f"--health-address={LOOPBACK}:{port}",
            ),
            env={
                "KUBECONFIG": str(kubeconfig),
                **{name: value for name, value in os.environ.items() if name.startswith(_OPERATOR_VARIABLES)},
            },
            settings=(self.control_plane.url,),
            ready=http_ready(port, "/readyz"),
        )

    def addresses(self) -> dict[str, str]:
        """Where each wanted server listens, by name."""
        ports = self._state.ports
        found = {
            "etcd": f"http://{LOOPBACK}:{ports['etcd']}",
            "kube-apiserver": self.control_plane.url,
            "kube-controller-manager": f"https://{LOOPBACK}:{ports['controller_manager']}",
            "minio": self.minio.endpoint.url,
        }
        if self.database is not None:
            found[self._state.database] = f"{LOOPBACK}:{self.database.database.port}"
        if self._state.operator:
            found["operator"] = f"http://{LOOPBACK}:{ports['operator']}"
        return found

    def servers(self) -> list[Server]:
        """The servers that are to run, in the order they need one another."""
        plane = self.control_plane
        wanted = [plane.etcd(), plane.apiserver(), plane.controller_manager(), self.minio.server()]
        if self.database is not None:
            wanted.append(self.database.server())
        if self._state.operator:
            wanted.append(self.operator())
        return wanted

    @property
    def _operator_data(self) -> Path:
        return self._folder / "operator"
