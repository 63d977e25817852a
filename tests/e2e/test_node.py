"""The local node: what Pods can do on it, and that nothing of it stays behind."""

from __future__ import annotations

import contextlib
import json
import ssl
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from e2e.footprint import footprint
from e2e.machine import Machine, container, job, pod, until
from gatehouse_local.cluster import LocalCluster
from gatehouse_local.errors import NodeImpossible

RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}

# Looks at the cluster as any Pod may, and prints what it found.
LOOK = r"""
cat >/tmp/look.py <<'EOF'
import json, pathlib, socket, ssl, time, urllib.error, urllib.request
secret = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
namespace = (secret / "namespace").read_text()
names = ["web", f"web.{namespace}.svc.cluster.local"]
def status(name):
    while True:
        try:
            return urllib.request.urlopen(f"http://{name}/", timeout=10).status
        except urllib.error.URLError:  # the server is about to start, or the Service to lead to it
            time.sleep(0.1)
pages = [status(name) for name in names]
trusted = ssl.create_default_context(cafile=secret / "ca.crt")
asked = urllib.request.Request(
    "https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews",
    data=json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode(),
    headers={"Authorization": f"Bearer {(secret / 'token').read_text()}", "Content-Type": "application/json"},
)
review = json.load(urllib.request.urlopen(asked, timeout=10, context=trusted))
try:
    socket.getaddrinfo("nobody.invalid", 80)
    unknown = True
except socket.gaierror:
    unknown = False
print(json.dumps({"pages": pages, "user": review["status"]["userInfo"]["username"], "unknown": unknown}))
EOF
exec python3 /tmp/look.py
"""


def page(address: str) -> int | None:
    """The status of the page at an address; None while nothing answers there."""
    with contextlib.closing(HTTPConnection(address, timeout=10)) as connection:
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        except OSError:
            return None


def server(namespace: str) -> list[dict[str, Any]]:
    """An HTTP server and its Service, which it may also reach itself by."""
    return [
        pod(
            namespace,
            "server",
            [container("cd /etc && exec python3 -m http.server 8080", ports=[{"containerPort": 8080}])],
        ),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]


