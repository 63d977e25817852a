"""`gatehouse deploy` and `undeploy` on a real API server with its controllers; a thread stands where a node would."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.pretend_kubelet import Pod, pretend_kubelet
from cluster.servers import available
from cluster.tokens import account_kubeconfig
from cluster.world import API
from gatehouse.cli.local_package import local_kubectl
from gatehouse.cli.main import app
from gatehouse.install.kubectl import Kubectl, find_kubectl
from gatehouse.install.overlays import render
from gatehouse.install.shipped_files import documents, shipped
from gatehouse.install.uninstall import uninstall
from gatehouse.printing.progress import Silent
from gatehouse_local import ephemeral
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from openshift import ROUTES, route_kind

CREDENTIALS, SEED = "gatehouse-credentials", "model-registry-seed"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Node:
    """Runs the credentials Jobs with the rights of their accounts; other Jobs end with ``codes``, by name."""

    def __init__(self, plane: RunningControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self.codes: dict[str, int] = {}
        self.servers = True
        self.ran: list[str] = []

    def starts(self, pod: Pod) -> bool:
        """Pods of Deployments wait while ``servers`` is False."""
        return self.servers or "batch.kubernetes.io/job-name" in pod["metadata"]["labels"]

    def __call__(self, pod: Pod) -> int:
        job, namespace = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"], pod["metadata"]["namespace"]
        self.ran.append(f"{namespace}/{job}")
        if job != CREDENTIALS:
            return self.codes.get(job, 0)
        with contextlib.closing(self._plane.client()) as client:
            config = client.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{CREDENTIALS}")
        file = self._folder / f"{namespace}.yaml"
        file.write_text(config["data"]["credentials.yaml"])
        kubeconfig = account_kubeconfig(self._plane, namespace, pod["spec"]["serviceAccountName"], folder=self._folder)
        # A process of its own: CliRunner replaces the stdout of the whole process.
        command = [sys.executable, "-m", "gatehouse", "credentials", str(file), f"--kubeconfig={kubeconfig}"]
        return subprocess.run(command, check=False).returncode


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    """A cluster of its own that has never heard of Gatehouse."""
    with available(ephemeral.control_plane(bare=True)) as running:
        yield running


@pytest.fixture
def node(plane: RunningControlPlane, tmp_path: Path) -> Iterator[Node]:
    node = Node(plane, tmp_path)
    with pretend_kubelet(plane, run_job=node, starts=node.starts):
        yield node


class Cluster:
    """The cluster by command, remembering what was installed."""

    def __init__(self, plane: RunningControlPlane, kube: KubeClient) -> None:
        self._plane = plane
        self._installed: set[str] = set()
        self.kube = kube

    def gatehouse(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, f"--kubeconfig={self._plane.kubeconfig}"])

    def deploy(self, overlay: str, *options: str) -> Result:
        self._installed.add(overlay)
        return self.gatehouse("deploy", overlay, "--timeout=4m", *options)

    def clean(self) -> None:
        while self._installed:
            overlay = self._installed.pop()
            gone = self.gatehouse("undeploy", overlay, "--object-store=minio", "--delete-data")
            assert gone.exit_code == 0, gone.output


@pytest.fixture
def cluster(plane: RunningControlPlane) -> Iterator[Cluster]:
    """Whatever a test installs is gone after it."""
    with contextlib.closing(plane.client()) as client:
        cluster = Cluster(plane, client)
        yield cluster
        cluster.clean()


@pytest.fixture
def openshift(cluster: Cluster, plane: RunningControlPlane) -> Iterator[Cluster]:
    """The cluster with OpenShift's kind Route, until all that was installed is gone."""
    cluster.kube.apply(route_kind())
    kubectl = Kubectl(find_kubectl(local=local_kubectl), kubeconfig=plane.kubeconfig)
    kubectl.run("wait", "--for=condition=Established", "--timeout=60s", f"crd/{ROUTES}")
    yield cluster
    cluster.clean()
    kubectl.run("delete", "crd", ROUTES)


def secret(admin: KubeClient, namespace: str, name: str) -> Mapping[str, str]:
    body = admin.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
    return {key: base64.b64decode(value).decode() for key, value in body["data"].items()}


