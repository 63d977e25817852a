"""A service account with given rights, as a Pod has one, and the kubeconfig of its token."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient

__all__ = ["Right", "account"]

RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource of Gatehouse; in every namespace when ``cluster``."""

    verb: str
    resource: str
    cluster: bool = False


@contextlib.contextmanager
def account(plane: RunningControlPlane, namespace: str, rights: Sequence[Right], folder: Path) -> Iterator[Path]:
    """The kubeconfig of a fresh service account in a namespace that may do exactly this."""
    name = f"account-{secrets.token_hex(4)}"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    with contextlib.closing(plane.client()) as kube:
        kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
        made = [
            *_grant(kube, name, [each for each in rights if each.cluster], subject, namespace=""),
            *_grant(kube, name, [each for each in rights if not each.cluster], subject, namespace=namespace),
        ]
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token = kube.request("POST", path, request)["status"]["token"]
        config = yaml.safe_load(plane.kubeconfig.read_text())
        config["users"] = [{"name": name, "user": {"token": token}}]
        config["contexts"] = [{"name": name, "context": {"cluster": config["clusters"][0]["name"], "user": name}}]
        config["current-context"] = name
        written = folder / f"{name}.kubeconfig"
        written.write_text(yaml.safe_dump(config))
        yield written
        for manifest in made:
            kube.request("DELETE", kube.path_of(manifest))


def _grant(
    kube: KubeClient, name: str, rights: Sequence[Right], subject: dict[str, str], *, namespace: str
) -> list[dict[str, Any]]:
    if not rights:
        return []
    kind = "Role" if namespace else "ClusterRole"
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    rules = [{"apiGroups": ["gatehouse.dev"], "resources": [each.resource], "verbs": [each.verb]} for each in rights]
    manifests = [
        {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
            "subjects": [subject],
        },
    ]
    for manifest in manifests:
        kube.apply(manifest)
    return manifests
