"""The real operator as a process, and worlds for it to work in: a namespace, a bucket, a registry and their rows."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import pytest
from botocore.config import Config
from sqlalchemy import create_engine, text

from cluster.faultstore import FaultStore, running
from gatehouse.local.binaries import Binaries
from gatehouse.local.controlplane import (
    CONTROL_PLANE_PROGRAMS,
    OPERATOR_USER,
    ControlPlane,
    ControlPlanePorts,
    new_tokens,
)
from gatehouse.local.databases import Database
from gatehouse.local.ephemeral import RunningControlPlane
from gatehouse.local.errors import ApiRefused, BuildFailed, ProgramMissing
from gatehouse.local.files import make_traversable
from gatehouse.local.install import install_kinds
from gatehouse.local.kube import KubeClient
from gatehouse.local.mariadb import Mariadb
from gatehouse.local.miniature import miniature_granite
from gatehouse.local.minio import Minio
from gatehouse.local.net import LOOPBACK, free_port, http_ready
from gatehouse.local.objects import namespace as namespace_manifest
from gatehouse.local.process import Server, Supervisor
from gatehouse.local.s3 import S3Endpoint, new_credentials
from gatehouse.local.shipped import documents

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = [
    "API",
    "MINIATURE",
    "FaultyStore",
    "Metrics",
    "Operator",
    "Restartable",
    "World",
    "available",
    "condition",
    "kstatus",
    "make_world",
    "open_store",
    "restartable_control_plane",
    "restartable_mariadb",
    "restartable_minio",
    "secret",
    "until",
]

API = "/apis/gatehouse.dev/v1alpha1"
PLURALS = {
    "ModelRegistry": "modelregistries",
    "RegisteredModel": "registeredmodels",
    "ModelVersion": "modelversions",
    "HardwareProfile": "hardwareprofiles",
}
KEY_ID, KEY_SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
MINIATURE = miniature_granite()
PATIENCE = 30.0
_POLL = 0.03

Manifest = dict[str, Any]
T = TypeVar("T")


def until(probe: Callable[[], T | None], *, what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """The first answer of ``probe`` that is neither None nor False; fails after ``seconds`` with ``what``."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"after {seconds:g} s: {said}")
        time.sleep(_POLL)


# Metrics


