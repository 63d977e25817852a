"""The local cluster as a whole: up, down, status, env."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gatehouse.printing.progress import ProgressReporter, Silent
from gatehouse_local.binaries import Binaries
from gatehouse_local.errors import LocalClusterError, NotUp
from gatehouse_local.files import exclusive, make_traversable
from gatehouse_local.images.images import Images
from gatehouse_local.kube import KubeClient
from gatehouse_local.node.namespace import HOLDER
from gatehouse_local.node.node import check, clear, containerd_address, end_pods
from gatehouse_local.process import Supervisor
from gatehouse_local.s3 import UPLOADER
from gatehouse_local.stack import NODE_FOLDER, Stack, database_homes, in_stop_order, program_names
from gatehouse_local.startup import Startup
from gatehouse_local.state import DatabaseKind, LocalState
from gatehouse_local.users import ADMIN

__all__ = ["LocalCluster", "ServerStatus", "default_directory"]

_LOCK = "lock"
_STATE = "state.json"
_OWN_FOLDERS = ("kubernetes", "minio", "mariadb", "postgres", "operator", "node", "run", "logs")


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_STATE_HOME/gatehouse/local`, or the same below `~/.local/state`."""
    base = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "gatehouse" / "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One server: `pid` is None for a stopped server; `answering` says whether the server is ready."""

    name: str
    pid: int | None
    answering: bool
    address: str
    log: Path


