"""A deployment with its versions and its service, in memory: each step decides and does what the decision says."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import worlds
from gatehouse.api.model_deployment import ModelDeployment, ModelDeploymentStatus, ServiceStatus
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.conditions import find
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.decision import decide, decide_refused
from gatehouse.domain.deployment.facts import DeployedService, DeploymentFacts
from gatehouse.domain.deployment.plan import DeploymentDecision
from gatehouse.domain.deployment.revision import name_finding
from gatehouse.domain.deployment.rollout import RevisionRollout
from gatehouse.domain.deployment.standing import DeploymentPlace
from gatehouse.domain.deployment.status import deployment_status

__all__ = ["NAMESPACE", "Rehearsal", "deployment", "digest", "ready"]

NAMESPACE, STAGE = "chatbots", "production"
AVAILABLE = RevisionRollout(state="Available", found="1 Pods have loaded the model")
COMING = RevisionRollout(state="Progressing", found="the model is Loading")


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def deployment(*, metadata: dict[str, Any] | None = None, **spec: Any) -> ModelDeployment:
    """A deployment of the model granite of namespace team."""
    return ModelDeployment.model_validate(
        {
            "metadata": {"name": "chat", "namespace": NAMESPACE, "uid": "d-1", "generation": 1, **(metadata or {})},
            "spec": {
                "modelRef": {"name": "granite", "namespace": "team"},
                "versionRef": {"name": "one"},
                "servedName": "granite",
                **spec,
            },
        }
    )


def ready(name: str = "one", letter: str = "1", *, template: str | None = "a", **status: Any) -> ModelVersion:
    """A version of the model that is cleared for the stage."""
    return worlds.version(
        metadata={"name": name, "uid": f"uid-of-{name}"},
        status={
            "observedGeneration": 1,
            "phase": "Ready to Deploy",
            "clearedFor": ["staging", STAGE],
            "artifact": {"digest": digest(letter)},
            "servedDigest": digest(letter),
            "template": None if template is None else {"name": f"{name}-serving", "digest": digest(template)},
            **status,
        },
    )


@dataclass
class Rehearsal:
    """``writes`` are the revisions that the service was given, each as often as it was written."""

    deployment: ModelDeployment = field(default_factory=deployment)
    versions: dict[str, Any] = field(default_factory=lambda: {"one": ready(), "two": ready("two", "2")})
    service: DeployedService | None = None
    rollout: RevisionRollout | None = None
    stage: str | None = STAGE
    now: datetime = worlds.NOW
    refuses: bool = False
    lost: dict[str, Finding] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    _made: int = 0

    def facts(self, **changes: Any) -> DeploymentFacts:
        known: dict[str, Any] = {
            "now": self.now,
            "deployment": self.deployment,
            "place": DeploymentPlace(namespace=NAMESPACE, stage=self.stage, home="team"),
            "name_refused": name_finding(self.deployment),
            "versions": self.versions,
            "services": {} if self.service is None else {"chat": self.service},
            "rollouts": {} if self.service is None or self.rollout is None else {"chat": self.rollout},
            "lost": self.lost,
        }
        return DeploymentFacts(**(known | changes))

    def step(self, *, dies: bool = False) -> DeploymentDecision:
        """One reconcile; ``dies`` after the service is written and before the status is."""
        facts = self.facts()
        decision = decide(facts)
        assert decide(facts) == decision
        written = None
        if decision.write is not None and self.refuses:
            assert decision.target is not None
            refused = Finding(reason="AdmissionRefused", found="denied request", expected="an admitted service")
            facts, decision = decide_refused(facts, decision.target, refused)
            assert decision.write is None
        elif decision.write is not None:
            written = self._write(decision)
        if dies:
            return decision
        self.pruned += decision.prune
        status = deployment_status(facts, decision, service=written)
        self.deployment = self.deployment.model_copy(update={"status": _through_json(status)})
        return decision

    def _write(self, decision: DeploymentDecision) -> ServiceStatus:
        target = decision.target
        assert target is not None
        self.writes.append(target.name)
        replicas = self.deployment.spec.replicas
        before = self.service
        if before is None:
            self._made += 1
        same = before is not None and (before.revision, before.digest, before.replicas) == (
            target.name,
            target.digest,
            (replicas, replicas),
        )
        if before is None or before.revision != target.name:
            self.rollout = COMING
        self.service = DeployedService(
            name="chat",
            uid=before.uid if before else f"s-{self._made}",
            generation=1 if before is None else before.generation + (not same),
            owned=True,
            revision=target.name,
            digest=target.digest,
            replicas=(replicas, replicas),
        )
        return ServiceStatus(
            name="chat", uid=self.service.uid, generation=self.service.generation, written_at=timestamp(self.now)
        )

    # what happens around it

    def settle(self) -> DeploymentDecision:
        """Steps until a step changes nothing."""
        for _ in range(12):
            before = (self.deployment, len(self.writes))
            decision = self.step()
            if (self.deployment, len(self.writes)) == before:
                return decision
        raise AssertionError(f"it does not come to rest: {self.writes}")

    def available(self) -> DeploymentDecision:
        """The Pods of what the service has become available."""
        self.rollout = AVAILABLE
        return self.settle()

    def spec(self, **changes: Any) -> None:
        """A person edits the spec."""
        made = self.deployment.wire()
        made["spec"] |= changes
        made["metadata"]["generation"] += 1
        self.deployment = ModelDeployment.model_validate(made)

    def promote(self, name: str) -> None:
        """The spec names another version."""
        self.spec(versionRef={"name": name})

    def annotate(self, **values: str) -> None:
        """A person writes annotations of Gatehouse; ``_`` stands for a dash."""
        made = copy.deepcopy(self.deployment.wire())
        names = {f"gatehouse.dev/{name.replace('_', '-')}": value for name, value in values.items()}
        made["metadata"]["annotations"] = {**made["metadata"].get("annotations", {}), **names}
        self.deployment = ModelDeployment.model_validate(made)

    def wait(self, **time: float) -> None:
        """Time passes."""
        self.now += timedelta(**time)

    # what there is to see

    @property
    def status(self) -> ModelDeploymentStatus:
        return self.deployment.status

    @property
    def runs(self) -> str | None:
        """The version that the service has."""
        return None if self.status.stable is None else self.status.stable.version

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Version and outcome of each entry of the history, newest first."""
        return [(entry.version, entry.outcome) for entry in self.status.history]

    def condition(self, type_: str) -> tuple[str, str] | None:
        """Status and reason."""
        found = find(self.status.conditions, type_)
        return None if found is None else (found.status, found.reason)


def _through_json(status: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """As the API server keeps it."""
    return ModelDeploymentStatus.model_validate(status.wire())
