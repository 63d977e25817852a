"""Real servers for the tests in this folder, each started once a session and only if a test asks for it.

A server whose program is not installed skips the tests that need it, with the reason; with CI=true they fail.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

import pytest

from cluster.buckets import Bucket, bucket_at
from cluster.gated import Gate, make_gate
from cluster.rig import Operator
from cluster.routekinds import serve_routes
from cluster.servers import available
from cluster.world import World, make_world
from gatehouse.install.shipped_files import documents
from gatehouse_local import ephemeral
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane, RunningVersitygw
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.s3 import S3Endpoint


@pytest.fixture(scope="session")
def control_plane() -> Iterator[RunningControlPlane]:
    """A real API server with the CRDs, the roles and their bindings."""
    with available(ephemeral.control_plane()) as running:
        yield running


@pytest.fixture
def namespace(control_plane: RunningControlPlane) -> Iterator[str]:
    """A fresh namespace, deleted with all it holds after the test."""
    name = f"test-{secrets.token_hex(4)}"
    with contextlib.closing(control_plane.client()) as client:
        client.apply(namespace_manifest(name))
        yield name
        client.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def minio() -> Iterator[S3Endpoint]:
    """MinIO without buckets."""
    with available(ephemeral.minio()) as running:
        yield running


@pytest.fixture(scope="session")
def minio_tls() -> Iterator[S3Endpoint]:
    """MinIO behind TLS; `authority` is the only certificate authority that vouches for it."""
    with available(ephemeral.minio(tls=True)) as running:
        yield running


@pytest.fixture(scope="session")
def versitygw() -> Iterator[RunningVersitygw]:
    """A second S3 server; its objects are plain files below `data`."""
    with available(ephemeral.versitygw()) as running:
        yield running


@pytest.fixture(params=["minio", "versitygw"])
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    if request.param == "minio":
        with bucket_at(request.getfixturevalue("minio")) as made:
            yield made
    else:
        gateway: RunningVersitygw = request.getfixturevalue("versitygw")
        with bucket_at(gateway.endpoint, gateway.data) as made:
            yield made


@pytest.fixture(scope="session")
def mariadb() -> Iterator[LocalDatabase]:
    """MariaDB; its user may do everything, such as create databases and end sessions."""
    with available(ephemeral.mariadb()) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[LocalDatabase]:
    """PostgreSQL; its user may do everything, such as create databases and end sessions."""
    with available(ephemeral.postgres()) as running:
        yield running


@pytest.fixture(scope="session")
def installed(control_plane: RunningControlPlane) -> RunningControlPlane:
    """The control plane with the operator's namespace, the shipped hardware profiles, and the kinds of routes."""
    with contextlib.closing(control_plane.client()) as client:
        for manifest in (namespace_manifest(), *documents("manifests/hardware")):
            client.apply(manifest)
        serve_routes(client)
    return control_plane


@pytest.fixture(scope="module")
def operator(installed: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The real operator, shared by the tests of a module; a test that stops it starts it again."""
    with contextlib.closing(Operator(installed, tmp_path_factory.mktemp("operator"))) as running:
        yield running.start()


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    """A namespace, a bucket, and a registry on SQLite that looks at its artifacts every hour."""
    with make_world(installed, minio) as made:
        yield made


@pytest.fixture(scope="session")
def gate() -> Iterator[Gate]:
    """A control plane of its own without an operator, a namespace with a stage, and what is cleared for it."""
    with available(ephemeral.control_plane()) as plane, make_gate(plane) as made:
        yield made
