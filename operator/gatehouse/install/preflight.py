"""Checks before any change whether Gatehouse can be installed on a cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from gatehouse.install.errors import ClusterNotUsable, KubectlFailed
from gatehouse.install.kubectl import Kubectl
from gatehouse.install.manifests import Manifest
from gatehouse.install.overlays import OverlayPlan

__all__ = ["OLDEST_MINOR", "check_cluster", "check_kinds", "served"]

OLDEST_MINOR: Final = 29
"""Kubernetes 1.29 is the first version with stable validation rules in CRDs (CEL)."""

_RIGHTS: Final = (
    ("create", "namespaces"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("patch", "clusterroles.rbac.authorization.k8s.io"),
    ("patch", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("patch", "deployments.apps"),
)
"""The first write of an installation in each API group. The server checks the other rights on apply."""


def check_cluster(kubectl: Kubectl) -> str:
    """The version of the API server, as in ``v1.36.3``.

    Raises:
        ClusterNotUsable: the cluster does not answer, is too old, or does not allow this user to install.
    """
    version = _version(kubectl)
    refused = [f"{verb} {what}" for verb, what in _RIGHTS if not _may(kubectl, verb, what)]
    if refused:
        raise ClusterNotUsable(
            f"this user may not {', '.join(refused)}; expected: the rights of cluster-admin for the installation. "
            "Choose another user with --context"
        )
    return version


def check_kinds(kubectl: Kubectl, plan: OverlayPlan) -> None:
    """Checks that the cluster serves every kind that the plan does not bring itself.

    Raises:
        ClusterNotUsable: a kind is of a platform that is not there, such as OpenShift's Route.
    """
    brought = {
        f"{definition.body['spec']['group']}/{version['name']}"
        for definition in plan.definitions
        for version in definition.body["spec"]["versions"]
    }
    others = [each for each in plan.others if each.api_version not in brought]
    there = {id(each) for each in served(kubectl, others)}
    missing = sorted({f"{each.kind} ({each.api_version})" for each in others if id(each) not in there})
    if missing:
        raise ClusterNotUsable(
            f"the cluster does not serve {', '.join(missing)}; expected: the platform of the overlay {plan.overlay}. "
            "The overlay rhoai is for OpenShift; elsewhere, install kind or postgres"
        )


def served(kubectl: Kubectl, manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """The manifests whose API version the cluster serves, in order."""
    versions = frozenset(kubectl.run("api-versions").split())
    return tuple(each for each in manifests if each.api_version in versions)


def _version(kubectl: Kubectl) -> str:
    try:
        answer = json.loads(kubectl.run("version", "--output=json", "--request-timeout=10s"))
        found = str(answer["serverVersion"]["gitVersion"])
    except KubectlFailed as error:
        raise ClusterNotUsable(
            f"the cluster does not answer: {error}. Choose one with --context or KUBECONFIG; "
            "gatehouse local up starts one here"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterNotUsable(f"kubectl version did not report the version of the cluster: {error!r}") from error
    numbers = re.match(r"v(\d+)\.(\d+)", found)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < (1, OLDEST_MINOR):
        raise ClusterNotUsable(f"the cluster runs Kubernetes {found}; expected: v1.{OLDEST_MINOR} or newer")
    return found


def _may(kubectl: Kubectl, verb: str, what: str) -> bool:
    try:
        return kubectl.run("auth", "can-i", verb, what, "--all-namespaces").strip().endswith("yes")
    except KubectlFailed:  # "no" is exit code 1
        return False
