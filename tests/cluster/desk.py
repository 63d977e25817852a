"""A namespace with versions whose statuses the operator's user wrote, and people with rights; no operator runs."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from typer.testing import CliRunner, Result

from cluster.rig import until
from cluster.status import Manifest
from gatehouse.cli.main import app
from gatehouse_local.controlplane import ADMIN, OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import namespace as namespace_manifest

__all__ = ["AUTHOR", "DIGEST", "READS", "REVIEWER", "Desk", "gate", "make_desk", "pending"]

AUTHOR, REVIEWER = "ai-developer", "ai-admin"
DIGEST = "sha256:" + "a" * 64
RBAC = "rbac.authorization.k8s.io"
GATEHOUSE = "/apis/gatehouse.dev/v1alpha1"
GROUPS = {REVIEWER: "rhoai-admins", AUTHOR: "rhoai-users"}


def gate(name: str, *, stage: str = "", is_open: bool = True, found: str = "as expected") -> Manifest:
    """A gate of a status."""
    shown = {"name": name, "stage": stage, "open": is_open, "rule": f"the rule of {name}", "found": found}
    return {**shown, "wanted": "what opens it", "remedy": "do what is expected"}


def pending(*, cleared: tuple[str, ...] = (), phase: str = "Pending Review", **changes: Any) -> Manifest:
    """The status of a version that two approvals are owed for, of the stages staging and production."""
    stages = ("staging", "production")
    return {
        "phase": phase,
        "clearedFor": list(cleared),
        "artifact": {"digest": DIGEST, "totalBytes": 10, "files": 3, "parameters": 7, "dtypes": {"F8_E4M3": 7}},
        "gates": [
            *(gate(name) for name in ("Registered", "ArtifactVerified", "HardwareFits")),
            *(gate("PolicyCompliant", stage=stage) for stage in stages),
            *(gate("Approved", stage=each, is_open=each in cleared, found="no approval") for each in stages),
        ],
        **changes,
    }


class Desk:
    """The namespace. ``author`` submits, ``reviewer`` may approve every tier, ``admin`` may do anything."""

    def __init__(self, plane: RunningControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        self.people = {user: plane.client(user) for user in (ADMIN, AUTHOR, REVIEWER, OPERATOR_USER)}

    def close(self) -> None:
        """Closes every connection."""
        for client in self.people.values():
            client.close()

    @property
    def admin(self) -> KubeClient:
        """The administrator's client."""
        return self.people[ADMIN]

    def path(self, plural: str, name: str = "") -> str:
        """Request path of a namespaced kind of Gatehouse."""
        return f"{GATEHOUSE}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def model(self, name: str = "granite", **spec: Any) -> Manifest:
        """Creates a model."""
        return self.admin.apply(self._object("RegisteredModel", name, {"riskTier": "Low", **spec}))

    def version(
        self, name: str, *, by: str = AUTHOR, submitted: bool = True, status: Manifest | None = None, **spec: Any
    ) -> Manifest:
        """Creates a version as somebody, with a status as of the operator."""
        wanted = {
            "modelRef": {"name": "granite"},
            "version": name,
            "artifact": {"uri": f"s3://models/{name}/"},
            "hardwareProfileRef": {"name": "nvidia-l4"},
            **({"submittedBy": by} if submitted else {}),
            **spec,
        }
        made = self.people[by].request("POST", self.path("modelversions"), self._object("ModelVersion", name, wanted))
        found = pending() if status is None else status
        return self.set_status(name, {"observedGeneration": made["metadata"]["generation"], **found})

    def set_status(self, name: str, status: Mapping[str, Any]) -> Manifest:
        """Writes a status as the operator does."""
        return self.people[OPERATOR_USER].request(
            "PATCH",
            f"{self.path('modelversions', name)}/status",
            {"status": status},
            content_type="application/merge-patch+json",
        )

    def get(self, plural: str, name: str) -> Manifest:
        """An object."""
        return self.admin.request("GET", self.path(plural, name))

    def all(self, plural: str) -> list[Manifest]:
        """Every object of a kind in the namespace."""
        found: list[Manifest] = self.admin.request("GET", self.path(plural))["items"]
        return found

    def run(self, *arguments: str, user: str = REVIEWER) -> Result:
        """A command in the namespace as somebody."""
        return self.run_anywhere(*arguments, "-n", self.namespace, user=user)

    def run_anywhere(self, *arguments: str, user: str = REVIEWER) -> Result:
        """A command as somebody."""
        return CliRunner().invoke(app, [*arguments, f"--kubeconfig={self.plane.kubeconfig}", f"--context={user}"])

    def grant(self, name: str, user: str, *rules: Manifest, cluster: bool = False) -> Iterator[Manifest]:
        """Rights for somebody, in the namespace or everywhere."""
        kind = "ClusterRole" if cluster else "Role"
        metadata = {"name": name} if cluster else {"name": name, "namespace": self.namespace}
        yield self.admin.apply({"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": list(rules)})
        yield self.admin.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": f"{kind}Binding",
                "metadata": metadata,
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
                "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
            }
        )

    def allowed(self, user: str, verb: str, resource: str, *, name: str = "", namespaced: bool = True) -> bool:
        """The answer to a SelfSubjectAccessReview: bindings take a moment to hold."""
        attributes = {"verb": verb, "group": "gatehouse.dev", "resource": resource, "name": name}
        where = {"namespace": self.namespace} if namespaced else {}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**attributes, **where}},
        }
        answer = self.people[user].request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def _object(self, kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": dict(spec)}


READS = {
    "apiGroups": ["gatehouse.dev"],
    "resources": ["governancepolicies", "modelapprovals", "modelevaluations"],
    "verbs": ["get", "list", "watch"],
}


@contextlib.contextmanager
def make_desk(plane: RunningControlPlane) -> Iterator[Desk]:
    """A fresh namespace where the author submits and evaluates, and the reviewer approves every tier."""
    name = f"test-{secrets.token_hex(4)}"
    with contextlib.closing(Desk(plane, name)) as desk:
        desk.admin.apply(namespace_manifest(name))
        writes = {"apiGroups": ["gatehouse.dev"], "verbs": ["create", "patch", "delete"]}
        author = {**writes, "resources": ["modelversions", "modelevaluations"]}
        reviewer = {**writes, "resources": ["modelapprovals"]}
        approve = {"apiGroups": ["gatehouse.dev"], "resources": ["risktiers"], "verbs": ["approve"]}
        bound = [
            *desk.grant(f"{name}-reads", AUTHOR, READS, cluster=True),
            *desk.grant(f"{name}-reviews", REVIEWER, READS, reviewer, approve, cluster=True),
            *desk.grant("author", AUTHOR, author),
        ]
        until(lambda: desk.allowed(AUTHOR, "delete", "modelevaluations"), what="the author has no rights")
        until(lambda: desk.allowed(REVIEWER, "delete", "modelapprovals"), what="the reviewer has no rights")
        desk.model()
        yield desk
        for manifest in bound:
            if "namespace" not in manifest["metadata"]:
                desk.admin.request("DELETE", desk.admin.path_of(manifest))
        desk.admin.request("DELETE", f"/api/v1/namespaces/{name}")
