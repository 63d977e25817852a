"""Removes an installation, and keeps its data unless the caller requests the deletion."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.api.meta import GROUP
from gatehouse.install.errors import KubectlFailed
from gatehouse.install.kubectl import Kubectl
from gatehouse.install.manifests import Manifest, of_kind
from gatehouse.install.overlays import OverlayPlan
from gatehouse.install.preflight import served
from gatehouse.install.secret_objects import MANAGED_BY, MANAGER
from gatehouse.printing.progress import ProgressReporter

__all__ = ["KeptData", "uninstall"]

_DELETED_WITHIN: Final = 180.0
_TOUCHED_EVERY: Final = 2.0
_DATA: Final = frozenset({"CustomResourceDefinition", "Namespace", "PersistentVolumeClaim", "Secret"})
_WORKLOADS: Final = ("CronJob", "Deployment", "Job")
"""Kinds with Pods. The Jobs of a CronJob are deleted with the CronJob."""
_LEASE: Final = "gatehouse-operator"
_CONTENTS: Final = (
    "pods,persistentvolumeclaims,secrets,configmaps,services,deployments.apps,statefulsets.apps,jobs.batch"
)
_IN_EVERY_NAMESPACE: Final = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt"})
_ACCOUNT_SECRETS: Final = frozenset({"kubernetes.io/service-account-token", "kubernetes.io/dockercfg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptData:
    """The kept data: a namespace with the names of its contents, or the names of the kinds."""

    what: str
    contents: tuple[str, ...]

    def __str__(self) -> str:
        return f"kept {self.what}: {', '.join(self.contents)}" if self.contents else f"kept {self.what}"


def uninstall(
    kubectl: Kubectl, plan: OverlayPlan, *, delete_data: bool, progress: ProgressReporter
) -> tuple[KeptData, ...]:
    """Deletes the plan's objects and returns the kept data.

    Volumes, Secrets, the kinds with all their objects, and each namespace that is not empty stay. A new installation
    continues with them. With ``delete_data`` only namespaces with other people's objects stay.

    Raises:
        KubectlFailed: the API server refused, or an object was not deleted in time. Run the command again.
    """
    with progress.step("stopping the operator and its Jobs"):
        kubectl.delete(of_kind(plan.manifests, *_WORKLOADS), seconds=_DELETED_WITHIN)
    with progress.step("deleting roles, accounts, services and policies"):
        # A kind that is gone, as after an earlier removal with all data, took its objects along.
        kubectl.drop(served(kubectl, _removable(plan.manifests)))
        for namespace in {each.namespace for each in of_kind(plan.manifests, "Deployment")}:
            kubectl.run("delete", "lease", _LEASE, f"--namespace={namespace}", "--ignore-not-found")
    if delete_data:
        with progress.step("deleting volumes, Secrets, and the kinds with all their objects"):
            kubectl.delete(of_kind(plan.manifests, "PersistentVolumeClaim"), seconds=_DELETED_WITHIN)
            for namespace in plan.namespaces:
                _delete_generated(kubectl, namespace)
            _delete_definitions(kubectl, plan)
    with progress.step("deleting namespaces that are empty"):
        return tuple(_keep(kubectl, plan))


def _removable(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The objects without data, last applied first."""
    kept = (*of_kind(manifests, *_DATA, *_WORKLOADS),)
    return tuple(each for each in reversed(manifests) if each not in kept and not _is_declared(each))


def _is_declared(manifest: Manifest) -> bool:
    """Whether the object is of a Gatehouse kind, and therefore a user's data."""
    return manifest.api_version.startswith(f"{GROUP}/")


def _delete_generated(kubectl: Kubectl, namespace: str) -> None:
    """Deletes the Secrets, and the ConfigMaps of public keys."""
    by = f"--selector={MANAGED_BY}={MANAGER}"
    kubectl.run("delete", "secrets,configmaps", f"--namespace={namespace}", by)


def _delete_definitions(kubectl: Kubectl, plan: OverlayPlan) -> None:
    """Deletes the kinds with all their objects.

    Before the deletion of a kind the API server lists its objects. While the server's cache of a new kind is not ready,
    that list fails ("storage is (re)initializing"). The server retries only after minutes, or when the definition
    changes.
    """
    until = time.monotonic() + _DELETED_WITHIN
    kubectl.drop(plan.definitions)
    while left := _served(kubectl, plan):
        try:
            kubectl.wait_gone(left, seconds=_TOUCHED_EVERY)
        except KubectlFailed:
            if time.monotonic() > until:
                raise
            for definition in left:
                with contextlib.suppress(KubectlFailed):  # deleted meanwhile: the next list shows this
                    kubectl.touch(definition)


def _keep(kubectl: Kubectl, plan: OverlayPlan) -> Iterator[KeptData]:
    definitions = _served(kubectl, plan)
    if definitions:
        yield KeptData(what="the kinds with all their objects", contents=tuple(each.name for each in definitions))
    kinds = (_CONTENTS, *(each.name for each in definitions if each.body["spec"]["scope"] == "Namespaced"))
    empty = []
    for namespace in of_kind(plan.manifests, "Namespace"):
        listed = kubectl.list(",".join(kinds), f"--namespace={namespace.name}")
        contents = tuple(_name(body) for body in listed if _matters(body))
        if contents:
            yield KeptData(what=f"namespace {namespace.name}", contents=contents)
        else:
            empty.append(namespace)
    if empty:
        kubectl.delete(empty, seconds=_DELETED_WITHIN)


def _served(kubectl: Kubectl, plan: OverlayPlan) -> tuple[Manifest, ...]:
    """The plan's CRDs that still exist."""
    live = {body["metadata"]["name"] for body in kubectl.list("customresourcedefinitions")}
    return tuple(each for each in plan.definitions if each.name in live)


def _matters(body: Mapping[str, Any]) -> bool:
    """Whether the object is worth keeping. Ending Pods and the default objects of a namespace do not count."""
    if body["metadata"].get("deletionTimestamp") or body["metadata"]["name"] in _IN_EVERY_NAMESPACE:
        return False
    return body.get("type") not in _ACCOUNT_SECRETS


def _name(body: Mapping[str, Any]) -> str:
    return f"{body['kind']} {body['metadata']['name']}"
