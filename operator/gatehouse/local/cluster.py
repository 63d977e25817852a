"""The local cluster as a whole: up, down, status, env."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gatehouse.local.binaries import Binaries
from gatehouse.local.errors import LocalClusterError, NotUp
from gatehouse.local.files import exclusive, make_traversable
from gatehouse.local.install import install_defaults, install_kinds
from gatehouse.local.objects import BUCKET
from gatehouse.local.process import Server, Supervisor
from gatehouse.local.progress import Progress, Silent
from gatehouse.local.s3 import ensure_bucket
from gatehouse.local.stack import PROGRAM_NAMES, Stack, database_homes, in_stop_order
from gatehouse.local.state import DatabaseKind, State

__all__ = ["LocalCluster", "ServerStatus", "default_directory"]

_LOCK = "lock"
_STATE = "state.json"
_OWN_FOLDERS = ("kubernetes", "minio", "mariadb", "postgres", "operator", "run", "logs")


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_STATE_HOME/gatehouse/local`, or the same below `~/.local/state`."""
    base = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "gatehouse" / "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One server: `pid` is None if it does not run; `answering` says whether it is ready."""

    name: str
    pid: int | None
    answering: bool
    address: str
    log: Path


class LocalCluster:
    """A control plane, an object store, a database and the operator, kept in one directory.

    Every method may be called from another process than the one that called `up`.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binaries: Binaries | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.directory = (directory or default_directory()).absolute()
        self._progress = progress or Silent()
        self._binaries = binaries or Binaries(progress=self._progress)

    def up(self, *, database: DatabaseKind | None = None, operator: bool = True) -> tuple[str, ...]:
        """Have everything running and answering; what runs already is kept, what is missing is started.

        Args:
            database: where the registry keeps its rows; the one used before, or SQLite, when None.
            operator: whether the operator runs too.

        Returns:
            The names of the servers that had to be started; none if all was up.

        Raises:
            LocalClusterError: something could not be started. What was started stays, for `up` or `down`.
        """
        self._refuse_foreign_directory()
        programs = self._binaries.obtain(PROGRAM_NAMES)
        make_traversable(self.directory)
        with self._locked() as lock:
            supervisor = self._supervisor(lock)
            running = frozenset(name for name, record in supervisor.records().items() if record.is_running())
            known = self._state() or State.new()
            changes = {"database": database or known.database, "operator": operator}
            state = known.model_copy(update=changes).with_free_ports(running=running)
            state.save(self._state_file)
            stack = Stack(self.directory, state=state, programs=programs)
            self._stop_unwanted(supervisor, stack)
            return self._start(supervisor, stack, lock=lock, operator=operator)

    def down(self, *, purge: bool = False) -> tuple[str, ...]:
        """Stop exactly what `up` started, also if `up` was killed half-way. With `purge`, remove its data.

        Returns:
            The names of the servers that ran.
        """
        if not self.directory.exists():
            return ()
        if not self._is_ours():
            raise NotUp(f"{self.directory} is not the directory of a local cluster; nothing was touched.")
        with self._locked() as lock:
            supervisor = self._supervisor(lock)
            stopped = []
            for name in in_stop_order(supervisor.records()):
                with self._progress.step(f"stopping {name}"):
                    if supervisor.stop(name):
                        stopped.append(name)
            if purge:
                self._purge()
        return tuple(stopped)

    def status(self) -> tuple[ServerStatus, ...]:
        """Every server that should run, and any other that does.

        Raises:
            NotUp: there never was a cluster here.
        """
        stack = self._stack()
        supervisor = self._supervisor(None)
        records = {name: record for name, record in supervisor.records().items() if record.is_running()}
        addresses = stack.addresses()
        return tuple(
            ServerStatus(
                name=server.name,
                pid=records[server.name].identity.pid if server.name in records else None,
                answering=server.name in records and server.ready(),
                address=addresses[server.name],
                log=supervisor.log_file(server.name),
            )
            for server in stack.servers()
        )

    def env(self) -> dict[str, str]:
        """The variables with which kubectl, S3 clients and SQLAlchemy find the cluster.

        Raises:
            NotUp: there never was a cluster here.
        """
        stack = self._stack()
        endpoint = stack.minio.endpoint
        return {
            "KUBECONFIG": str(stack.control_plane.kubeconfig),
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": endpoint.credentials.secret_key,
            "AWS_REGION": endpoint.region,
            "GATEHOUSE_DATABASE_URL": stack.database_url,
        }

    def kubectl(self) -> Path | None:
        """The kubectl that goes with the cluster's API server, if it was obtained."""
        return self._binaries.find("kubectl")

    def _start(self, supervisor: Supervisor, stack: Stack, *, lock: int, operator: bool) -> tuple[str, ...]:
        started: list[str] = []
        ensure = _recorder(supervisor, self._progress, started)

        def control_plane() -> None:
            plane = stack.control_plane
            plane.prepare()
            for server in (plane.etcd(), plane.apiserver(), plane.controller_manager()):
                ensure(server)
            with (
                contextlib.closing(plane.client()) as client,
                self._progress.step("applying CRDs and manifests"),
            ):
                install_kinds(client)
                install_defaults(
                    client, endpoint=stack.minio.endpoint, database=stack.database.database if stack.database else None
                )

        def object_store() -> None:
            ensure(stack.minio.server())
            ensure_bucket(stack.minio.endpoint, BUCKET)

        def database() -> None:
            if stack.database is not None:
                with self._progress.step(f"preparing {stack.database.database.kind}"):
                    stack.database.prepare(lock=lock)
                ensure(stack.database.server())
                stack.database.ensure_database()

        with ThreadPoolExecutor(max_workers=3, thread_name_prefix="up") as pool:
            for part in [pool.submit(step) for step in (control_plane, object_store, database)]:
                part.result()
        if operator:
            ensure(stack.operator())
        return tuple(started)

    def _stop_unwanted(self, supervisor: Supervisor, stack: Stack) -> None:
        wanted = stack.addresses().keys()
        for name in supervisor.records():
            if name not in wanted:
                supervisor.stop(name)

    def _purge(self) -> None:
        for home in database_homes(self.directory):
            shutil.rmtree(home, ignore_errors=True)
            with contextlib.suppress(OSError):  # others' data, or ours that goes next, lies beside it
                home.parent.rmdir()
        for folder in _OWN_FOLDERS:
            shutil.rmtree(self.directory / folder, ignore_errors=True)
        self._state_file.unlink(missing_ok=True)
        (self.directory / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something that is not ours lies in it
            self.directory.rmdir()

    @property
    def _state_file(self) -> Path:
        return self.directory / _STATE

    def _state(self) -> State | None:
        return State.load(self._state_file)

    def _stack(self) -> Stack:
        state = self._state()
        if state is None:
            raise NotUp(f"There is no local cluster in {self.directory}. Start one with: gatehouse local up")
        programs = {name: self._binaries.find(name) or Path(name) for name in PROGRAM_NAMES}
        return Stack(self.directory, state=state, programs=programs)

    def _supervisor(self, lock: int | None) -> Supervisor:
        return Supervisor(run=self.directory / "run", logs=self.directory / "logs", lock=lock)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        def say() -> None:
            self._progress.say(f"Another gatehouse is at work on {self.directory}; waiting for it.")

        with exclusive(self.directory / _LOCK, waiting=say) as lock:
            yield lock

    def _is_ours(self) -> bool:
        return self._state_file.exists() or (self.directory / _LOCK).exists()

    def _refuse_foreign_directory(self) -> None:
        if self.directory.exists() and not self._is_ours() and any(self.directory.iterdir()):
            raise LocalClusterError(
                f"{self.directory} holds files that are not a local cluster's. Choose an empty or a new directory."
            )


def _recorder(supervisor: Supervisor, progress: Progress, started: list[str]) -> Callable[[Server], None]:
    def ensure(server: Server) -> None:
        with progress.step(f"starting {server.name}"):
            if supervisor.ensure(server):
                started.append(server.name)

    return ensure
