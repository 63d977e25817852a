"""A world whose versions are judged by a policy of their own, and people who submit and decide."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cluster.gated import take_back
from cluster.rig import Operator, until
from cluster.status import Manifest
from cluster.world import API, World, make_world
from gatehouse.domain.common.clocks import timestamp
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.s3 import S3Endpoint

__all__ = ["MERGE", "POLICIES", "REVIEWER", "SUBMITTER", "VETTED", "WITHDRAWN", "Court", "make_court"]

POLICIES, VETTED = f"{API}/governancepolicies", f"{API}/vettedartifacts"
SUBMITTER, REVIEWER = "admin", "ai-admin"
WITHDRAWN = "read the wrong report"
MERGE = "application/merge-patch+json"


class Court:
    """A world whose versions are judged by a policy of their own, and people who submit and decide."""

    def __init__(self, world: World, plane: RunningControlPlane) -> None:
        self.world = world
        self.reviewer = plane.client(REVIEWER)
        self.policy_name = world.namespace

    @property
    def policy_path(self) -> str:
        return f"{POLICIES}/{self.policy_name}"

    def policy(self, **spec: Any) -> None:
        """Applies the policy, which applies to this namespace alone."""
        labels = {"kubernetes.io/metadata.name": self.world.namespace}
        self.world.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "GovernancePolicy",
                "metadata": {"name": self.policy_name},
                "spec": {"match": {"namespaceSelector": {"matchLabels": labels}}, **spec},
            }
        )

    def submit(self, name: str = "granite-1", **model: Any) -> None:
        """A registry with a version that the administrator submitted."""
        self.world.upload(name)
        self.world.apply(
            self.world.registry(), self.world.model(**model), self.world.version(name, submittedBy=SUBMITTER)
        )

    def _about(self, name: str) -> dict[str, Any]:
        found = self.world.wait(name, lambda body: body["status"].get("artifact", {}).get("digest"))
        reference = {"name": name, "uid": found["metadata"]["uid"]}
        return {"versionRef": reference, "digest": found["status"]["artifact"]["digest"]}

    def _served(self, name: str) -> str:
        found = self.world.wait(name, lambda body: body["status"].get("servedDigest"))
        digest: str = found["status"]["servedDigest"]
        return digest

    def decide(self, decision: str = "Approved", *, stage: str = "staging", name: str = "granite-1") -> str:
        """The reviewer decides; the name of the approval."""
        made = f"{name}-{stage}-{decision}".lower()
        spec = {
            **self._about(name),
            "servedDigest": self._served(name),
            "stage": stage,
            "riskTier": "Low",
            "decision": decision,
            "reason": "looked at it",
            "approver": REVIEWER,
            "groups": ["rhoai-admins"],
        }
        self._create(self.reviewer, "ModelApproval", "modelapprovals", made, spec)
        return made

    def evaluate(self, name: str, value: str, *, of: str = "granite-1", days: int = 0, by: str = REVIEWER) -> None:
        """The reviewer evaluates, or the administrator, who submitted."""
        spec = {
            **self._about(of),
            "kind": "Task",
            "suite": "lm-eval",
            "dataset": {"name": "arc"},
            "evaluator": by,
            "evaluatedAt": timestamp(datetime.now(UTC) - timedelta(days=days)),
            "metrics": [{"name": "acc", "value": value}],
        }
        client = self.reviewer if by == REVIEWER else self.world.kube
        self._create(client, "ModelEvaluation", "modelevaluations", name, spec)

    def take_back(self, evaluation: str, *, by: str) -> None:
        """Somebody who may delete results takes one back."""
        client = self.reviewer if by == REVIEWER else self.world.kube
        path = f"{API}/namespaces/{self.world.namespace}/modelevaluations/{evaluation}"
        take_back(client, path, by=by, reason=WITHDRAWN)

    def _create(self, client: KubeClient, kind: str, plural: str, name: str, spec: Manifest) -> None:
        namespace = self.world.namespace
        client.request(
            "POST",
            f"{API}/namespaces/{namespace}/{plural}",
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": kind,
                "metadata": {"name": name, "namespace": namespace},
                "spec": spec,
            },
        )

    def withdraw(self, approval: str) -> None:
        """The reviewer takes a decision back."""
        path = f"{API}/namespaces/{self.world.namespace}/modelapprovals/{approval}"
        take_back(self.reviewer, path, by=REVIEWER, reason=WITHDRAWN)

    def cleared(self, *stages: str, name: str = "granite-1") -> Manifest:
        """The version as soon as it is cleared for these stages."""
        wanted = list(stages)
        return self.world.wait(name, lambda body: body["status"].get("clearedFor", []) == wanted, what=f"not {wanted}")

    def let_through(self, stage: str = "staging") -> dict[str, str]:
        """The artifacts that admission lets through."""
        return next((spec["artifacts"] for spec in self.world.vetted() if spec["stage"] == stage), {})

    def wait_through(self, *names: str, stage: str = "staging") -> None:
        """Returns when admission lets exactly these versions' artifacts through."""
        wanted = {self.world.uri(name) for name in names}
        until(lambda: set(self.let_through(stage)) == wanted, what=lambda: f"let through: {self.let_through(stage)}")

    def records(self, operator: Operator) -> list[Manifest]:
        """Every record, in its order."""
        rows = self.world.rows(operator, "audit_records")
        return [json.loads(row["content"]) for row in sorted(rows, key=lambda row: row["seq"])]

    def audit(self, operator: Operator) -> list[tuple[str, str]]:
        """(kind, reason) of each record."""
        return [(each["kind"], each["reason"]) for each in self.records(operator)]


@contextlib.contextmanager
def make_court(installed: RunningControlPlane, minio: S3Endpoint, *, interval: str) -> Iterator[Court]:
    with make_world(installed, minio, interval=interval) as world:
        made = Court(world, installed)
        try:
            yield made
        finally:
            with contextlib.suppress(ApiRefused):
                world.kube.request("DELETE", made.policy_path)
            made.reviewer.close()
