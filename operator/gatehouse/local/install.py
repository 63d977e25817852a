"""Turns an empty control plane into one that knows Gatehouse."""

from __future__ import annotations

from gatehouse.local.controlplane import OPERATOR_USER
from gatehouse.local.databases import Database
from gatehouse.local.kube import KubeClient
from gatehouse.local.objects import bindings, namespace, registry
from gatehouse.local.s3 import S3Endpoint
from gatehouse.local.shipped import documents

__all__ = ["install_defaults", "install_kinds"]


def install_kinds(client: KubeClient) -> None:
    """Apply the CRDs, the operator's namespace, the roles and their bindings; wait until the kinds are served."""
    definitions = [client.apply(definition) for definition in documents("crds")]
    for manifest in (namespace(), *documents("manifests/rbac"), *bindings(operator_user=OPERATOR_USER)):
        client.apply(manifest)
    client.wait_served(definitions)


def install_defaults(client: KubeClient, *, endpoint: S3Endpoint, database: Database | None) -> None:
    """Apply the shipped hardware profiles and the default registry with its Secrets."""
    for manifest in (*documents("manifests/hardware"), *registry(endpoint, database)):
        client.apply(manifest)