def there(admin: KubeClient, path: str) -> bool:
    try:
        admin.request("GET", path)
    except ApiRefused as refused:
        if refused.status != 404:
            raise
        return False
    return True


def test_deploy_again_undeploy_and_deploy_again_continue_with_everything(openshift: Cluster, node: Node) -> None:
    cluster = openshift
    first = cluster.deploy("rhoai", "--object-store=minio")
    assert (first.exit_code, "Gatehouse runs (overlay rhoai)." in first.output) == (0, True), first.output
    assert "kubectl logs -n rhoai-model-registries job/model-registry-seed" in first.output
    assert "Images by tag: localhost/gatehouse:0.1.0, mariadb:10.11, minio/minio:" in first.output
    made = secret(cluster.kube, "private-ai", "model-registry-db-creds")
    assert made["database-user"] == "mlmd"
    key = secret(cluster.kube, "gatehouse-system", "gatehouse-audit-key")
    assert key["audit.key"].startswith("-----BEGIN PRIVATE KEY-----")
    copied = secret(cluster.kube, "rhoai-model-registries", "private-ai-registry-db-creds")
    assert copied.keys() == {"database-name", "database-user", "database-password", "ca.crt"}
    assert copied["database-password"] == made["database-password"]
    served = secret(cluster.kube, "private-ai", "model-registry-db-tls")
    assert served["tls.key"].startswith("-----BEGIN PRIVATE KEY-----")
    assert copied["ca.crt"] == served["ca.crt"]
    connection = secret(cluster.kube, "private-ai", "minio-connection")
    operators = secret(cluster.kube, "rhoai-model-registries", "minio-connection")
    users = {name: secret(cluster.kube, "minio", f"minio-{name}") for name in ("operator", "serving", "uploader")}
    assert connection.items() >= users["serving"].items()
    assert operators.items() >= users["operator"].items()
    root = secret(cluster.kube, "minio", "minio-root")["root-password"]
    keys = [root, *(user["AWS_SECRET_ACCESS_KEY"] for user in users.values())]
    assert len(set(keys)) == 4
    for value in (made["database-password"], made["database-root-password"], served["tls.key"], *keys):
        assert value not in first.output

    image = "registry.example.com/gatehouse:0.2.0"
    assert node.ran.index("minio/gatehouse-credentials") < node.ran.index("minio/minio-users")
    upgrade = cluster.deploy("rhoai", "--object-store=minio", f"--image={image}")
    assert upgrade.exit_code == 0, upgrade.output
    assert node.ran.count("rhoai-model-registries/model-registry-seed") == 2
    operator = cluster.kube.request("GET", "/apis/apps/v1/namespaces/gatehouse-system/deployments/gatehouse-operator")
    assert operator["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert secret(cluster.kube, "private-ai", "model-registry-db-creds") == made

    profile = next(each for each in documents("manifests/hardware"))
    cluster.kube.apply(profile)
    lease = "/apis/coordination.k8s.io/v1/namespaces/gatehouse-system/leases"
    cluster.kube.request("POST", lease, {"metadata": {"name": "gatehouse-operator"}, "spec": {"holderIdentity": "me"}})
    gone = cluster.gatehouse("undeploy", "rhoai", "--object-store=minio")
    assert gone.exit_code == 0, gone.output
    kept = {line for line in gone.output.splitlines() if line.startswith("kept ")}
    assert {line.split(":")[0] for line in kept} == {
        "kept the kinds with all their objects",
        "kept namespace gatehouse-system",
        "kept namespace private-ai",
        "kept namespace rhoai-model-registries",
        "kept namespace minio",
    }
    assert any("PersistentVolumeClaim model-registry-db-pvc" in line for line in kept)
    assert not there(cluster.kube, "/apis/rbac.authorization.k8s.io/v1/clusterroles/gatehouse-operator")
    assert [line for line in kept if "gatehouse-system" in line] == [
        "kept namespace gatehouse-system: Secret gatehouse-audit-key, ConfigMap gatehouse-audit-public-key"
    ]
    assert there(cluster.kube, f"{API}/hardwareprofiles/{profile['metadata']['name']}")
    assert there(cluster.kube, f"{API}/namespaces/rhoai-model-registries/modelregistries/private-ai-registry")

    back = cluster.deploy("rhoai", "--object-store=minio")
    assert back.exit_code == 0, back.output
    assert secret(cluster.kube, "private-ai", "model-registry-db-creds") == made
    assert secret(cluster.kube, "gatehouse-system", "gatehouse-audit-key") == key
    assert secret(cluster.kube, "private-ai", "model-registry-db-tls") == served


def test_deleting_data_leaves_nothing_but_what_is_somebody_elses(cluster: Cluster, node: Node) -> None:
    assert cluster.deploy("postgres").exit_code == 0
    cluster.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a-users-own", "namespace": "model-registry"},
            "data": {},
        }
    )
    gone = cluster.gatehouse("undeploy", "postgres", "--delete-data")
    assert gone.exit_code == 0, gone.output
    assert [line for line in gone.output.splitlines() if line.startswith("kept")] == [
        "kept namespace model-registry: ConfigMap a-users-own"
    ]
    assert not there(cluster.kube, f"{DEFINITIONS}/modelversions.gatehouse.dev")
    left = cluster.kube.request("GET", "/api/v1/namespaces/model-registry/secrets")["items"]
    assert [each["metadata"]["name"] for each in left] == []
    cluster.kube.request("DELETE", "/api/v1/namespaces/model-registry/configmaps/a-users-own")
    again = cluster.gatehouse("undeploy", "postgres", "--delete-data")
    assert again.exit_code == 0, again.output
    assert not there(cluster.kube, "/api/v1/namespaces/model-registry")


