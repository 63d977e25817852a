"""All servers of one local cluster, composed from its state."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from gatehouse_local import mariadb, postgres
from gatehouse_local.controlplane import CONTROL_PLANE_PROGRAMS, OPERATOR_USER, ControlPlane
from gatehouse_local.databases import LocalDatabase, account_for, home_for
from gatehouse_local.errors import LocalClusterError, NotUp
from gatehouse_local.files import make_private
from gatehouse_local.mariadb import Mariadb
from gatehouse_local.minio import Minio, MinioWebhook
from gatehouse_local.net import LOOPBACK, http_ready
from gatehouse_local.node.namespace import HOLDER
from gatehouse_local.node.node import NODE_PROGRAMS, Node, NodeAccess
from gatehouse_local.objects import HOOK, NAMESPACE, REGISTRY
from gatehouse_local.pki import KeyPair, ensure_audit_key
from gatehouse_local.postgres import Postgres
from gatehouse_local.process import Server
from gatehouse_local.s3 import S3Endpoint
from gatehouse_local.state import DatabaseKind, LocalState
from gatehouse_local.users import PEOPLE, SERVER_USER

__all__ = [
    "NODE_FOLDER",
    "PROGRAM_NAMES",
    "DatabaseServer",
    "Stack",
    "database_homes",
    "database_server",
    "in_stop_order",
    "program_names",
]

PROGRAM_NAMES = (*CONTROL_PLANE_PROGRAMS, "minio", "kubectl")
NODE_FOLDER = "node"
# The kubelet stops before the processes that it would restart, the node's network after the API server on it.
_STOP_ORDER = (
    "server",
    "operator",
    "kubelet",
    "coredns",
    "kube-proxy",
    "containerd",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
    HOLDER,
    "minio",
    "mariadb",
    "postgres",
)
# For a registry without a database server, the operator names the SQLite file after the registry.
_SQLITE_FILE = f"{NAMESPACE}.{REGISTRY}.db"
_OPERATOR_VARIABLES = ("PYTHON", "COVERAGE_", "GATEHOUSE_")


class DatabaseServer(Protocol):
    """The common interface of MariaDB and PostgreSQL."""

    @property
    def home(self) -> Path: ...

    @property
    def database(self) -> LocalDatabase: ...

    def prepare(self, *, lock: int | None = None) -> None: ...

    def server(self) -> Server: ...

    def ensure_database(self) -> None: ...


def database_server(kind: DatabaseKind, folder: Path, state: LocalState) -> DatabaseServer | None:
    """The server of the chosen kind of database; None for SQLite.

    Raises:
        ProgramMissing: the database is not installed.
    """
    password = state.database_password
    if kind == "mariadb":
        return Mariadb(folder / "mariadb", port=state.ports["mariadb"], password=password)
    if kind == "postgres":
        return Postgres(folder / "postgres", port=state.ports["postgres"], password=password)
    return None


def program_names(state: LocalState) -> tuple[str, ...]:
    """The programs that a cluster of this state runs."""
    names = [name for name in PROGRAM_NAMES if not (state.bare and name == "minio")]
    return (*names, *(NODE_PROGRAMS if state.node else ()))


def database_homes(folder: Path) -> Iterator[Path]:
    """The data folders of the database servers of a cluster in `folder`, whether or not the servers ever ran."""
    for name, account in (("mariadb", mariadb.ACCOUNT), ("postgres", postgres.ACCOUNT)):
        with contextlib.suppress(LocalClusterError):  # no such account: then the server never ran here
            yield home_for(folder / name, account_for(account))


def in_stop_order(names: Iterable[str]) -> list[str]:
    """The names of servers, each before the servers that it needs."""
    places = {name: place for place, name in enumerate(_STOP_ORDER)}
    return sorted(names, key=lambda name: places.get(name, -1))


class Stack:
    """The parts of a local cluster in `folder`, according to its state. Starts nothing."""

    def __init__(self, folder: Path, *, state: LocalState, programs: Mapping[str, Path]) -> None:
        self._folder = folder
        self._state = state
        self.control_plane = ControlPlane(
            folder / "kubernetes",
            ports=state.control_plane_ports,
            tokens=state.tokens,
            programs=programs,
            node=state.node,
        )
        self.minio = None if state.bare else _minio(folder, state, programs, hook=f"{self.server_url}{HOOK}")
        self.database = None if state.bare else database_server(state.database, folder, state)
        self.node = self._node(programs) if state.node else None

    @property
    def database_url(self) -> str:
        """The URL of the registry's database in SQLAlchemy's form."""
        if self.database is not None:
            return self.database.database.url
        return f"sqlite:///{self._operator_data / _SQLITE_FILE}"

    def store_as(self, user: str) -> S3Endpoint | None:
        """The object store with the credentials of one of its users; None without a store.

        Raises:
            NotUp: the store does not have this user yet.
        """
        if self.minio is None:
            return None
        return replace(self.minio.endpoint, credentials=self._state.store_user(user))

    @property
    def store_keys(self) -> Mapping[str, str]:
        """The secret keys of the object store's users."""
        return self._state.store_keys

    @property
    def hook_token(self) -> str:
        """The token with which the object store sends its events to the server; empty for none."""
        return self._state.hook_token

    @property
    def audit_key(self) -> KeyPair:
        """The key with which the operator signs checkpoints of audit trails."""
        return ensure_audit_key(self._operator_data)

    @property
    def runs_operator(self) -> bool:
        """Whether the operator is a process beside the cluster."""
        return self._state.operator and not self._state.bare

    @property
    def gpu(self) -> bool:
        """Whether the node has a simulated GPU."""
        return self._state.gpu

    def operator(self) -> Server:
        """The operator, with the rights of its own user and without credentials from the caller's environment."""
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
                f"--audit-key={self.audit_key.private}",
                f"--health-address={LOOPBACK}:{port}",
            ),
            env=self._process_env(kubeconfig),
            settings=(self.control_plane.url,),
            ready=http_ready(port, "/readyz"),
        )

    def server(self) -> Server:
        """The REST server, with the rights of its own user."""
        kubeconfig = self.control_plane.user_kubeconfig(SERVER_USER)
        health = self._state.ports["server_health"]
        return Server(
            name="server",
            argv=(
                sys.executable,
                "-m",
                "gatehouse",
                "server",
                f"--kubeconfig={kubeconfig}",
                f"--context={SERVER_USER}",
                f"--data-dir={make_private(self._operator_data)}",
                f"--registry={NAMESPACE}/{REGISTRY}",
                f"--listen-address={LOOPBACK}:{self._state.ports['server']}",
                f"--health-address={LOOPBACK}:{health}",
            ),
            env=self._process_env(kubeconfig),
            settings=(self.control_plane.url,),
            ready=http_ready(health, "/readyz"),
        )

    def server_token(self, user: str) -> str:
        """The token with which a person calls the server.

        Raises:
            NotUp: there is no such user.
        """
        if user not in {person.name for person in PEOPLE}:
            people = ", ".join(person.name for person in PEOPLE)
            raise NotUp(f"The local cluster has no user {user}; expected: {people}")
        return self._state.tokens[user]

    @property
    def server_url(self) -> str:
        """The address of the REST server."""
        return f"http://{LOOPBACK}:{self._state.ports['server']}"

    def _process_env(self, kubeconfig: Path) -> dict[str, str]:
        """The environment of a process of Gatehouse, without credentials of the caller's."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(_OPERATOR_VARIABLES)}
        return {"KUBECONFIG": str(kubeconfig), **kept}

    def addresses(self) -> dict[str, str]:
        """The address of each chosen server, by name."""
        ports = self._state.ports
        found = self.control_plane.addresses()
        if self.node is not None:
            found |= self.node.addresses()
        if self.minio is not None:
            found["minio"] = self.minio.endpoint.url
        if self.database is not None:
            found[self._state.database] = f"{LOOPBACK}:{self.database.database.port}"
        if self.runs_operator:
            found["operator"] = f"http://{LOOPBACK}:{ports['operator']}"
            found["server"] = self.server_url
        return found

    def servers(self, *, holder: int | None) -> list[Server]:
        """The chosen servers, in the order of their dependencies.

        Args:
            holder: the process that keeps the node's namespaces, if one does.
        """
        servers = [self.node.holder()] if self.node is not None else []
        servers += self.control_plane.servers()
        if self.node is not None:
            servers += self.node.servers(holder or 0)
        if self.minio is not None:
            servers.append(self.minio.server())
        if self.database is not None:
            servers.append(self.database.server())
        if self.runs_operator:
            servers += [self.operator(), self.server()]
        return servers

    @property
    def _operator_data(self) -> Path:
        return self._folder / "operator"

    def _node(self, programs: Mapping[str, Path]) -> Node:
        plane = self.control_plane
        access = NodeAccess(
            kubeconfig=plane.user_kubeconfig,
            url=plane.url,
            kubelet_client_authority=plane.kubelet_client().authority,
        )
        return Node(self._folder / NODE_FOLDER, programs=programs, access=access)


def _minio(folder: Path, state: LocalState, programs: Mapping[str, Path], *, hook: str) -> Minio:
    return Minio(
        folder / "minio",
        program=programs["minio"],
        port=state.ports["minio"],
        credentials=state.s3_credentials,
        webhook=MinioWebhook(hook, state.hook_token) if state.hook_token else None,
    )
