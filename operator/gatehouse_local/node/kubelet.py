"""The configuration of the kubelet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from gatehouse_local.node import network
from gatehouse_local.node.runtime import CONTAINERD_SOCKET

__all__ = ["HEALTH_PORT", "KUBELET_ROOT", "kubelet_config"]

# Its name in the node's namespace.
KUBELET_ROOT: Final = "/var/lib/kubelet"
HEALTH_PORT: Final = 10248


def kubelet_config(*, cgroup_root: str, client_authority: Path, resolv_conf: Path) -> str:
    """A KubeletConfiguration.

    Args:
        cgroup_root: the parent of the Pods' cgroups.
        client_authority: the authority of the API server's client certificate; the kubelet admits no other client.
        resolv_conf: the file for Pods with the node's DNS policy.
    """
    configuration: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # With a loopback address the API server could not read logs.
        "address": network.NODE_ADDRESS,
        "healthzBindAddress": network.NODE_ADDRESS,
        "healthzPort": HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(client_authority)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup_root,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "volumePluginDir": f"{KUBELET_ROOT}/volumeplugins",
        # The disk belongs to the machine, not to the node, and a removed image could not be pulled again.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "clusterDNS": [network.DNS_SERVICE_ADDRESS],
        "clusterDomain": network.CLUSTER_DOMAIN,
        "resolvConf": str(resolv_conf),
    }
    return yaml.safe_dump(configuration, sort_keys=False)
