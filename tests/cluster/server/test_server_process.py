"""The server as a process, with the rights that the project ships: its start, its probes, its end, its log."""

from __future__ import annotations

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.rig import until
from cluster.server.processes import RBAC, ServerProcess
from cluster.tokens import account_kubeconfig
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK

TOKEN = "a-token-that-no-one-may-read"


@pytest.fixture
def account(control_plane: RunningControlPlane, namespace: str, tmp_path: Path) -> Path:
    """The kubeconfig of the server's account."""
    with contextlib.closing(control_plane.client()) as kube:
        kube.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "server", "namespace": namespace}}
        )
        kube.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{namespace}-server"},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "gatehouse-server"},
                "subjects": [{"kind": "ServiceAccount", "name": "server", "namespace": namespace}],
            }
        )
    return account_kubeconfig(control_plane, namespace, "server", folder=tmp_path)


@pytest.fixture
def registry(control_plane: RunningControlPlane, namespace: str) -> Iterator[str]:
    """A registry on SQLite."""
    spec = {"allowedNamespaces": {"from": "Same"}}
    with contextlib.closing(control_plane.client()) as kube:
        kube.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "ModelRegistry",
                "metadata": {"name": "registry", "namespace": namespace},
                "spec": spec,
            }
        )
        yield f"{namespace}/registry"
        kube.request("DELETE", f"/apis/gatehouse.dev/v1alpha1/namespaces/{namespace}/modelregistries/registry")


def test_it_serves_says_that_it_is_ready_and_ends_when_told(account: Path, registry: str, tmp_path: Path) -> None:
    with contextlib.closing(ServerProcess(tmp_path, account, f"--registry={registry}")) as server:
        until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)
        assert server.get("/readyz/isDirty") == (200, "OK")
        checks = json.loads(server.get("/readyz/health?format=json")[1])["checks"]
        assert checks["database"]["Details"]["schema_dirty"] is False
        assert server.get("/healthz") == (200, "ok\n")
        for path in ("/", "/api/model_registry/v1alpha3/nothing", "/metrics"):
            assert server.get(path, token=TOKEN)[0] == 404
        assert server.get("/healthz", port=server.health) == (200, "ok\n")
        until(lambda: server.get("/readyz", port=server.health)[0] == 200, what="the health address is not ready")
        metrics = server.get("/metrics", port=server.health)[1]
        assert 'gatehouse_server_requests_total{method="GET",route="none",status="404"}' in metrics
        assert server.stop() == 0
        output = server.log.read_text()
        records = [json.loads(line) for line in output.splitlines()]
        assert {record["level"] for record in records} <= {"debug", "info"}
        assert TOKEN not in output + metrics


def test_a_stop_lets_a_request_end(account: Path, registry: str, tmp_path: Path) -> None:
    with contextlib.closing(ServerProcess(tmp_path, account, f"--registry={registry}")) as server:
        until(lambda: server.answers("/healthz", (200, "ok\n")), what=server.log.read_text)
        with socket.create_connection((LOOPBACK, server.port), 10) as idle:
            assert server.stop() == 0
            assert idle.recv(1) == b""


def test_a_registry_that_is_missing_is_told_by_the_probes(account: Path, tmp_path: Path) -> None:
    with contextlib.closing(ServerProcess(tmp_path, account, "--registry=default/nothing")) as server:
        said = (503, "model-registry: there is no ModelRegistry default/nothing")
        until(lambda: server.answers("/readyz/health", said), what=server.log.read_text)
        assert server.get("/healthz")[0] == 200
        assert server.stop() == 0


def test_an_address_that_is_taken_and_credentials_that_are_missing_end_it(account: Path, tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        address = f"--listen-address={LOOPBACK}:{taken.getsockname()[1]}"
        with contextlib.closing(ServerProcess(tmp_path, account, address)) as server:
            assert server.process.wait(30) == 2
            assert json.loads(server.log.read_text().splitlines()[-1])["event"] == "not started"
    with contextlib.closing(ServerProcess(tmp_path, tmp_path / "missing")) as server:
        assert server.process.wait(30) == 2
        assert "no credentials for a cluster" in server.log.read_text()


def test_a_thousand_slow_connections_are_bounded(account: Path, registry: str, tmp_path: Path) -> None:
    """By default 512 connections are served at once; here a head may take one second."""
    arguments = (f"--registry={registry}", "--head-timeout=1")
    with contextlib.closing(ServerProcess(tmp_path, account, *arguments)) as server, contextlib.ExitStack() as stack:
        until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)
        clients = []
        for _ in range(1_000):
            client = stack.enter_context(socket.create_connection((LOOPBACK, server.port), 10))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            clients.append(client)
        # Probes have a port of their own.
        assert server.get("/healthz", port=server.health) == (200, "ok\n")
        said = Counter(client.makefile("rb").readline()[9:12].decode() for client in clients)
        assert said.keys() == {"408", "503"}
        assert said.total() == 1_000
        assert said["408"] >= 512
        assert server.get("/healthz") == (200, "ok\n")
        metrics = server.get("/metrics", port=server.health)[1]
        assert "gatehouse_server_connections 0.0" in metrics
        peak = int(Path(f"/proc/{server.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0])
        assert peak < 150 * 1_024
