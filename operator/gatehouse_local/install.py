"""Installs Gatehouse on an empty control plane."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from gatehouse.install.shipped_files import documents
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import Manifest, bindings, namespace, registry, with_operator
from gatehouse_local.s3 import S3Endpoint
from gatehouse_local.users import SERVER_USER

__all__ = ["install_defaults", "install_kinds"]


def install_kinds(client: KubeClient) -> None:
    """Applies the CRDs, the operator's namespace, the roles, their bindings and the ValidatingAdmissionPolicies.

    Waits until the API server serves the kinds. Keeps existing KServe kinds, and otherwise installs miniature ones.
    """
    definitions = [client.apply(definition) for definition in (*documents("crds"), *_kserve(client))]
    for manifest in (namespace(), *documents("manifests/rbac"), *_bindings()):
        client.apply(manifest)
    client.wait_served(definitions)
    for manifest in documents("kustomize/base/admission"):
        client.apply(with_operator(manifest, OPERATOR_USER))


def install_defaults(
    client: KubeClient, *, endpoint: S3Endpoint, database: LocalDatabase | None, hook_token: str = ""
) -> None:
    """Applies the shipped hardware profiles, the default policies, and the default registry with its Secrets."""
    shipped = (*documents("manifests/hardware"), *documents("manifests/policies"))
    for manifest in (*shipped, *registry(endpoint, database, hook_token=hook_token)):
        client.apply(manifest)


def _bindings() -> Iterator[Manifest]:
    return bindings(operator_user=OPERATOR_USER, server_user=SERVER_USER)


def _kserve(client: KubeClient) -> Iterator[Manifest]:
    """The definitions of KServe's kinds that are missing or were installed by this package."""
    for definition in documents("manifests/kserve-minimal"):
        try:
            found = client.request("GET", client.path_of(definition))
        except ApiRefused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise
            yield definition
            continue
        if (found["metadata"].get("labels") or {}).get("app.kubernetes.io/part-of") == "gatehouse":
            yield definition
