"""A deployment whose revisions run side by side, in memory: services, a route, and a gateway that accepts it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import worlds
from gatehouse.api.model_deployment import ModelDeployment, ModelDeploymentStatus, RouteStatus, ServiceStatus
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.conditions import find
from gatehouse.domain.deployment.decision import decide
from gatehouse.domain.deployment.facts import DeployedService, DeploymentFacts, StepMeasurement
from gatehouse.domain.deployment.plan import DeploymentDecision
from gatehouse.domain.deployment.revision import name_finding
from gatehouse.domain.deployment.rollout import RevisionRollout
from gatehouse.domain.deployment.route import DeployedRoute, KnownRoute, RouteMeans
from gatehouse.domain.deployment.standing import DeploymentPlace, shut_gate
from gatehouse.domain.deployment.status import deployment_status
from unit.domain.deployment.deployments import NAMESPACE, deployment, ready

__all__ = ["AVAILABLE", "CANARY", "COMING", "Died", "Rollout"]

AVAILABLE = RevisionRollout(state="Available", found="1 Pods have loaded the model")
COMING = RevisionRollout(state="Progressing", found="the model is Loading")
STEPS: list[dict[str, Any]] = [{"setWeight": 10}, {"pause": {"duration": "5m"}}, {"setWeight": 50}, {"pause": {}}]
CANARY: dict[str, Any] = {"type": "Canary", "steps": STEPS}
MEANS = RouteMeans(method="HTTPRoute", reason="a Gateway")


class Died(Exception):
    """The operator was killed."""


def split(**spec: Any) -> ModelDeployment:
    return deployment(**{"hostname": "chat.example.com", "strategy": CANARY, **spec})


@dataclass
class Rollout:
    """``writes`` are the writes in their order; ``weights`` those of the route."""

    deployment: ModelDeployment = field(default_factory=split)
    versions: dict[str, Any] = field(
        default_factory=lambda: {"one": ready(), "two": ready("two", "2"), "three": ready("three", "3")}
    )
    services: dict[str, DeployedService] = field(default_factory=dict)
    rollouts: dict[str, RevisionRollout] = field(default_factory=dict)
    route: DeployedRoute | None = None
    means: RouteMeans = MEANS
    accepts: bool = True
    starts: bool = False
    measured: StepMeasurement | None = None
    now: datetime = worlds.NOW
    writes: list[str] = field(default_factory=list)
    weights: list[dict[str, int]] = field(default_factory=list)
    _made: int = 0

    def facts(self, **changes: Any) -> DeploymentFacts:
        known: dict[str, Any] = {
            "now": self.now,
            "deployment": self.deployment,
            "place": DeploymentPlace(namespace=NAMESPACE, stage="production", home="team"),
            "name_refused": name_finding(self.deployment),
            "versions": self.versions,
            "services": dict(self.services),
            "rollouts": dict(self.rollouts),
            "routing": KnownRoute(means=self.means, route=self.route, refused=None, stale={}),
            "measured": self.measured,
        }
        return DeploymentFacts(**(known | changes))

    def step(self, *, dies_after: int | None = None) -> DeploymentDecision:
        """One reconcile. Raises Died after so many writes, before the next write or the status."""
        facts = self.facts()
        decision = decide(facts)
        assert decide(facts) == decision
        done = [0]

        def wrote(what: str) -> None:
            self.writes.append(what)
            done[0] += 1

        def alive() -> None:
            if dies_after is not None and done[0] >= dies_after:
                raise Died

        service = route = None
        assert decision.write is None or decision.weights is None, "a step writes a service or moves requests"
        if decision.write is not None:
            assert decision.target is not None
            place = facts.place
            assert shut_gate(decision.target, self.deployment, self.versions, place) is None, "the gates are open"
            alive()
            service = self._put(decision)
            wrote(f"{decision.write} {decision.service}")
        if decision.weights is not None:
            alive()
            route = self._turn(dict(decision.weights))
            wrote("route")
        for gone in decision.delete:
            alive()
            assert self.route is None or not self.route.weights.get(gone.name)
            del self.services[gone.name]
            self.rollouts.pop(gone.name, None)
            wrote(f"delete {gone.name}")
        alive()
        status = deployment_status(facts, decision, service=service, route=route)
        kept = ModelDeploymentStatus.model_validate(status.wire())
        self.deployment = self.deployment.model_copy(update={"status": kept})
        return decision

    def _put(self, decision: DeploymentDecision) -> ServiceStatus:
        target, name = decision.target, decision.service
        assert target is not None
        before, replicas = self.services.get(name), self.deployment.spec.replicas
        if before is None:
            self._made += 1
        if before is None or before.revision != target.name:
            self.rollouts[name] = AVAILABLE if self.starts else COMING
        made = DeployedService(
            name=name,
            uid=before.uid if before else f"s-{self._made}",
            generation=1 if before is None else before.generation + 1,
            owned=True,
            revision=target.name,
            digest=target.digest,
            replicas=(replicas, replicas),
        )
        self.services[name] = made
        return ServiceStatus(name=name, uid=made.uid, generation=made.generation, written_at=timestamp(self.now))

    def _turn(self, weights: dict[str, int]) -> RouteStatus:
        assert sum(weights.values()) == 100
        assert set(weights) <= set(self.services), "the route names services that are there"
        self.weights.append(weights)
        self.route = DeployedRoute(
            uid="r", owned=True, weights=weights, exact=True, accepted=self.accepts, told="told by the gateway"
        )
        return RouteStatus(weights=weights, written_at=timestamp(self.now))

    # what happens around it

    def settle(self) -> DeploymentDecision:
        """Steps until a step changes nothing."""
        for _ in range(30):
            before = (self.deployment, len(self.writes))
            decision = self.step()
            if (self.deployment, len(self.writes)) == before:
                return decision
        raise AssertionError(f"it does not come to rest: {self.writes}")

    def run(self, version: str) -> None:
        """The first revision is available and gets all requests."""
        self.promote(version)
        self.settle()
        self.available()

    def available(self) -> DeploymentDecision:
        """The Pods of every service become available."""
        self.rollouts = dict.fromkeys(self.services, AVAILABLE)
        return self.settle()

    def spec(self, **changes: Any) -> None:
        made = self.deployment.wire()
        made["spec"] |= changes
        made["metadata"]["generation"] += 1
        self.deployment = ModelDeployment.model_validate(made)

    def promote(self, name: str) -> None:
        self.spec(versionRef={"name": name})

    def annotate(self, **values: str) -> None:
        made = copy.deepcopy(self.deployment.wire())
        names = {f"gatehouse.dev/{name.replace('_', '-')}": value for name, value in values.items()}
        made["metadata"]["annotations"] = {**made["metadata"].get("annotations", {}), **names}
        self.deployment = ModelDeployment.model_validate(made)

    def resume(self) -> None:
        canary = self.status.canary
        assert canary is not None
        assert canary.step is not None
        self.annotate(resume=f"{canary.revision}/{canary.step.index}")
        self.settle()

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def edit(self, name: str) -> None:
        """Another writer changes a service."""
        self.services[name] = replace(
            self.services[name], generation=self.services[name].generation + 1, replicas=(7, 7)
        )

    def slow_canary(self) -> None:
        """The next revision is not available at its deadline."""
        self.rollouts = {name: AVAILABLE if name == "chat" else COMING for name in self.services}
        self.wait(minutes=31)

    def touch_service(self) -> None:
        if self.services:
            self.edit(min(self.services))

    def lose_service(self) -> None:
        if self.services:
            gone = max(self.services)
            del self.services[gone]
            self.rollouts.pop(gone, None)

    def turn_by_hand(self) -> None:
        if self.route is not None:
            name = min(self.route.weights)
            self.route = replace(self.route, weights={**dict.fromkeys(self.route.weights, 0), name: 100})

    def resume_if_waiting(self) -> None:
        canary = self.status.canary
        if canary is not None and canary.step is not None:
            self.annotate(resume=f"{canary.revision}/{canary.step.index}")

    def roll_back(self) -> None:
        if self.status.history:
            self.annotate(rollback_to=self.status.history[-1].revision, rollback_reason="x")
            self.annotate(rollback_requested_at=self.now.isoformat())

    def gateway_answers(self) -> None:
        """The gateway accepts a route whose services are all there."""
        if self.route is not None:
            self.route = replace(self.route, accepted=set(self.route.weights) <= set(self.services))

    # what there is to see

    @property
    def status(self) -> ModelDeploymentStatus:
        return self.deployment.status

    @property
    def runs(self) -> str | None:
        return None if self.status.stable is None else self.status.stable.version

    @property
    def shares(self) -> dict[str, int]:
        """Percentages by version."""
        if self.route is None:
            return {}
        versions = {entry.revision: entry.version for entry in self.status.history}
        shares: dict[str, int] = {}
        for name, weight in self.route.weights.items():
            if weight:
                version = versions.get(self.services[name].revision or "", "?")
                shares[version] = shares.get(version, 0) + weight
        return shares

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(entry.version, entry.outcome) for entry in self.status.history]

    def condition(self, type_: str) -> tuple[str, str] | None:
        found = find(self.status.conditions, type_)
        return None if found is None else (found.status, found.reason)
