"""Credentials of a service account, as its Pods have them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import yaml

from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.files import write_private

__all__ = ["account_kubeconfig"]


def account_kubeconfig(plane: RunningControlPlane, namespace: str, name: str, *, folder: Path) -> Path:
    """A kubeconfig in ``folder`` with a fresh token of the account."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    with contextlib.closing(plane.client()) as client:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token = client.request("POST", path, request)["status"]["token"]
    cluster = {"server": plane.url, "certificate-authority": str(plane.authority)}
    target = folder / f"{namespace}.{name}.kubeconfig"
    write_private(
        target,
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "account",
                "clusters": [{"name": "cluster", "cluster": cluster}],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": "account", "context": {"cluster": "cluster", "user": name}}],
            }
        ),
    )
    return target