_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Metrics:
    """One scrape of the operator."""

    def __init__(self, exposition: str) -> None:
        self._samples = [
            (name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _SAMPLE.findall(exposition)
        ]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples that have the labels."""
        return sum(
            value
            for found, has, value in self._samples
            if found == name and all(has.get(label) == wanted for label, wanted in labels.items())
        )

    @property
    def api_writes(self) -> dict[str, float]:
        """Requests that write, by "verb resource"; leases left out."""
        found: dict[str, float] = {}
        for name, has, value in self._samples:
            if name != "gatehouse_api_requests_total" or has["resource"] == "leases":
                continue
            if has["verb"] not in {"get", "list", "watch"}:
                key = f"{has['verb']} {has['resource']}"
                found[key] = found.get(key, 0) + value
        return found

    @property
    def row_writes(self) -> dict[str, float]:
        """Rows written, by table."""
        return {has["table"]: value for name, has, value in self._samples if name == "gatehouse_row_writes_total"}

    @property
    def store_requests(self) -> float:
        """Requests to object stores."""
        return self.sum("gatehouse_store_requests_total")

    @property
    def busy(self) -> bool:
        """Whether a key waits for a worker or is in one's hands."""
        return bool(self.sum("gatehouse_queue_depth") or self.sum("gatehouse_queue_unfinished_seconds"))

    def since(self, before: Metrics) -> dict[str, float]:
        """Writes since another scrape: "verb resource", "rows table" and "store" to their number, zeros left out."""
        now, then = self._writes(), before._writes()
        return {key: value - then.get(key, 0) for key, value in now.items() if value != then.get(key, 0)}

    def _writes(self) -> dict[str, float]:
        rows = {f"rows {table}": count for table, count in self.row_writes.items()}
        return {**self.api_writes, **rows, "store": self.store_requests}


# The operator


class Operator:
    """`gatehouse run` as a process with the rights of the operator's user and nothing of our environment."""

    def __init__(
        self, plane: RunningControlPlane, folder: Path, *, namespaces: Sequence[str] = (), arguments: Sequence[str] = ()
    ) -> None:
        self._plane = plane
        self._namespaces = tuple(namespaces)
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"operator-{secrets.token_hex(3)}.log"

    def start(self, *, wait: bool = True) -> Operator:
        """Starts it; with ``wait`` returns when it leads and its caches are complete."""
        assert not self.running
        self.port = free_port()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=self._environment(), cwd="/")
        if wait:
            self.wait_leading()
        return self

    def wait_leading(self, *, seconds: float = PATIENCE) -> None:
        """Returns when it leads, its caches are complete and what it found at the start is reconciled."""
        until(self._leads, what=lambda: f"the operator does not lead: {self.tail()}", seconds=seconds)
        self.wait_idle()

    def wait_idle(self) -> None:
        """Returns when each cached object was reconciled once, and no key waits or is worked on."""

        def idle() -> bool:
            now = self.metrics()
            reconciled = all(
                now.sum("gatehouse_reconciles_total", kind=kind) >= now.sum("gatehouse_cached_objects", kind=kind)
                for kind in PLURALS.values()
            )
            return reconciled and not now.busy

        until(idle, what=lambda: f"the operator is busy: {self.tail()}")

    def stop(self) -> int:
        """Tells it to stop; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._end()

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._end()

    def close(self) -> None:
        """Ends it if it runs, in peace, so that the next one need not wait for its lease to expire."""
        if self.running:
            self.stop()

    def exited(self) -> int | None:
        """Its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def metrics(self) -> Metrics:
        """What /metrics answers now."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=10) as answer:
            return Metrics(answer.read().decode())

    def text(self) -> str:
        """Everything it logged."""
        return self.log.read_text(errors="replace")

    def records(self) -> list[dict[str, Any]]:
        """What it logged, line by line; every line must be JSON."""
        return [json.loads(line) for line in self.text().splitlines()]

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.text().splitlines()[-15:])

    def _end(self) -> int:
        assert self._process is not None
        return self._process.wait(30)

    def _leads(self) -> bool:
        assert self.running, f"the operator ended with {self.exited()}: {self.tail()}"
        try:
            return bool(self.metrics().sum("gatehouse_leader")) and http_ready(self.port, "/readyz")()
        except OSError:
            return False

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "gatehouse",
            "run",
            f"--kubeconfig={self._plane.kubeconfig.with_name(f'{OPERATOR_USER}.kubeconfig')}",
            f"--data-dir={self.data_dir}",
            f"--health-address={LOOPBACK}:{self.port}",
            *(f"--namespace={name}" for name in self._namespaces),
            *self._arguments,
        ]

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "PYTHON", "COVERAGE_")
        return {name: value for name, value in os.environ.items() if name.startswith(kept)}


# Worlds


@dataclass
class World:
    """A namespace, a bucket of its own and a registry ``registry`` that keeps what is applied here.

    ``database`` is None for SQLite in the operator's data directory.
    """

    kube: KubeClient
    namespace: str
    bucket: str
    store: S3Client
    endpoint: S3Endpoint
    database: Database | None = None
    verification: dict[str, Any] = field(default_factory=dict)

    # objects

    def registry(self, **spec: Any) -> Manifest:
        """The registry; ``spec`` replaces fields."""
        wanted: Manifest = {
            "objectStores": [self.object_store()],
            "allowedNamespaces": {"from": "Same"},
            "verification": self.verification,
            **self.database_spec(),
            **spec,
        }
        return self._object("ModelRegistry", "registry", wanted)

    def object_store(self, **changes: Any) -> Manifest:
        """The object store of the registry."""
        return {
            "uriPrefix": f"s3://{self.bucket}/",
            "endpoint": self.endpoint.url,
            "region": self.endpoint.region,
            "credentialsSecret": {"name": "store"},
            **changes,
        }

    def database_spec(self) -> Manifest:
        """The part of the registry's spec that names the database."""
        if self.database is None:
            return {}
        return {
            "mysql" if self.database.kind == "mariadb" else "postgres": {
                "host": self.database.host,
                "port": self.database.port,
                "database": self.database.database,
                "username": self.database.username,
                "passwordSecret": {"name": "database", "key": "password"},
            }
        }

    def model(self, name: str = "granite", **spec: Any) -> Manifest:
        """A RegisteredModel of the registry."""
        return self._object("RegisteredModel", name, {"registryRef": {"name": "registry"}, **spec})

    def version(self, name: str = "granite-1", **spec: Any) -> Manifest:
        """A ModelVersion of the model ``granite``, of the artifact ``name/`` unless ``spec`` says otherwise."""
        return self._object(
            "ModelVersion",
            name,
            {
                "modelRef": {"name": "granite"},
                "version": name,
                "artifact": {"uri": self.uri(name)},
                "hardwareProfileRef": {"name": "nvidia-l4"},
                "serving": {"maxModelLen": 16384},
                **spec,
            },
        )

    def uri(self, prefix: str) -> str:
        """URI of a folder in the bucket."""
        return f"s3://{self.bucket}/{prefix}/"

    def apply(self, *manifests: Manifest) -> None:
        """Server-side applies objects as the administrator."""
        for manifest in manifests:
            self.kube.apply(manifest)

    def secrets(self, **changes: str) -> None:
        """Applies the Secrets that the registry names; ``changes`` by key."""
        credentials = self.endpoint.credentials
        values = {KEY_ID: credentials.access_key, KEY_SECRET: credentials.secret_key, **changes}
        self.apply(secret("store", self.namespace, values))
        if self.database is not None:
            self.apply(secret("database", self.namespace, {"password": self.database.password, **changes}))

    def path(self, kind: str, name: str = "") -> str:
        """Request path of an object or a list of a kind of Gatehouse, or of ConfigMaps, Events and Secrets."""
        if kind == "HardwareProfile":
            root = f"{API}/hardwareprofiles"
        elif kind in PLURALS:
            root = f"{API}/namespaces/{self.namespace}/{PLURALS[kind]}"
        else:
            root = f"/api/v1/namespaces/{self.namespace}/{kind.lower()}s"
        return f"{root}/{name}" if name else root

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object, None when it is not there."""
        try:
            return self.kube.request("GET", self.path(kind, name))
        except ApiRefused as refused:
            if refused.status != 404:
                raise
            return None

    def delete(self, kind: str, name: str) -> None:
        """Deletes an object."""
        self.kube.request("DELETE", self.path(kind, name))

    def list(self, kind: str) -> list[Manifest]:
        """Every object of a kind in the namespace."""
        found: list[Manifest] = self.kube.request("GET", self.path(kind))["items"]
        return found

    def patch(self, kind: str, name: str, patch: Mapping[str, Any], *, subresource: str = "") -> Manifest:
        """Merge-patches an object or its subresource."""
        path = self.path(kind, name) + (f"/{subresource}" if subresource else "")
        return self.kube.request("PATCH", path, patch, content_type="application/merge-patch+json")

    def ask(self, name: str, *, kind: str = "ModelVersion") -> str:
        """Annotates an object so that it is reconciled now; the value."""
        value = secrets.token_hex(8)
        self.patch(kind, name, {"metadata": {"annotations": {"gatehouse.dev/reconcile-requested-at": value}}})
        return value

    def wait(
        self,
        name: str,
        holds: Callable[[Manifest], object],
        *,
        kind: str = "ModelVersion",
        seconds: float = PATIENCE,
        what: str = "",
    ) -> Manifest:
        """The object as soon as ``holds``."""

        def probe() -> Manifest | None:
            found = self.get(kind, name)
            return found if found is not None and holds(found) else None

        return until(probe, what=lambda: f"{kind} {name} {what}: {json.dumps(self.get(kind, name))}", seconds=seconds)

    def final(self, name: str, *, kind: str) -> Manifest:
        """An object as soon as its current generation is Ready."""

        def reached(found: Manifest) -> bool:
            ready = condition(found, "Ready")
            current = found["status"].get("observedGeneration") == found["metadata"]["generation"]
            return current and ready is not None and ready["status"] == "True"

        found = self.wait(name, reached, kind=kind, what="is not Ready")
        assert not kstatus(found), (kstatus(found), found)
        return found

    def templates(self) -> list[str]:
        """Names of the serving templates in the namespace."""
        found = self.list("ConfigMap")
        return sorted(each["metadata"]["name"] for each in found if each["metadata"]["name"].endswith("-serving"))

    def phase(self, name: str, phase: str, *, seconds: float = PATIENCE) -> Manifest:
        """The version as soon as its current generation has the phase; its status conforms to kstatus."""

        def reached(found: Manifest) -> bool:
            status = found["status"]
            return (
                status.get("phase") == phase and status.get("observedGeneration") == found["metadata"]["generation"]
            )

        found = self.wait(name, reached, seconds=seconds, what=f"is not {phase!r}")
        assert not kstatus(found), (kstatus(found), found)
        return found

    def ready(self, name: str = "granite-1", *, seconds: float = PATIENCE) -> Manifest:
        """The version as soon as it is Ready to Deploy."""
        return self.phase(name, "Ready to Deploy", seconds=seconds)

    def events(self, name: str, *, kind: str = "ModelVersion") -> list[Manifest]:
        """Events about an object, in the order of their resourceVersions."""
        about = [
            event
            for event in self.list("Event")
            if (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == (kind, name)
        ]
        return sorted(about, key=lambda event: int(event["metadata"]["resourceVersion"]))

    # artifacts

    def upload(self, prefix: str = "granite-1", files: Mapping[str, bytes] = MINIATURE) -> Mapping[str, bytes]:
        """Puts files below a prefix of the bucket."""
        for name, content in files.items():
            self.store.put_object(Bucket=self.bucket, Key=f"{prefix}/{name}", Body=content)
        return files

    # rows

    def rows(self, operator: Operator, table: str = "model_versions") -> list[dict[str, Any]]:
        """The rows of the registry, by id."""
        statement = text(f"SELECT * FROM {table} WHERE registry = :registry ORDER BY 1")  # noqa: S608 - a test's table
        return self.query(operator, statement, registry=f"{self.namespace}/registry")

    def history(self, operator: Operator, version: str = "granite-1") -> list[str]:
        """The states that a version went through."""
        statement = text(
            "SELECT h.state_after FROM history h JOIN model_versions v ON h.version_id = v.id "
            "WHERE v.registry = :registry AND v.version = :version ORDER BY h.id"
        )
        found = self.query(operator, statement, registry=f"{self.namespace}/registry", version=version)
        return [row["state_after"] for row in found]

    def files(self, operator: Operator, version: str = "granite-1") -> dict[str, str]:
        """SHA-256 by path of the files of a version."""
        return {row["path"]: row["sha256"] for row in self.rows(operator, "artifact_files") if row["version"] == version}

    def query(self, operator: Operator, statement: Any, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a statement against the registry's database."""
        with contextlib.closing(_Engine(self.database_url(operator))) as engine:
            return engine.query(statement, parameters)

    def database_url(self, operator: Operator) -> str:
        """The registry's database in SQLAlchemy's form."""
        if self.database is not None:
            return self.database.url
        return f"sqlite:///{operator.data_dir / f'{self.namespace}.registry.db'}"

    def _object(self, kind: str, name: str, spec: Manifest) -> Manifest:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


