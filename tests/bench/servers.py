"""The real servers of a bench, fresh for each, stopped when it ends."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.buckets import let_anybody_write
from bench.processes import Operator, RestServer
from bench.samples import BUCKET
from gatehouse.printing.progress import ProgressReporter
from gatehouse_local.binaries import Binaries
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane, control_plane, minio
from gatehouse_local.install import install_defaults
from gatehouse_local.s3 import S3Endpoint, ensure_bucket

__all__ = ["Servers", "servers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """A control plane with the shipped profiles and the default registry, and a store; the operator is off."""

    plane: RunningControlPlane
    store: S3Endpoint
    home: Path
    progress: ProgressReporter
    profiles: Path | None = field(default=None)

    @property
    def marks(self) -> tuple[str, str]:
        """What only the command lines of these servers contain: the folder of the control plane, the store's port."""
        return str(self.plane.kubeconfig.parent), self.store.url.rpartition("/")[2]

    def operator(self, name: str) -> Operator:
        """The operator; each of its lives has the same data. ``name`` is that of its profile, if one is asked for."""
        return Operator(
            self.plane, data=self.home / "data", log=self.home / "operator.log", wrapper=self._wrapper(name)
        )

    def rest_server(self, name: str) -> RestServer:
        """The server beside the operator, with the same data. ``name`` is that of its profile."""
        return RestServer(
            self.plane, data=self.home / "data", log=self.home / "server.log", wrapper=self._wrapper(name)
        )

    def _wrapper(self, name: str) -> tuple[str, ...]:
        return ("-m", "cProfile", "-o", str(self.profiles / f"{name}.prof")) if self.profiles else ()


@contextlib.contextmanager
def servers(
    progress: ProgressReporter,
    *,
    profiles: Path | None = None,
    database: LocalDatabase | None = None,
    without: Sequence[str] = (),
) -> Iterator[Servers]:
    """etcd, kube-apiserver, kube-controller-manager and MinIO with an empty bucket. Without ``database`` rows are in
    SQLite. ``without`` names controllers that do not run."""
    binaries = Binaries(progress=progress)
    with contextlib.ExitStack() as stack:
        with progress.step("starting the control plane and MinIO"):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatehouse-bench-")))
            plane = stack.enter_context(control_plane(binaries, without=without))
            store = stack.enter_context(minio(binaries))
            ensure_bucket(store, BUCKET)
            let_anybody_write(store, BUCKET)
            with contextlib.closing(plane.client()) as client:
                install_defaults(client, endpoint=store, database=database)
        yield Servers(plane=plane, store=store, home=home, progress=progress, profiles=profiles)
