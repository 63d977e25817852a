"""Starts the servers of a cluster: each after the servers that it needs, in parallel with the others."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gatehouse.printing.progress import ProgressReporter
from gatehouse_local.images.images import Images, load
from gatehouse_local.install import install_defaults, install_kinds
from gatehouse_local.minio import WEBHOOK
from gatehouse_local.node.namespace import HOLDER
from gatehouse_local.node.node import NODE_SERVERS, PAUSE, Node, containerd_address
from gatehouse_local.objects import BUCKET
from gatehouse_local.process import Server, Supervisor
from gatehouse_local.s3 import OPERATOR, ensure_bucket, ensure_store_events, ensure_store_users
from gatehouse_local.stack import Stack, in_stop_order

__all__ = ["Startup"]

_LONG_AGO = dt.datetime.fromtimestamp(0, tz=dt.UTC)
Step = Callable[[], object]


class Startup:
    """One run of `up`.

    Args:
        supervisor: starts the servers.
        stack: the servers to run.
        progress: receives each step.
        images: provides the image that every Pod of a node needs.
        lock: the descriptor of the lock on the cluster's directory.
    """

    def __init__(
        self, supervisor: Supervisor, stack: Stack, *, progress: ProgressReporter, images: Images, lock: int
    ) -> None:
        self._supervisor = supervisor
        self._stack = stack
        self._progress = progress
        self._images = images
        self._lock = lock
        self._started: list[str] = []

    def run(self) -> tuple[str, ...]:
        """Ensures that every server runs and answers; returns the names of the started servers.

        Raises:
            LocalClusterError: a server could not be started.
        """
        plane = self._stack.control_plane
        plane.prepare()
        if self._stack.node is None:
            self._cluster(first=(), second=())
        else:
            self._with_node(self._stack.node)
        if self._stack.runs_operator:
            self._ensure(self._stack.operator())
            self._ensure(self._stack.server())
        return tuple(self._started)

    def _cluster(self, *, first: Sequence[Step], second: Sequence[Step]) -> None:
        """Starts what Gatehouse needs, in parallel with `first`, and with `second` after the API server."""
        etcd, apiserver, *controllers = self._stack.control_plane.servers()
        _side_by_side([partial(self._one_by_one, etcd, apiserver), self._object_store, self._database, *first])
        _side_by_side([*(partial(self._ensure, server) for server in controllers), self._install, *second])

    def _with_node(self, node: Node) -> None:
        holder = self._namespace(node)
        containerd, kubelet, *others = node.servers(holder)
        # A status from before this start of the kubelet does not count.
        since = _LONG_AGO if self._supervisor.runs(kubelet) else dt.datetime.now(tz=dt.UTC)
        self._cluster(
            first=[partial(self._runtime, containerd, holder)],
            second=[*(partial(self._ensure, server) for server in (kubelet, *others)), partial(self._furnish, node)],
        )
        with contextlib.closing(self._stack.control_plane.client()) as client:
            node.wait_ready(client, self._progress, since=since, gpu=self._stack.gpu)

    def _namespace(self, node: Node) -> int:
        """The process that keeps the node's namespaces. A new start first removes the remains of an earlier one."""
        server = node.holder()
        if not self._supervisor.runs(server):
            for name in in_stop_order(NODE_SERVERS):
                self._supervisor.stop(name)
            node.prepare()
        self._ensure(server)
        return self._supervisor.records()[HOLDER].identity.pid

    def _runtime(self, containerd: Server, holder: int) -> None:
        with self._progress.step("obtaining the image of Pod sandboxes"):
            archive = self._images.obtain([PAUSE])[PAUSE]
        self._ensure(containerd)
        load(archive, address=containerd_address(holder))

    def _furnish(self, node: Node) -> None:
        with (
            contextlib.closing(self._stack.control_plane.client()) as client,
            self._progress.step("applying DNS and volumes"),
        ):
            node.furnish(client)

    def _install(self) -> None:
        store = self._stack.store_as(OPERATOR)
        if store is None:
            return
        database = self._stack.database
        with (
            contextlib.closing(self._stack.control_plane.client()) as client,
            self._progress.step("applying CRDs and manifests"),
        ):
            install_kinds(client)
            install_defaults(
                client,
                endpoint=store,
                database=database.database if database else None,
                hook_token=self._stack.hook_token,
            )

    def _object_store(self) -> None:
        store = self._stack.minio
        if store is not None:
            self._ensure(store.server())
            ensure_bucket(store.endpoint, BUCKET)
            ensure_store_users(store.endpoint, BUCKET, self._stack.store_keys)
            if self._stack.hook_token:
                ensure_store_events(store.endpoint, BUCKET, webhook=WEBHOOK)

    def _database(self) -> None:
        database = self._stack.database
        if database is not None:
            with self._progress.step(f"preparing {database.database.kind}"):
                database.prepare(lock=self._lock)
            self._ensure(database.server())
            database.ensure_database()

    def _one_by_one(self, *servers: Server) -> None:
        for server in servers:
            self._ensure(server)

    def _ensure(self, server: Server) -> None:
        with self._progress.step(f"starting {server.name}"):
            if self._supervisor.ensure(server):
                self._started.append(server.name)


def _side_by_side(steps: Sequence[Step]) -> None:
    """Runs all `steps` in parallel; after all have ended, raises the first error."""
    with ThreadPoolExecutor(max_workers=len(steps), thread_name_prefix="up") as pool:
        for part in [pool.submit(step) for step in steps]:
            part.result()
