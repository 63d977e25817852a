"""What a decision says, and the parts of the facts that every strategy reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Literal

from gatehouse.api.model_deployment import (
    MOST_REVISIONS,
    CanaryStatus,
    DeploymentPhase,
    HistoryEntry,
    Outcome,
    RetiredStatus,
    RollbackRefusal,
    RollbackStatus,
    RouteMethod,
    ServiceStatus,
)
from gatehouse.domain.common.clocks import lies_ahead, moment, timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.choice import Choice
from gatehouse.domain.deployment.facts import DeployedService, DeploymentFacts, RollbackRequest
from gatehouse.domain.deployment.history import entered, kept, resolved
from gatehouse.domain.deployment.revision import RevisionKey

__all__ = [
    "LOOK_AGAIN",
    "PUT_BACK_AFTER",
    "REFUSED_AGAIN",
    "DeploymentDecision",
    "Write",
    "applied",
    "edited",
    "is_entered",
    "is_healthy",
    "noted",
    "put_back",
    "put_back_waits",
    "settled",
    "soonest",
    "watching",
    "written",
]

LOOK_AGAIN: Final = timedelta(seconds=5)
"""How often a rollout is compared with its Deployment, which is not watched."""
PUT_BACK_AFTER: Final = timedelta(seconds=10)
"""The least time between two writes over another writer's edits, so that two writers do not compete at full speed."""
REFUSED_AGAIN: Final = timedelta(seconds=10)

Write = Literal["Apply", "PutBack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDecision:
    """What shall be written, and what the status says.

    ``target`` is the revision to write to ``service`` when there is a ``write``, or else the one that shall run.
    ``runs`` and ``main`` are the stable revision and its service after the step. ``finding`` says why the deployment is
    not healthy; ``person`` is whether a person must act. ``prune`` are ControllerRevisions that the history no longer
    names. ``weights`` are to be written to the route, ``delete`` are services without a purpose, ``stale`` routes of
    another method.
    """

    phase: DeploymentPhase
    finding: Finding | None = None
    person: bool = False
    target: RevisionKey | None = None
    write: Write | None = None
    service: str = ""
    runs: RevisionKey | None = None
    main: str = ""
    canary: CanaryStatus | None = None
    retired: tuple[RetiredStatus, ...] = ()
    rollback: RollbackStatus | None = None
    refusal: RollbackRefusal | None = None
    handled: RollbackRequest | None = None
    retried: bool = False
    history: tuple[HistoryEntry, ...] = ()
    prune: tuple[str, ...] = ()
    weights: Mapping[str, int] | None = None
    delete: tuple[DeployedService, ...] = ()
    stale: Mapping[RouteMethod, str] = field(default_factory=dict)
    again: timedelta | None = None


def noted(facts: DeploymentFacts, choice: Choice) -> DeploymentDecision:
    """A decision that changes nothing but what the choice noted."""
    return DeploymentDecision(
        phase="Held",
        rollback=choice.rollback,
        refusal=choice.refusal,
        handled=choice.handled,
        retried=choice.retried,
        history=tuple(facts.status.history),
        target=choice.target,
        runs=facts.running,
        main=main_name(facts),
        canary=facts.status.canary,
        retired=tuple(facts.status.retired),
    )


def main_name(facts: DeploymentFacts) -> str:
    """The service of the stable revision; that of the deployment's name before there is one."""
    stable, name = facts.status.stable, facts.deployment.metadata.name
    if facts.main is not None:
        return facts.main.name
    return name if stable is None else stable.service or name


def applied(
    facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision, *, service: str
) -> DeploymentDecision:
    """Writes the target of the choice to a service, and enters it into the history."""
    target, running = choice.target, facts.running
    if target is None:
        return decision
    replaced: Outcome = "RolledBack" if choice.rollback is not None else "Replaced"
    entry = HistoryEntry(
        revision=target.name,
        version=target.version,
        digest=target.digest,
        served_digest=target.served_digest,
        template_digest=target.template_digest,
        from_=running.name if running is not None and running != target else None,
        at=timestamp(facts.now),
        outcome="Progressing",
        reason=choice.reason[:1024],
        actor=choice.actor,
    )
    # The next step without a write deletes the revisions that are left out; this one only bounds the status.
    history, _ = kept(entered(facts.status.history, entry, replaced=replaced), limit=MOST_REVISIONS)
    return replace(
        decision,
        phase="Progressing" if choice.rollback is None else "RollingBack",
        write="Apply",
        service=service,
        target=target,
        history=history,
        again=LOOK_AGAIN,
    )


def put_back(facts: DeploymentFacts, decision: DeploymentDecision, *, service: str) -> DeploymentDecision:
    """Writes the target of the decision over another writer's edit of a service.

    Revisions are deleted in a step that writes nothing else.
    """
    history = tuple(facts.status.history) if decision.prune else decision.history
    again = decision.again or LOOK_AGAIN
    return replace(decision, write="PutBack", service=service, history=history, prune=(), again=again)


def soonest(*times: timedelta | None) -> timedelta | None:
    """The least of the times to wait; None where there is nothing to wait for."""
    return min((time for time in times if time is not None), default=None)


# Parts of the facts


def settled(facts: DeploymentFacts, outcome: Outcome) -> tuple[HistoryEntry, ...]:
    """The history with an outcome of the running revision."""
    running = facts.running
    history = tuple(facts.status.history)
    return history if running is None else resolved(history, running.name, outcome)


def is_entered(facts: DeploymentFacts) -> bool:
    """Whether the newest entry of the history is the running revision.

    It is not after an operator was stopped between the write of the service and that of the status.
    """
    history, running = facts.status.history, facts.running
    return bool(history) and running is not None and history[0].revision == running.name


def is_healthy(facts: DeploymentFacts) -> bool:
    """Whether the running revision was available since it was applied."""
    running = facts.running
    if running is None:
        return False
    newest = next((entry for entry in facts.status.history if entry.revision == running.name), None)
    return newest is not None and newest.outcome == "Healthy"


def watching(facts: DeploymentFacts) -> timedelta | None:
    """When to compare a rollout again."""
    running, rollout = facts.running, facts.rollout
    if running is None or (rollout is not None and rollout.state in {"Available", "Stopped"}):
        return None
    return LOOK_AGAIN


def written(facts: DeploymentFacts, service: str) -> ServiceStatus | None:
    """A service as the operator wrote it last."""
    return next((each for each in facts.status.services if each.name == service), None)


def edited(facts: DeploymentFacts, service: DeployedService, key: RevisionKey) -> bool:
    """Whether another writer changed a service, or the operator was stopped before it recorded its own write."""
    last, replicas = written(facts, service.name), facts.deployment.spec.replicas
    return (
        last is None
        or (last.uid, last.generation) != (service.uid, service.generation)
        or (service.revision, service.digest) != (key.name, key.digest)
        or service.replicas != (replicas, replicas)
    )


def put_back_waits(facts: DeploymentFacts, service: DeployedService) -> timedelta:
    """How long to wait before a service is written over another writer's edit."""
    last = written(facts, service.name)
    if last is None or last.uid != service.uid:
        return timedelta(0)
    at = moment(last.written_at)
    # A time in the future was written before the machine's clock was set back.
    if at > facts.now or lies_ahead(at, now=facts.now):
        return timedelta(0)
    return max(PUT_BACK_AFTER - (facts.now - at), timedelta(0))
