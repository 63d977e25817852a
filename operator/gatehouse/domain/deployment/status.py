"""The status of a ModelDeployment, built from its facts and its decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gatehouse.api.model_deployment import (
    DeploymentMethod,
    HistoryEntry,
    ModelDeploymentStatus,
    RevisionStatus,
    ServiceStatus,
)
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, ConditionState, merge
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.decision import DeploymentDecision
from gatehouse.domain.deployment.facts import DeployedService, DeploymentFacts
from gatehouse.domain.deployment.history import last_good
from gatehouse.domain.deployment.revision import RevisionKey
from gatehouse.domain.deployment.standing import sentence, shut_gate, version_gate

__all__ = ["AVAILABLE", "CLEARED", "PAUSED", "PROGRESSING", "ROLLED_BACK", "deployment_status"]

AVAILABLE: Final = "Available"
PROGRESSING: Final = "Progressing"
PAUSED: Final = "Paused"
CLEARED: Final = "Cleared"
ROLLED_BACK: Final = "RolledBack"
_METHOD: Final = DeploymentMethod(
    type="None", reason="strategy Recreate: one revision runs at a time, and all requests go to it"
)


def deployment_status(
    facts: DeploymentFacts, decision: DeploymentDecision, *, service: ServiceStatus | None
) -> ModelDeploymentStatus:
    """The status after the decision was applied. ``service`` is the InferenceService as it was written last."""
    deployment, before = facts.deployment, facts.status
    runs = decision.target if decision.write is not None else facts.running
    generation = deployment.metadata.generation
    handled = before.last_handled_rollback if decision.handled is None else decision.handled.key
    good = last_good(decision.history)
    return ModelDeploymentStatus(
        observed_generation=generation,
        last_handled_reconcile_at=deployment.requested_at,
        phase=decision.phase,
        stage=facts.place.stage,
        stable=_stable(runs, decision.history),
        last_good=None if good is None else _revision(good),
        service=service if runs is not None else None,
        method=_METHOD,
        rollback=decision.rollback,
        rollback_refusal=decision.refusal,
        last_handled_rollback=handled,
        last_handled_retry=facts.retry if decision.retried else before.last_handled_retry,
        history=list(decision.history),
        conditions=merge(before.conditions, _conditions(facts, decision, runs), generation=generation, now=facts.now),
    )


def _stable(runs: RevisionKey | None, history: tuple[HistoryEntry, ...]) -> RevisionStatus | None:
    if runs is None:
        return None
    entry = next((entry for entry in history if entry.revision == runs.name), None)
    since = None if entry is None else entry.at
    return RevisionStatus(revision=runs.name, version=runs.version, digest=runs.digest, since=since)


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
    if phase == "Paused" and finding is not None:
        yield ConditionState(PAUSED, "True", finding.reason, sentence(finding))
    if decision.rollback is not None:
        back = decision.rollback
        told_back = f"from {back.from_ or 'nothing'} to {back.to}: {back.reason}"
        yield ConditionState(ROLLED_BACK, "True", "RolledBack", told_back)
    elif decision.refusal is not None:
        yield ConditionState(ROLLED_BACK, "False", decision.refusal.reason, decision.refusal.message)


def _available(facts: DeploymentFacts, decision: DeploymentDecision) -> ConditionState:
    rollout = None if decision.write == "Apply" else facts.rollout
    if not isinstance(facts.service, DeployedService) or not facts.service.owned or rollout is None:
        return ConditionState(AVAILABLE, "False", "NotRunning", "no revision is available")
    if rollout.state == "Available":
        return ConditionState(AVAILABLE, "True", "Available", rollout.found)
    return ConditionState(AVAILABLE, "False", rollout.state, rollout.found)


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
