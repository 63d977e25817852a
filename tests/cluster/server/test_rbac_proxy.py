"""The overlay rhoai's server and proxy as processes: what curl may from inside the Pod, and nothing through the proxy.

kube-rbac-proxy cannot be had everywhere, so a program of this project stands where it would. It passes requests on with
the same library. ``GATEHOUSE_KUBE_RBAC_PROXY`` names the program of the original, and then both are tested.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.rig import Operator, until
from cluster.server.processes import RBAC, ServerProcess, make_account
from cluster.tokens import account_kubeconfig
from cluster.world import World, make_world
from gatehouse.install.shipped_files import shipped
from gatehouse_local.binaries import Binaries
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK, free_port
from gatehouse_local.s3 import S3Endpoint

V3 = "/api/model_registry/v1alpha3"
OVERLAY = shipped("kustomize") / "overlays" / "rhoai"
ACCOUNT = "private-ai-registry"
ORIGINAL = os.environ.get("GATEHOUSE_KUBE_RBAC_PROXY")


def shipped_arguments() -> list[str]:
    """The arguments that the overlay gives the proxy."""
    deployment = yaml.safe_load((OVERLAY / "server" / "deployment.yaml").read_text())
    [proxy] = [
        each for each in deployment["spec"]["template"]["spec"]["containers"] if each["name"] == "kube-rbac-proxy"
    ]
    return list(proxy["args"])


@dataclass
class Pod:
    """The two containers of the Pod."""

    world: World
    server: ServerProcess
    proxy: int
    """The port with TLS."""
    version: str = ""
    """The id of the one version."""

    def curl(self, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        """What people type into the container of the server."""
        command = ["curl", "-sf", *options, f"http://localhost:{self.server.port}{path}"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    def through(self, path: str, *, method: str = "GET", body: str = "", **headers: str) -> tuple[int, str]:
        """A call through the proxy; each header stands as often as it has lines."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(LOOPBACK, self.proxy, context=context, timeout=30)
        with contextlib.closing(connection):
            own_host = any(name.casefold() == "host" for name in headers)
            connection.putrequest(method, path, skip_host=own_host)
            for name, value in headers.items():
                for line in value.splitlines() or [""]:
                    connection.putheader(name.replace("_", "-"), line)
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode())
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@pytest.fixture(scope="module", params=["stand-in", *(["original"] if ORIGINAL else [])])
def program(request: pytest.FixtureRequest) -> str:
    return str(ORIGINAL if request.param == "original" else Binaries().obtain(["kube-rbac-proxy"])["kube-rbac-proxy"])


@pytest.fixture(scope="module")
def pod(
    installed: RunningControlPlane,
    minio: S3Endpoint,
    operator: Operator,
    program: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pod]:
    """One for all tests; the last of them archives its version."""
    tmp_path = tmp_path_factory.mktemp("pod")
    with make_world(installed, minio, interval="1s") as world, contextlib.ExitStack() as stack:
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        ready = world.wait("granite-1", lambda body: body["status"].get("phase") == "Ready to Deploy")
        make_account(world.kube, world.namespace, ACCOUNT, "gatehouse-server", everywhere=True)
        bind_loopback(world)
        kubeconfig = account_kubeconfig(installed, world.namespace, ACCOUNT, folder=tmp_path)
        arguments = [
            f"--registry={world.namespace}/registry",
            f"--data-dir={operator.data_dir}",
            "--loopback-identity",
        ]
        server = stack.enter_context(contextlib.closing(ServerProcess(tmp_path, kubeconfig, *arguments)))
        proxy, health = free_port(), free_port()
        process = stack.enter_context(proxied(program, server, kubeconfig, proxy=proxy, health=health, folder=tmp_path))
        made = Pod(world, server, proxy, str(ready["status"]["registryId"]))
        until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)

        def proxy_runs() -> bool:
            assert process.poll() is None, (tmp_path / "proxy.log").read_text()
            with contextlib.suppress(OSError):
                return made.through("/readyz/health") == (200, "OK")
            return False

        until(proxy_runs, what=(tmp_path / "proxy.log").read_text)
        yield made


def bind_loopback(world: World) -> None:
    """The rights that the overlay binds to the server's account, in the namespace of the world."""
    for body in yaml.safe_load_all((OVERLAY / "loopback.yaml").read_text()):
        metadata = {"name": body["metadata"]["name"], "namespace": world.namespace}
        subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": world.namespace}]
        world.kube.apply(
            {**body, "metadata": metadata, "apiVersion": f"{RBAC}/v1"}
            | ({"subjects": subjects} if body["kind"] == "RoleBinding" else {})
        )


@contextlib.contextmanager
def proxied(
    program: str, server: ServerProcess, kubeconfig: Path, *, proxy: int, health: int, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The proxy with the overlay's arguments, on other ports and with a certificate of its own."""
    changed = {
        "--secure-listen-address=0.0.0.0:8443": f"--secure-listen-address={LOOPBACK}:{proxy}",
        "--proxy-endpoints-port=8444": f"--proxy-endpoints-port={health}",
        "--upstream=http://127.0.0.1:8080/": f"--upstream=http://{LOOPBACK}:{server.port}/",
    }
    given = shipped_arguments()
    assert changed.keys() <= set(given)
    arguments = [changed.get(each, each) for each in given if not each.startswith("--tls-")]
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *arguments, f"--kubeconfig={kubeconfig}"], stdout=log, stderr=log, cwd=folder
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def test_the_account_of_the_pod_creates_nothing(pod: Pod) -> None:
    for path, body in (
        (f"{V3}/registered_models?namespace={pod.world.namespace}", '{"name": "mine"}'),
        (f"{V3}/model_versions?namespace={pod.world.namespace}", '{"name": "1", "registeredModelId": "1"}'),
    ):
        status, answer = pod.server.ask("POST", path, json.loads(body))
        assert status in {403, 404}, answer
    assert pod.server.ask("POST", f"{V3}/registered_models?namespace={pod.world.namespace}", {"name": "x"})[0] == 403


