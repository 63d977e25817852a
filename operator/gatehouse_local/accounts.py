"""Service accounts for optional programs beside a cluster, so that each has the rights that it needs and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from gatehouse_local.files import write_private
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import namespace
from gatehouse_local.users import render_kubeconfig

__all__ = ["PROGRAMS_NAMESPACE", "account_kubeconfig"]

PROGRAMS_NAMESPACE: Final = "gatehouse-local"
"""Where the accounts are."""
_TOKEN_SECONDS: Final = 86_400


def account_kubeconfig(client: KubeClient, name: str, *, url: str, authority: Path, path: Path) -> Path:
    """Ensures a ServiceAccount, and writes a kubeconfig with a token of it that is valid for a day.

    Raises:
        ApiRefused: the API server refused an object.
    """
    metadata = {"name": name, "namespace": PROGRAMS_NAMESPACE}
    account: dict[str, Any] = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    client.apply(namespace(PROGRAMS_NAMESPACE))
    client.apply(account)
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_SECONDS},
    }
    token = client.request("POST", f"{client.path_of(account)}/token", asked)["status"]["token"]
    return write_private(path, render_kubeconfig([name], url=url, authority=authority, tokens={name: token}))
