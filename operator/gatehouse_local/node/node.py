"""The node as a whole: its servers in the order of their start, its objects in the API, and its end."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatehouse.printing.progress import ProgressReporter
from gatehouse_local.errors import ApiRefused, NotReady
from gatehouse_local.files import write_private
from gatehouse_local.kube import KubeClient
from gatehouse_local.net import http_ready
from gatehouse_local.node import network, preflight
from gatehouse_local.node.cgroups import NodeCgroup
from gatehouse_local.node.kubelet import HEALTH_PORT, KUBELET_ROOT, kubelet_config
from gatehouse_local.node.namespace import HOLDER, Namespace
from gatehouse_local.node.objects import NODE_NAME, dns, gpu_label, gpu_status
from gatehouse_local.node.runtime import containerd_answers, write_runtime_files
from gatehouse_local.node.volumes import offer_volumes
from gatehouse_local.process import Server
from gatehouse_local.users import DNS_USER, NODE_USER, PROXY_USER

__all__ = [
    "NODE_PROGRAMS",
    "NODE_SERVERS",
    "PAUSE",
    "Node",
    "NodeAccess",
    "check",
    "clear",
    "containerd_address",
    "corefile",
    "end_pods",
    "namespace_of",
]

NODE_PROGRAMS: Final = ("kubelet", "kube-proxy", "coredns", "kube-scheduler")
NODE_SERVERS: Final = (HOLDER, "containerd", "kubelet", "kube-proxy", "coredns")
"""In the order of their start; the scheduler belongs to the control plane."""
PAUSE: Final = "pause"

_PROXY_PORT: Final = 10256
_DNS_PORT: Final = 8181
_POD_SECONDS: Final = 3.0
_READY_SECONDS: Final = 90.0
_PROBE_SECONDS: Final = 0.05
_MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAccess:
    """The node's access to the API: a kubeconfig for each user, and the clients that the kubelet admits."""

    kubeconfig: Callable[[str], Path]
    url: str
    kubelet_client_authority: Path


class Node:
    """The files and the servers of one node, in `home`; `programs` are the paths of `NODE_PROGRAMS`."""

    def __init__(self, home: Path, *, programs: Mapping[str, Path], access: NodeAccess) -> None:
        self._home = home
        self._programs = programs
        self._access = access
        self._namespace = namespace_of(home)

    def prepare(self) -> None:
        """Ends the remains of an earlier run, and makes the folders and the cgroup."""
        self._namespace.clear()
        self._namespace.prepare()

    def holder(self) -> Server:
        """The process that keeps the node's namespaces; once it runs, the machine has the node's address."""
        return self._namespace.holder()

    def servers(self, holder: int) -> tuple[Server, ...]:
        """containerd, kubelet, kube-proxy and CoreDNS, in the namespaces that the process `holder` keeps."""
        return (self._containerd(holder), self._kubelet(holder), self._proxy(holder), self._dns(holder))

    def addresses(self) -> dict[str, str]:
        """The address of each of the node's servers, by name."""
        listening = network.NODE_ADDRESS
        return {
            HOLDER: network.HOST_ADDRESS,
            "containerd": f"unix://{self._home / 'run' / 'containerd' / 'containerd.sock'}",
            "kubelet": f"https://{listening}:10250",
            "kube-proxy": f"http://{listening}:{_PROXY_PORT}",
            "coredns": f"{listening}:53",
        }

    def furnish(self, client: KubeClient) -> None:
        """Applies the objects that Pods expect: DNS and a default storage class with volumes."""
        for manifest in dns(user=DNS_USER):
            client.apply(manifest)
        offer_volumes(client, self._home / "volumes")

    def wait_ready(self, client: KubeClient, progress: ProgressReporter, *, since: dt.datetime, gpu: bool) -> None:
        """Waits until the Node is Ready; then sets a simulated GPU or none.

        Args:
            since: the start of the kubelet; an older status is of an earlier run.

        Raises:
            NotReady: the Node is not Ready in time; with the Node's message.
        """
        path = f"/api/v1/nodes/{NODE_NAME}"
        deadline = time.monotonic() + _READY_SECONDS
        earliest = since.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with progress.step("waiting for the node to be Ready"):
            while (found := _readiness(client, path, earliest=earliest)) is not None:
                if time.monotonic() >= deadline:
                    raise NotReady(f"The node is not Ready after {_READY_SECONDS:.0f} s: {found}")
                time.sleep(_PROBE_SECONDS)
        client.request("PATCH", path, gpu_label(present=gpu), content_type=_MERGE)
        client.request("PATCH", f"{path}/status", gpu_status(present=gpu), content_type=_MERGE)

    def _containerd(self, holder: int) -> Server:
        config = write_runtime_files(self._home, cni_plugins=preflight.cni_folder())
        return self._server(
            holder,
            "containerd",
            "containerd",
            f"--config={config}",
            settings=(config.read_text(),),
            ready=containerd_answers(containerd_address(holder)),
        )

    def _kubelet(self, holder: int) -> Server:
        resolv_conf = write_private(self._home / "resolv.conf", f"nameserver {network.DNS_SERVICE_ADDRESS}\n")
        resolv_conf.chmod(0o644)  # Pods of any user read the file
        content = kubelet_config(
            cgroup_root=self._namespace.cgroup.root,
            client_authority=self._access.kubelet_client_authority,
            resolv_conf=resolv_conf,
        )
        config = write_private(self._home / "kubelet.yaml", content)
        return self._server(
            holder,
            "kubelet",
            str(self._programs["kubelet"]),
            f"--config={config}",
            f"--kubeconfig={self._access.kubeconfig(NODE_USER)}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={network.NODE_ADDRESS}",
            f"--root-dir={KUBELET_ROOT}",
            settings=(content, self._access.url),
            ready=http_ready(HEALTH_PORT, "/healthz", host=network.NODE_ADDRESS),
        )

    def _proxy(self, holder: int) -> Server:
        return self._server(
            holder,
            "kube-proxy",
            str(self._programs["kube-proxy"]),
            f"--kubeconfig={self._access.kubeconfig(PROXY_USER)}",
            f"--hostname-override={NODE_NAME}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={network.PODS}",
            f"--healthz-bind-address={network.NODE_ADDRESS}:{_PROXY_PORT}",
            # These are sysctls of the whole machine; 0 leaves them alone.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            settings=(self._access.url,),
            # /healthz waits for a Node without a taint for deletion, and so for the kubelet; /livez does not.
            ready=http_ready(_PROXY_PORT, "/livez", host=network.NODE_ADDRESS),
        )

    def _dns(self, holder: int) -> Server:
        config = write_private(self._home / "Corefile", corefile(self._access.kubeconfig(DNS_USER)))
        return self._server(
            holder,
            "coredns",
            str(self._programs["coredns"]),
            f"-conf={config}",
            settings=(config.read_text(), self._access.url),
            ready=http_ready(_DNS_PORT, "/ready", host=network.NODE_ADDRESS),
        )

    def _server(
        self, holder: int, name: str, *argv: str, settings: tuple[str, ...], ready: Callable[[], bool]
    ) -> Server:
        return Server(
            name=name,
            argv=self._namespace.inside(holder, *argv),
            env={"PATH": preflight.search_path()},
            settings=settings,
            ready=ready,
        )