def test_a_caller_with_a_token_has_the_rights_of_the_token_through_the_proxy(pod: Pod) -> None:
    world = pod.world
    viewer = make_account(world.kube, world.namespace, "viewer", "gatehouse-viewer")
    stranger = make_account(world.kube, world.namespace, "stranger")
    status, text = pod.through(f"{V3}/registered_models", Authorization=f"Bearer {viewer}")
    assert (status, [item["name"] for item in json.loads(text)["items"]]) == (200, ["granite"])
    status, text = pod.through(f"{V3}/registered_models", Authorization=f"Bearer {stranger}")
    assert (status, json.loads(text)["items"]) == (200, [])
    path, body = f"{V3}/model_versions/{pod.version}", '{"state": "ARCHIVED"}'
    status, text = pod.through(path, method="PATCH", body=body, Authorization=f"Bearer {viewer}")
    assert status == 403
    assert "modelversions" in text
    status, text = pod.through(f"{V3}/registered_models", x_forwarded_access_token=viewer)
    assert status == 200, text


TRICKS = [
    pytest.param({}, id="nothing"),
    pytest.param({"Host": "localhost"}, id="host"),
    pytest.param({"Host": "127.0.0.1:8080"}, id="address"),
    pytest.param({"X_Forwarded_For": "127.0.0.1"}, id="forwarded"),
    pytest.param({"X_Forwarded_For": "", "Host": "localhost"}, id="forwarded-empty"),
    pytest.param({"Connection": "X-Forwarded-For", "Host": "localhost"}, id="hop"),
    pytest.param(
        {"Connection": "x-forwarded-for, close", "X_Forwarded_For": "127.0.0.1", "Host": "localhost"}, id="hops"
    ),
    pytest.param({"Connection": "X-Forwarded-For\nclose", "Host": "[::1]:8080"}, id="hop-twice"),
    pytest.param(
        {"Connection": "Authorization, X-Forwarded-For", "Authorization": "TOKEN", "Host": "localhost"},
        id="token-dropped",
    ),
    pytest.param({"Authorization": "Bearer not-a-token", "Host": "localhost"}, id="token-of-nobody"),
    pytest.param(
        {"x_remote_user": "system:admin", "x_remote_groups": "system:masters", "Host": "localhost"}, id="remote-user"
    ),
    pytest.param(
        {"Connection": "x-remote-user, x-forwarded-for", "x_remote_user": "admin", "Host": "localhost"},
        id="remote-user-dropped",
    ),
    pytest.param({"kubeflow_userid": "admin", "Host": "localhost"}, id="kubeflow"),
    pytest.param({"Impersonate_User": "admin", "Host": "localhost"}, id="impersonate"),
    pytest.param({"Upgrade": "websocket", "Connection": "Upgrade, X-Forwarded-For", "Host": "localhost"}, id="upgrade"),
    pytest.param({"TE": "trailers", "Trailer": "X-Forwarded-For", "Host": "localhost"}, id="trailer"),
]


@pytest.mark.parametrize("headers", TRICKS)
def test_nothing_that_passes_the_proxy_without_its_own_token_is_of_the_loopback(
    pod: Pod, headers: dict[str, str]
) -> None:
    viewer = make_account(pod.world.kube, pod.world.namespace, "viewer", "gatehouse-viewer")
    sent = {name: value.replace("TOKEN", f"Bearer {viewer}") for name, value in headers.items()}
    for method, path, body in (
        ("GET", f"{V3}/registered_models", ""),
        ("PATCH", f"{V3}/model_versions/{pod.version}", '{"state": "ARCHIVED"}'),
    ):
        status, text = pod.through(path, method=method, body=body, **sent)
        assert status == 401, text
    assert pod.world.get("ModelVersion", "granite-1")["spec"].get("state") != "Archived"  # type: ignore[index]


def test_a_path_deeper_than_those_of_the_api_is_not_passed_on_without_a_token(pod: Pod) -> None:
    assert pod.through("/a" * 11, Host="localhost")[0] == 401
    assert pod.through("/api/model_catalog/v1/sources/gatehouse/models/a/b/artifacts/performance")[0] == 401


def test_the_commands_that_people_type_answer_as_the_account_of_the_pod(pod: Pod) -> None:
    listed = pod.curl(f"{V3}/registered_models")
    assert listed.returncode == 0, listed.stderr
    assert [item["name"] for item in json.loads(listed.stdout)["items"]] == ["granite"]

    archived = pod.curl(f"{V3}/model_versions/{pod.version}", "-X", "PATCH", "-d", '{"state": "ARCHIVED"}')
    assert archived.returncode == 0, pod.server.ask(
        "PATCH", f"{V3}/model_versions/{pod.version}", {"state": "ARCHIVED"}
    )
    assert json.loads(archived.stdout)["state"] == "ARCHIVED"
    body: dict[str, Any] = pod.world.wait("granite-1", lambda each: each["status"].get("phase") == "Archived")
    assert body["spec"]["state"] == "Archived"
    said = pod.server.log.read_text()
    assert f"system:serviceaccount:{pod.world.namespace}:{ACCOUNT}" in said
