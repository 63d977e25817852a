"""Who asks for an approval, an evaluation or a version, and what the API server answers."""

from __future__ import annotations

from typing import Any

from cluster.gated import DIGEST, STAGE, Gate, altered, wait_for_rights
from cluster.status import Manifest

MERGE = "application/merge-patch+json"
PERSIST = "fieldManager=test"
RBAC_GROUP = "rbac.authorization.k8s.io"


def gatehouse(kind: str, gate: Gate, spec: Manifest, *, name: str = "test") -> Manifest:
    return {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": gate.namespace},
        "spec": spec,
    }


def bind(gate: Gate, role: str, *, user: str = "", group: str = "", cluster: bool = True) -> None:
    subject = {"apiGroup": RBAC_GROUP, "kind": "User" if user else "Group", "name": user or group}
    kind = "ClusterRoleBinding" if cluster else "RoleBinding"
    gate.admin.apply(
        {
            "apiVersion": f"{RBAC_GROUP}/v1",
            "kind": kind,
            "metadata": {"name": f"test-{role}-{user or group}"[:63], "namespace": gate.namespace},
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }
    )
    wait_for_rights(gate.admin, role, user=user or "somebody", group=group, namespace=gate.namespace)


def approval(gate: Gate, *, approver: str, tier: str = "Low", name: str = "decision", **changes: Any) -> Manifest:
    spec = {
        "versionRef": {"name": "granite-1", "uid": "0b6b3d6c-0000-4000-8000-000000000001"},
        "digest": DIGEST,
        "servedDigest": DIGEST,
        "stage": STAGE,
        "riskTier": tier,
        "decision": "Approved",
        "reason": "evaluated",
        "approver": approver,
        **changes,
    }
    return gatehouse("ModelApproval", gate, spec, name=name)


def evaluation(gate: Gate, *, evaluator: str, **changes: Any) -> Manifest:
    spec = {
        "versionRef": {"name": "granite-1", "uid": "0b6b3d6c-0000-4000-8000-000000000001"},
        "digest": DIGEST,
        "kind": "Safety",
        "suite": "lm-evaluation-harness",
        "dataset": {"name": "toxigen"},
        "evaluator": evaluator,
        "evaluatedAt": "2026-11-01T00:00:00Z",
        "metrics": [{"name": "acc", "value": "0.9"}],
        **changes,
    }
    return gatehouse("ModelEvaluation", gate, spec)


def version(gate: Gate, *, by: str | None = None, via: str | None = None, name: str = "granite-1") -> Manifest:
    spec: Manifest = {
        "modelRef": {"name": "granite"},
        "version": name,
        "artifact": {"uri": "s3://models/granite/"},
        "hardwareProfileRef": {"name": "nvidia-l4"},
    }
    return gatehouse(
        "ModelVersion",
        gate,
        altered(spec, {("submittedBy",): by, ("submittedVia",): via}),
        name=name,
    )