def claim(namespace: str, name: str) -> dict[str, Any]:
    """A PersistentVolumeClaim on the default storage class."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
    }


def test_every_server_of_the_node_answers(node: Machine) -> None:
    states = {server.name: server.answering for server in node.cluster.status()}
    assert states == dict.fromkeys(
        [
            "node-namespace",
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "containerd",
            "kubelet",
            "kube-proxy",
            "coredns",
        ],
        True,
    )


def test_up_again_starts_nothing(node: Machine) -> None:
    assert node.cluster.up(operator=False) == ()


def test_a_bare_cluster_has_nothing_of_gatehouse(node: Machine) -> None:
    assert node.get("customresourcedefinitions")["items"] == []
    assert node.cluster.env().keys() == {"KUBECONFIG"}


def test_pods_find_services_by_name_and_the_api_by_their_account(node: Machine, namespace: str) -> None:
    node.apply(*server(namespace), job(namespace, "look", LOOK))
    node.wait(namespace, "job/look", "condition=complete")
    assert json.loads(node.logs(namespace, "job/look")) == {
        "pages": [200, 200],
        "user": f"system:serviceaccount:{namespace}:default",
        "unknown": False,
    }


def test_a_pod_reaches_itself_by_its_service_and_so_does_the_machine(node: Machine, namespace: str) -> None:
    node.apply(*server(namespace))
    node.wait(namespace, "pod/server", "condition=Ready")
    address = node.get("service", "web", f"--namespace={namespace}")["spec"]["clusterIP"]
    assert until(lambda: page(address)) == 200
    ask = "import urllib.request as u; print(u.urlopen('http://web/', timeout=10).status)"
    assert node.kubectl("exec", f"--namespace={namespace}", "server", "--", "python3", "-c", ask) == "200\n"


def test_a_restricted_pod_runs_as_any_user_and_shows_its_logs(node: Machine, namespace: str) -> None:
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    node.kubectl("label", "namespace", namespace, enforce)
    script = "id -u; ! touch /etc/written 2>/dev/null; exec sleep infinity"
    main = container(script, securityContext={**RESTRICTED, "runAsUser": 1234567})
    node.apply(pod(namespace, "restricted", [main]))
    node.wait(namespace, "pod/restricted", "condition=Ready")
    assert node.logs(namespace, "restricted") == "1234567\n"
    status = node.kubectl("exec", f"--namespace={namespace}", "restricted", "--", "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert (fields["CapEff"], fields["NoNewPrivs"], fields["Seccomp"]) == ("0000000000000000", "1", "2")
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        node.apply(pod(namespace, "privileged", [container("true", securityContext={"privileged": True})]))


def test_a_memory_limit_holds(node: Machine, namespace: str) -> None:
    limited = container("exec python3 -c 'bytearray(1 << 28)'", resources={"limits": {"memory": "64Mi"}})
    node.apply(pod(namespace, "greedy", [limited]))
    node.wait(namespace, "pod/greedy", "jsonpath={.status.phase}=Failed")
    (status,) = node.get("pod", "greedy", f"--namespace={namespace}")["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "OOMKilled"


def test_a_claim_is_bound_and_writable_by_any_user(node: Machine, namespace: str) -> None:
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]

    def written(name: str, script: str, **security: int) -> str:
        work = job(namespace, name, script, container_spec=mounted, volumes=volumes, securityContext=security)
        node.apply(claim(namespace, "data"), work)
        node.wait(namespace, f"job/{name}", "condition=complete")
        return node.logs(namespace, f"job/{name}")

    written("first", "echo first >/data/one", runAsUser=70001, runAsGroup=70001)
    seen = written("second", "cat /data/one; echo >/data/two; stat -c %g /data/two", runAsUser=70002, fsGroup=70003)
    assert seen == "first\n70003\n"
    assert node.get("persistentvolumeclaim", "data", f"--namespace={namespace}")["status"]["phase"] == "Bound"


def test_a_volume_whose_claim_is_gone_is_emptied_and_offered_again_by_up(node: Machine, namespace: str) -> None:
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "gone"}}]
    work = job(namespace, "fill", "echo secret >/data/file", container_spec=mounted, volumes=volumes)
    node.apply(claim(namespace, "gone"), work)
    node.wait(namespace, "job/fill", "condition=complete")
    volume = node.get("persistentvolumeclaim", "gone", f"--namespace={namespace}")["spec"]["volumeName"]
    folder = Path(node.get("persistentvolume", volume)["spec"]["local"]["path"])
    assert (folder / "file").read_text() == "secret\n"
    node.kubectl("delete", f"--namespace={namespace}", "job/fill", "persistentvolumeclaim/gone")
    node.wait(namespace, f"persistentvolume/{volume}", "jsonpath={.status.phase}=Released")
    assert (folder / "file").exists(), "until then the data is kept"
    node.cluster.up(operator=False)
    node.wait(namespace, f"persistentvolume/{volume}", "jsonpath={.status.phase}=Available")
    assert list(folder.iterdir()) == []


def test_a_pretended_gpu_goes_to_one_pod(node: Machine, namespace: str) -> None:
    gpu = container("exec sleep infinity", resources={"limits": {"nvidia.com/gpu": "1"}})
    selector = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    node.apply(pod(namespace, "first", [gpu], nodeSelector=selector))
    node.wait(namespace, "pod/first", "condition=Ready")
    node.apply(pod(namespace, "second", [gpu], nodeSelector=selector))
    node.wait(namespace, "pod/second", "condition=PodScheduled=false")
    conditions = node.get("pod", "second", f"--namespace={namespace}")["status"]["conditions"]
    assert "Insufficient nvidia.com/gpu" in next(
        each["message"] for each in conditions if each["type"] == "PodScheduled"
    )


def test_the_machine_sees_one_interface_and_its_routes_only(node: Machine, namespace: str) -> None:
    node.apply(*server(namespace))
    node.wait(namespace, "pod/server", "condition=Ready")
    seen = footprint(node.cluster.directory)
    assert seen["mounts"] == []
    assert seen["rules"] == []
    assert [name for name in seen["interfaces"] if name.startswith(("gh", "veth", "cni"))] == ["gh0"]
    ours = [line for line in seen["routes"] if "gh0" in line and " table local " not in line]
    assert sorted(line.split()[0] for line in ours) == ["10.88.0.0/30", "10.88.1.0/24", "10.96.0.0/24"]


def test_nobody_without_the_api_servers_certificate_gets_at_the_kubelet(node: Machine) -> None:
    (kubelet,) = [server.address for server in node.cluster.status() if server.name == "kubelet"]
    address = urlsplit(kubelet)
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    assert address.hostname is not None
    with contextlib.closing(
        HTTPSConnection(address.hostname, address.port, timeout=10, context=trusting)
    ) as connection:
        connection.request("GET", "/pods")
        assert connection.getresponse().status == 401


def test_a_second_node_is_refused_and_the_first_one_kept(node: Machine, tmp_path: Path) -> None:
    second = LocalCluster(tmp_path / "second")
    with pytest.raises(NodeImpossible, match="belongs to the node of another cluster") as refused:
        second.up(bare=True, node=True, operator=False)
    assert str(node.cluster.directory) in str(refused.value)
    assert not second.directory.exists()
    assert second.down() == ()
    assert all(server.answering for server in node.cluster.status())
