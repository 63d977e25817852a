"""The status of a ModelDeployment, built from its facts and its decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from gatehouse.api.model_deployment import (
    DeploymentMethod,
    HistoryEntry,
    ModelDeploymentStatus,
    RevisionStatus,
    RouteStatus,
    ServiceStatus,
)
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, ConditionState, merge
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.facts import DeploymentFacts
from gatehouse.domain.deployment.history import last_good
from gatehouse.domain.deployment.plan import DeploymentDecision
from gatehouse.domain.deployment.revision import RevisionKey
from gatehouse.domain.deployment.route import altered_finding
from gatehouse.domain.deployment.standing import sentence, shut_gate, version_gate

__all__ = [
    "ANALYSIS_PASSED",
    "AVAILABLE",
    "CLEARED",
    "PAUSED",
    "PROGRESSING",
    "ROLLED_BACK",
    "TRAFFIC_SPLIT",
    "deployment_status",
]

AVAILABLE: Final = "Available"
PROGRESSING: Final = "Progressing"
PAUSED: Final = "Paused"
CLEARED: Final = "Cleared"
ROLLED_BACK: Final = "RolledBack"
TRAFFIC_SPLIT: Final = "TrafficSplit"
ANALYSIS_PASSED: Final = "AnalysisPassed"


def deployment_status(
    facts: DeploymentFacts,
    decision: DeploymentDecision,
    *,
    service: ServiceStatus | None = None,
    route: RouteStatus | None = None,
) -> ModelDeploymentStatus:
    """The status after the decision was applied. ``service`` and ``route`` are what this step has written."""
    deployment, before = facts.deployment, facts.status
    runs = decision.runs
    generation = deployment.metadata.generation
    handled = before.last_handled_rollback if decision.handled is None else decision.handled.key
    good = last_good(decision.history)
    return ModelDeploymentStatus(
        observed_generation=generation,
        last_handled_reconcile_at=deployment.requested_at,
        phase=decision.phase,
        stage=facts.place.stage,
        stable=_stable(runs, decision),
        canary=decision.canary,
        retired=list(decision.retired),
        last_good=None if good is None else _revision(good),
        services=list(_services(facts, decision, service)),
        route=route or (before.route if facts.routing is None or facts.routing.route is not None else None),
        method=_method(facts),
        rollback=decision.rollback,
        rollback_refusal=decision.refusal,
        last_handled_rollback=handled,
        last_handled_retry=facts.retry if decision.retried else before.last_handled_retry,
        history=list(decision.history),
        conditions=merge(before.conditions, _conditions(facts, decision, runs), generation=generation, now=facts.now),
    )


def _stable(runs: RevisionKey | None, decision: DeploymentDecision) -> RevisionStatus | None:
    if runs is None:
        return None
    entry = next((entry for entry in decision.history if entry.revision == runs.name), None)
    since = None if entry is None else entry.at
    return RevisionStatus(
        revision=runs.name, version=runs.version, digest=runs.digest, since=since, service=decision.main
    )


def _services(
    facts: DeploymentFacts, decision: DeploymentDecision, written: ServiceStatus | None
) -> Iterator[ServiceStatus]:
    """The services as they were written last, without those that are gone."""
    gone = {service.name for service in decision.delete}
    if written is not None:
        yield written
    for service in facts.status.services:
        there = facts.services is None or service.name in facts.own
        if there and service.name not in gone and (written is None or written.name != service.name):
            yield service


def _method(facts: DeploymentFacts) -> DeploymentMethod | None:
    if facts.routing is None:
        return facts.status.method
    means = facts.routing.means
    return DeploymentMethod(type=means.method, reason=means.reason[:1024])


def _revision(entry: HistoryEntry) -> RevisionStatus:
    return RevisionStatus(revision=entry.revision, version=entry.version, digest=entry.digest, since=entry.at)


def _conditions(
    facts: DeploymentFacts, decision: DeploymentDecision, runs: RevisionKey | None
) -> Iterator[ConditionState]:
    finding, phase = decision.finding, decision.phase
    if finding is None and phase == "Healthy":
        name = "" if runs is None else f"revision {runs.name} of version {runs.version} is available"
        yield ConditionState(READY, "True", "Healthy", name)
    else:
        told = finding or _starting(runs)
        message = sentence(told)
        yield ConditionState(READY, "False", told.reason, message)
        if decision.person:
            yield ConditionState(STALLED, "True", told.reason, message)
        elif phase in {"Progressing", "RollingBack"}:
            yield ConditionState(RECONCILING, "True", told.reason, message)
    yield _available(facts, decision)
    yield _progress(decision)
    yield _cleared(facts, runs)
    yield from _split(facts, decision)
    yield from _analysed(facts, decision)
    if phase == "Paused" and finding is not None:
        yield ConditionState(PAUSED, "True", finding.reason, sentence(finding))
    if decision.rollback is not None:
        back = decision.rollback
        told_back = f"from {back.from_ or 'nothing'} to {back.to}: {back.reason}"
        yield ConditionState(ROLLED_BACK, "True", "RolledBack", told_back)
    elif decision.refusal is not None:
        yield ConditionState(ROLLED_BACK, "False", decision.refusal.reason, decision.refusal.message)


def _available(facts: DeploymentFacts, decision: DeploymentDecision) -> ConditionState:
    replaced = decision.write == "Apply" and decision.service == decision.main
    rollout = None if replaced else facts.rollouts.get(decision.main)
    if rollout is None:
        return ConditionState(AVAILABLE, "False", "NotRunning", "no revision is available")
    if rollout.state == "Available":
        return ConditionState(AVAILABLE, "True", "Available", rollout.found)
    return ConditionState(AVAILABLE, "False", rollout.state, rollout.found)


def _split(facts: DeploymentFacts, decision: DeploymentDecision) -> Iterator[ConditionState]:
    """Whether the gateway has taken up the weights; of a deployment with a route."""
    routing = facts.routing
    if routing is None or routing.means.method == "None":
        return
    route = routing.route
    if decision.weights is not None or route is None:
        yield ConditionState(TRAFFIC_SPLIT, "False", "RouteWritten", "the gateway has not taken up the route yet")
        return
    shares = ", ".join(f"{name} {weight} %" for name, weight in sorted(route.weights.items()) if weight)
    if route.owned and route.exact and route.accepted:
        yield ConditionState(TRAFFIC_SPLIT, "True", "Accepted", shares)
        return
    kept = facts.status.route
    altered = altered_finding(route, facts.deployment, routing.means) if kept is not None and kept.altered else None
    if altered is not None:
        yield ConditionState(TRAFFIC_SPLIT, "False", altered.reason, sentence(altered))
        return
    reason = "RouteAltered" if route.owned and not route.exact else "NotAccepted"
    yield ConditionState(TRAFFIC_SPLIT, "False", reason, f"{route.told or 'the route is not the one that was written'}")


def _analysed(facts: DeploymentFacts, decision: DeploymentDecision) -> Iterator[ConditionState]:
    """The verdict of the step that is measured, or of the last one that failed."""
    step = None if decision.canary is None else decision.canary.step
    if step is not None and step.measured_at is not None and facts.measured is not None:
        status: Literal["True", "False", "Unknown"] = "False" if step.verdict == "Failed" else "Unknown"
        yield ConditionState(ANALYSIS_PASSED, status, step.verdict, facts.measured.told)


def _progress(decision: DeploymentDecision) -> ConditionState:
    newest = decision.history[0] if decision.history else None
    if newest is None:
        return ConditionState(PROGRESSING, "False", "NothingApplied", "no revision was applied")
    said = f"revision {newest.revision}: {newest.reason}"
    if newest.outcome == "Progressing":
        return ConditionState(PROGRESSING, "True", newest.outcome, said)
    return ConditionState(PROGRESSING, "False", newest.outcome, said)


def _cleared(facts: DeploymentFacts, runs: RevisionKey | None) -> ConditionState:
    """Whether the gates of what runs are open; of the version in the spec where nothing runs."""
    if runs is not None:
        shut = shut_gate(runs, facts.deployment, facts.versions, facts.place)
        name = f"revision {runs.name}"
    else:
        name = f"version {facts.deployment.spec.version_ref.name}"
        shut = version_gate(facts.deployment.spec.version_ref.name, facts.deployment, facts.versions, facts.place)
    if shut is None:
        return ConditionState(CLEARED, "True", "Cleared", f"{name} is cleared for {facts.place.stage}")
    return ConditionState(CLEARED, "False", shut.reason, sentence(shut))


def _starting(runs: RevisionKey | None) -> Finding:
    name = "" if runs is None else f"revision {runs.name} was applied"
    return Finding(reason="RollingOut", found=name, expected="an available revision")
