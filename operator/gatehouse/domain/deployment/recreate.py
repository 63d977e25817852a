"""Strategy Recreate: the target replaces what the one service has."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gatehouse.api.model_deployment import DeploymentPhase
from gatehouse.domain.common.clocks import moment
from gatehouse.domain.common.locations import duration
from gatehouse.domain.deployment.choice import Choice, newest_good, own_rollback
from gatehouse.domain.deployment.facts import DeploymentFacts
from gatehouse.domain.deployment.findings import (
    late,
    nothing_good,
    rolled_back,
    rolling_out,
    stopped,
    unavailable,
)
from gatehouse.domain.deployment.history import kept
from gatehouse.domain.deployment.plan import (
    LOOK_AGAIN,
    REFUSED_AGAIN,
    DeploymentDecision,
    applied,
    edited,
    is_entered,
    is_healthy,
    noted,
    put_back,
    put_back_waits,
    settled,
    watching,
)

__all__ = ["held", "missed_deadline", "replaced_in_place", "watched"]


def replaced_in_place(facts: DeploymentFacts, choice: Choice) -> DeploymentDecision:
    """Compares the target with what runs. Another strategy's next revision is given up."""
    decision = replace(noted(facts, choice), canary=None)
    if choice.target is None or choice.finding is not None:
        return held(facts, choice, decision)
    if facts.running != choice.target or not is_entered(facts) or (choice.retried and not is_healthy(facts)):
        made = applied(facts, choice, decision, service=decision.main)
        return replace(made, runs=choice.target)
    if facts.main is not None and edited(facts, facts.main, choice.target):
        return _put_back(facts, decision)
    return watched(facts, decision)


def held(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision:
    """A gate of the target is shut: what runs goes on."""
    refused = choice.target is not None and choice.target.name in facts.refused
    available = facts.rollout is not None and facts.rollout.state == "Available"
    return replace(
        decision,
        phase="Held",
        target=facts.running,
        finding=choice.finding,
        history=settled(facts, "Healthy") if available else decision.history,
        retried=choice.retried and not refused,
        again=REFUSED_AGAIN if refused else watching(facts),
    )


def _put_back(facts: DeploymentFacts, decision: DeploymentDecision) -> DeploymentDecision:
    seen = watched(facts, decision)
    waits = timedelta(0) if facts.main is None else put_back_waits(facts, facts.main)
    if waits:
        return replace(seen, again=waits)
    return put_back(facts, seen, service=decision.main)


def watched(facts: DeploymentFacts, decision: DeploymentDecision) -> DeploymentDecision:
    """The target runs: how far its rollout is."""
    rollout = facts.rollout
    back = None if decision.rollback is None else rolled_back(decision.rollback)
    available = rollout is not None and rollout.state == "Available"
    outcomes = settled(facts, "Healthy") if available else tuple(facts.status.history)
    history, prune = kept(outcomes, limit=facts.deployment.spec.revision_history_limit)
    decision = replace(decision, history=history, prune=prune, again=LOOK_AGAIN if prune else None)
    if available:
        phase: DeploymentPhase = "Healthy" if back is None else "Degraded"
        return replace(decision, phase=phase, finding=back, person=back is not None)
    found = "the InferenceService is not there yet" if rollout is None else rollout.found
    if rollout is not None and rollout.state == "Stopped":
        return replace(decision, phase="Paused", finding=stopped(found))
    if is_healthy(facts):
        return replace(decision, phase="Degraded", finding=unavailable(found), again=LOOK_AGAIN)
    phase = "Progressing" if decision.rollback is None else "RollingBack"
    return replace(decision, phase=phase, finding=rolling_out(facts, found), again=watching(facts))


def missed_deadline(facts: DeploymentFacts, choice: Choice) -> DeploymentDecision | None:
    """What follows when the running revision is not available at its deadline; None before that.

    A person who asks for another revision is heard first, and so is another target whose gates are open.
    """
    running, history, rollout = facts.running, facts.status.history, facts.rollout
    replaceable = choice.target is not None and choice.finding is None and (choice.target != running or choice.fresh)
    if running is None or choice.retried or replaceable or not is_entered(facts):
        return None
    state = None if rollout is None else rollout.state
    if history[0].outcome not in {"Progressing", "Failed"} or state in {"Available", "Stopped"}:
        return None
    due = moment(history[0].at) + duration(facts.deployment.spec.progress_deadline)
    if facts.now < due:
        return None
    told = late(facts, running, "" if rollout is None else rollout.found)
    failed = replace(
        noted(facts, choice),
        phase="Degraded",
        finding=told,
        person=True,
        target=running,
        retried=False,
        history=settled(facts, "Failed"),
        again=LOOK_AGAIN * 6,
    )
    if facts.deployment.spec.on_failure == "Pause":
        return replace(failed, phase="Paused")
    good = newest_good(facts, but=running)
    if good is None:
        return replace(failed, finding=nothing_good(told))
    reason = f"{running.name} was not available within {facts.deployment.spec.progress_deadline}"
    rollback = own_rollback(facts, choice, running, to=good, reason=reason)
    # The intent goes first: an operator that is stopped after it wrote the service must not take this for a promotion.
    return replace(
        failed, phase="RollingBack", finding=rolled_back(rollback), person=False, rollback=rollback, again=timedelta(0)
    )