def namespace_of(home: Path) -> Namespace:
    """The namespaces of the node in `home`, whether they exist or not."""
    return Namespace(home=home, cgroup=NodeCgroup.find(_name(home)), alias=_alias(home))


def check(home: Path) -> None:
    """Checks that this machine can run a node in `home`.

    Raises:
        NodeImpossible: the machine cannot run a node; with the reasons.
    """
    preflight.check(alias=_alias(home))


def end_pods(home: Path) -> None:
    """Waits briefly for the processes of Pods to end by themselves. The kubelet must be stopped."""
    namespace_of(home).cgroup.end_pods(seconds=_POD_SECONDS)


def clear(home: Path) -> None:
    """Ends the remains of the node in `home` and removes them from the machine; the data stays.

    Raises:
        LocalClusterError: a process or a remaining resource cannot be removed.
    """
    namespace_of(home).clear()


def containerd_address(holder: int) -> Path:
    """The path of containerd's socket for other processes of the machine.

    The socket's own path may exceed the limit of 107 bytes for a socket's address.
    """
    return Path(f"/proc/{holder}/root/run/containerd/containerd.sock")


def corefile(kubeconfig: Path) -> str:
    """The configuration of CoreDNS: only the names of the cluster."""
    return f"""\
. {{
  bind {network.NODE_ADDRESS}
  errors
  ready {network.NODE_ADDRESS}:{_DNS_PORT}
  kubernetes {network.CLUSTER_DOMAIN} in-addr.arpa {{
    kubeconfig {kubeconfig}
    ttl 5
  }}
}}
"""


def _name(home: Path) -> str:
    return f"gatehouse-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


def _alias(home: Path) -> str:
    """The alias of the machine's end of the veth pair: the cluster's directory, within Linux's length limit."""
    return f"{_name(home)} {home.parent}"[:200]


def _readiness(client: KubeClient, path: str, *, earliest: str) -> str | None:
    """The reason why the Node is not Ready; None if Ready."""
    try:
        node = client.request("GET", path)
    except ApiRefused as refused:
        if refused.status != 404:
            raise
        return "the kubelet has not registered the node"
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            if condition.get("lastHeartbeatTime", "") < earliest:
                return "the kubelet has not reported since its start"
            return None if condition["status"] == "True" else str(condition.get("message", condition["status"]))
    return "the node has no condition Ready yet"
