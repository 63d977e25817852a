"""The node's objects in the API, as manifests: DNS for Pods, a default storage class, volumes, a simulated GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gatehouse_local.node import network

__all__ = ["NODE_NAME", "STORAGE_CLASS", "dns", "gpu_label", "gpu_status", "storage_class", "volume", "volume_names"]

Manifest = dict[str, Any]

NODE_NAME: Final = "gatehouse-local"
STORAGE_CLASS: Final = "standard"
_VOLUMES: Final = 24
_VOLUME_SIZE: Final = "20Gi"
_GPU: Final = "nvidia.com/gpu"
_LABELS: Final = {"app.kubernetes.io/part-of": "gatehouse"}
_DNS: Final = {"name": "kube-dns", "namespace": "kube-system"}


def dns(*, user: str) -> Iterator[Manifest]:
    """The Service `kube-dns`, which leads to CoreDNS outside the cluster, and the rights of CoreDNS' `user`."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**_DNS, "labels": _LABELS},
        "spec": {"clusterIP": network.DNS_SERVICE_ADDRESS, "ports": ports},
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**_DNS, "labels": {**_LABELS, "kubernetes.io/service-name": _DNS["name"]}},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [network.NODE_ADDRESS], "conditions": {"ready": True}}],
    }
    role = "gatehouse-local-dns"
    seen = {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": ["list", "watch"]}
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": role, "labels": _LABELS},
        "rules": [seen, slices],
    }
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role, "labels": _LABELS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


def storage_class() -> Manifest:
    """The default StorageClass. Its volumes exist already: no provisioner creates volumes on demand."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "labels": _LABELS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume_names() -> tuple[str, ...]:
    """The names of the PersistentVolumes of the node."""
    return tuple(f"{STORAGE_CLASS}-{number:02}" for number in range(1, _VOLUMES + 1))


def volume(name: str, folder: Path) -> Manifest:
    """A PersistentVolume on a folder of this machine.

    The volume is of type `local`: unlike hostPath, the kubelet sets its group to the Pod's fsGroup.
    """
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": _LABELS},
        "spec": {
            "capacity": {"storage": _VOLUME_SIZE},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
        },
    }


def gpu_label(*, present: bool) -> Manifest:
    """A merge patch of the Node: the label of an NVIDIA L4, or none."""
    return {"metadata": {"labels": {f"{_GPU}.product": "NVIDIA-L4" if present else None}}}


def gpu_status(*, present: bool) -> Manifest:
    """A merge patch of the Node's status: one GPU for Pods, or none. A running kubelet keeps the value."""
    count = "1" if present else None
    return {"status": {"capacity": {_GPU: count}, "allocatable": {_GPU: count}}}