class LocalCluster:
    """A control plane, an object store, a database, the operator and an optional node, in one directory.

    A process other than the caller of `up` may call every method.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binaries: Binaries | None = None,
        progress: ProgressReporter | None = None,
        images: Images | None = None,
    ) -> None:
        self.directory = (directory or default_directory()).absolute()
        self._progress = progress or Silent()
        self._binaries = binaries or Binaries(progress=self._progress)
        self._images = images or Images(progress=self._progress)

    def up(
        self,
        *,
        database: DatabaseKind | None = None,
        operator: bool = True,
        bare: bool | None = None,
        node: bool | None = None,
        gpu: bool | None = None,
    ) -> tuple[str, ...]:
        """Ensures that everything runs and answers: keeps running servers, starts missing servers.

        Args:
            database: the registry's database; None keeps the earlier choice, or SQLite.
            operator: whether the operator also runs, as a process beside the cluster.
            bare: whether only Kubernetes runs: no kinds, no registry, no object store, no database, no operator.
                None keeps the earlier choice, at first no.
            node: whether Pods run, on a node with containerd. None keeps the earlier choice, at first no.
            gpu: whether the node pretends to have an NVIDIA L4. As before when None, first no.

        Returns:
            The names of the started servers; none if all servers were running.

        Raises:
            NodeImpossible: this machine cannot run a node, or not now. Nothing was changed.
            LocalClusterError: a server could not be started. Started servers stay, for `up` or `down`.
        """
        self._refuse_foreign_directory()
        if node:
            check(self._node_home)
        make_traversable(self.directory)
        with self._locked() as lock:
            supervisor = self._supervisor(lock)
            known = self._state() or LocalState.new()
            state = known.choose(database=database, operator=operator, bare=bare, node=node, gpu=gpu)
            _refuse_contradictions(state, database=database)
            if state.node:
                check(self._node_home)
            programs = self._binaries.obtain(program_names(state))
            running = frozenset(name for name, record in supervisor.records().items() if record.is_running())
            state = state.with_free_ports(running=running)
            state.save(self._state_file)
            stack = Stack(self.directory, state=state, programs=programs)
            unwanted = {name for name in supervisor.records() if name not in stack.addresses()}
            if HOLDER in unwanted:
                unwanted.add("kube-apiserver")  # it listens on the node's network, and hangs when that is removed first
            self._stop(supervisor, unwanted)
            if stack.node is None:
                self._clear_node()
            return Startup(supervisor, stack, progress=self._progress, images=self._images, lock=lock).run()

    def down(self, *, purge: bool = False) -> tuple[str, ...]:
        """Stops exactly the servers that `up` started, even if `up` was killed half-way. `purge` removes the data.

        Returns:
            The names of the servers that ran.
        """
        if not self.directory.exists():
            return ()
        if not self._is_ours():
            raise NotUp(f"{self.directory} is not the directory of a local cluster; nothing was changed.")
        with self._locked() as lock:
            supervisor = self._supervisor(lock)
            stopped = self._stop(supervisor, supervisor.records())
            self._clear_node()
            if purge:
                self._purge()
        return stopped

    def status(self) -> tuple[ServerStatus, ...]:
        """Every server that should run, and every other server that runs.

        Raises:
            NotUp: this directory never had a cluster.
        """
        stack = self._stack()
        supervisor = self._supervisor(None)
        records = {name: record for name, record in supervisor.records().items() if record.is_running()}
        addresses = stack.addresses()
        holder = records[HOLDER].identity.pid if HOLDER in records else None
        return tuple(
            ServerStatus(
                name=server.name,
                pid=records[server.name].identity.pid if server.name in records else None,
                answering=server.name in records and server.ready(),
                address=addresses[server.name],
                log=supervisor.log_file(server.name),
            )
            for server in stack.servers(holder=holder)
        )

    def env(self, *, user: str = ADMIN) -> dict[str, str]:
        """The variables with which kubectl, S3 clients, SQLAlchemy and clients of the server find the cluster.

        The S3 variables are for the uploading user, who may only write the bucket. ``user`` is the person whose token
        clients of the server send.

        Raises:
            NotUp: this directory never had a cluster, or the cluster has no such user.
        """
        stack = self._stack()
        kubectl = {"KUBECONFIG": str(stack.control_plane.kubeconfig)}
        endpoint = stack.store_as(UPLOADER)
        if endpoint is None:
            return kubectl
        return {
            **kubectl,
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": endpoint.credentials.secret_key,
            "AWS_REGION": endpoint.region,
            "GATEHOUSE_DATABASE_URL": stack.database_url,
            "GATEHOUSE_AUDIT_PUBLIC_KEY": str(stack.audit_key.public),
            "GATEHOUSE_URL": stack.server_url,
            "GATEHOUSE_TOKEN": stack.server_token(user),
        }

    def kubectl(self) -> Path | None:
        """The kubectl of the API server's version, if already obtained."""
        return self._binaries.find("kubectl")

    def client(self, user: str = ADMIN) -> KubeClient:
        """A client of the API server as one of the users. The caller closes the client.

        Raises:
            NotUp: this directory never had a cluster.
        """
        return self._stack().control_plane.client(user)

    def containerd_address(self) -> Path | None:
        """The socket of the node's containerd; None without a running node."""
        record = self._supervisor(None).records().get("containerd") if self._is_ours() else None
        holder = self._supervisor(None).records().get(HOLDER) if record is not None and record.is_running() else None
        return None if holder is None or not holder.is_running() else containerd_address(holder.identity.pid)

    def _stop(self, supervisor: Supervisor, names: Iterable[str]) -> tuple[str, ...]:
        """Stops the named servers and returns the names of those that ran."""
        stopped = []
        for name in in_stop_order(names):
            with self._progress.step(f"stopping {name}"):
                if supervisor.stop(name):
                    stopped.append(name)
                if name == "kubelet":
                    end_pods(self._node_home)
        return tuple(stopped)

    def _clear_node(self) -> None:
        """Removes the remains of a node from the machine, however the node ended."""
        if self._node_home.exists():
            with self._progress.step("removing the node"):
                clear(self._node_home)

    def _purge(self) -> None:
        for home in database_homes(self.directory):
            shutil.rmtree(home, ignore_errors=True)
            with contextlib.suppress(OSError):  # the folder still has others' data, or ours that is removed next
                home.parent.rmdir()
        for folder in _OWN_FOLDERS:
            shutil.rmtree(self.directory / folder, ignore_errors=True)
        self._state_file.unlink(missing_ok=True)
        (self.directory / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder has files of others
            self.directory.rmdir()

    @property
    def _node_home(self) -> Path:
        return self.directory / NODE_FOLDER

    @property
    def _state_file(self) -> Path:
        return self.directory / _STATE

    def _state(self) -> LocalState | None:
        return LocalState.load(self._state_file)

    def _stack(self) -> Stack:
        state = self._state()
        if state is None:
            raise NotUp(f"There is no local cluster in {self.directory}. Start one with: gatehouse local up")
        programs = {name: self._binaries.find(name) or Path(name) for name in program_names(state)}
        return Stack(self.directory, state=state, programs=programs)

    def _supervisor(self, lock: int | None) -> Supervisor:
        return Supervisor(run=self.directory / "run", logs=self.directory / "logs", lock=lock)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        def say() -> None:
            self._progress.say(f"Another gatehouse command uses {self.directory}; waiting for it.")

        with exclusive(self.directory / _LOCK, waiting=say) as lock:
            yield lock

    def _is_ours(self) -> bool:
        return self._state_file.exists() or (self.directory / _LOCK).exists()

    def _refuse_foreign_directory(self) -> None:
        if self.directory.exists() and not self._is_ours() and any(self.directory.iterdir()):
            raise LocalClusterError(
                f"{self.directory} holds files of another program. Choose an empty or a new directory."
            )


def _refuse_contradictions(state: LocalState, *, database: DatabaseKind | None) -> None:
    if state.bare and database is not None:
        raise LocalClusterError(
            f"A bare cluster has no database, but --database is {database}. Omit --database, or add --no-bare."
        )
    if state.gpu and not state.node:
        raise LocalClusterError("--gpu needs a node. Add --node, or omit --gpu.")