def test_kinds_that_were_just_made_go_without_a_wait(plane: RunningControlPlane) -> None:
    kubectl = Kubectl(find_kubectl(local=local_kubectl), kubeconfig=plane.kubeconfig)
    plan = render("embedded", folder=shipped("kustomize"), kustomize=kubectl.render)
    for _ in range(4):  # every other time some kind's objects cannot be listed yet, which used to hold it for minutes
        kubectl.apply(plan.definitions)
        uninstall(kubectl, plan, delete_data=True, progress=Silent())
        assert not kubectl.list("customresourcedefinitions")


def test_a_seed_that_fails_ends_the_deployment_with_its_reason(cluster: Cluster, node: Node) -> None:
    node.codes[SEED] = 1
    answer = cluster.deploy("embedded")
    assert answer.exit_code == 1, answer.output
    assert "Job model-registry/model-registry-seed: " in answer.output
    assert "container seed: ended with exit code 1" in answer.output
    node.codes.clear()
    mended = cluster.deploy("embedded")
    assert mended.exit_code == 0, mended.output


def test_what_does_not_come_is_named_with_its_reason(cluster: Cluster, node: Node) -> None:
    node.servers = False
    answer = cluster.deploy("embedded", "--timeout=30s")
    assert answer.exit_code == 1
    assert "not complete after 30 s; the applied objects stay" in answer.output
    assert "Deployment gatehouse-system/gatehouse-operator: 0 of 1 available" in answer.output
    assert "PersistentVolumeClaim gatehouse-data is not bound" in answer.output


def test_what_cannot_work_is_said_before_anything_is_changed(
    plane: RunningControlPlane, cluster: Cluster, tmp_path: Path
) -> None:
    refused = cluster.gatehouse("deploy", "rhoai", "--context=ai-developer")
    assert refused.exit_code == 2
    assert "this user may not create namespaces" in refused.output
    assert "cluster-admin" in refused.output
    assert not there(cluster.kube, "/api/v1/namespaces/private-ai")

    elsewhere = cluster.gatehouse("deploy", "rhoai")
    assert elsewhere.exit_code == 2
    assert "the cluster does not serve Route (route.openshift.io/v1)" in elsewhere.output
    assert "install kind or postgres" in " ".join(elsewhere.output.split())
    assert not there(cluster.kube, "/api/v1/namespaces/private-ai")

    unknown = cluster.gatehouse("deploy", "openshift")
    assert unknown.exit_code == 2
    assert "there is no overlay 'openshift'" in unknown.output
    assert "embedded, kind, postgres, rhoai" in unknown.output

    away = tmp_path / "kubeconfig"
    away.write_text(plane.kubeconfig.read_text().replace(plane.url, "https://127.0.0.1:1"))
    answer = CliRunner().invoke(app, ["deploy", "rhoai", f"--kubeconfig={away}"])
    assert answer.exit_code == 2
    assert "the cluster does not answer" in answer.output