class _Engine:
    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    def query(self, statement: Any, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._engine.begin() as connection:
            answer = connection.execute(statement, parameters)
            return [dict(row) for row in answer.mappings()] if answer.returns_rows else []

    def close(self) -> None:
        self._engine.dispose()


@contextlib.contextmanager
def make_world(
    plane: RunningControlPlane,
    endpoint: S3Endpoint,
    *,
    database: Database | None = None,
    namespace: str | None = None,
    **verification: Any,
) -> Iterator[World]:
    """A fresh namespace with its bucket and the Secrets of its registry; both go at the end."""
    name = namespace or f"test-{secrets.token_hex(4)}"
    with contextlib.closing(plane.client()) as kube, contextlib.closing(open_store(endpoint)) as store:
        world = World(kube, name, name, store, endpoint, database, dict(verification))
        kube.apply(namespace_manifest(name))
        store.create_bucket(Bucket=name)
        world.secrets()
        yield world
        kube.request("DELETE", f"/api/v1/namespaces/{name}")


def open_store(endpoint: S3Endpoint) -> S3Client:
    """A client of an S3 server."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id=endpoint.credentials.access_key,
        aws_secret_access_key=endpoint.credentials.secret_key,
        verify=str(endpoint.authority) if endpoint.authority else None,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def secret(name: str, namespace: str, values: Mapping[str, str]) -> Manifest:
    """A Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


# Status


def condition(body: Manifest, type_: str) -> Manifest | None:
    """A condition of an object."""
    found: Iterable[Manifest] = body["status"].get("conditions", ())
    return next((each for each in found if each["type"] == type_), None)


def kstatus(body: Manifest) -> list[str]:
    """In which ways a final status is none that kstatus can read; empty when it conforms.

    kstatus holds an object for in progress until observedGeneration is its generation, for failed while Stalled is
    True and for in progress while Reconciling is True; both are abnormal and must be gone otherwise.
    """
    generation, status = body["metadata"]["generation"], body["status"]
    conditions = status.get("conditions", [])
    types = [each["type"] for each in conditions]
    broken = []
    if status.get("observedGeneration") != generation:
        broken.append(f"observedGeneration {status.get('observedGeneration')} of generation {generation}")
    if types.count("Ready") != 1 or len(set(types)) != len(types):
        broken.append(f"condition types {types}")
    broken += [
        f"{each['type']} is {each['status']}, it should be absent"
        for each in conditions
        if each["type"] in {"Reconciling", "Stalled"} and each["status"] != "True"
    ]
    broken += [
        f"{each['type']} has observedGeneration {each.get('observedGeneration')}"
        for each in conditions
        if each.get("observedGeneration") != generation
    ]
    ready = condition(body, "Ready")
    abnormal = {"Reconciling", "Stalled"} & set(types)
    if abnormal == {"Reconciling", "Stalled"}:
        broken.append("Reconciling and Stalled at once")
    if ready is not None and ready["status"] == "True" and "Stalled" in types:
        broken.append("Ready and Stalled at once")
    return broken


# Servers that come and go


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
        """kill -9."""
        name = self._describe().name
        os.kill(self._supervisor.records()[name].identity.pid, signal.SIGKILL)
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
def restartable_mariadb() -> Iterator[tuple[Restartable, Database]]:
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
                url=plane.url, authority=plane.authority, kubeconfig=plane.kubeconfig, tokens=tokens, _client=plane.client
            ),
        )
    finally:
        for server in reversed(servers):
            server.stop()


# A store that fails as it is told


class FaultyStore:
    """A `FaultStore`, served by a thread of its own. Its one bucket is ``models``."""

    def __init__(self) -> None:
        self.store = FaultStore()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="faulty store")

    def __enter__(self) -> FaultyStore:
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
