"""Which revision a deployment runs next: a pure function of the facts, in which the first match wins.

``choose`` names the target, or the finding for which there is none. ``decide`` compares the target with what runs. A
finding never stops a service: what runs goes on. Only a missed deadline replaces a revision without a person, by the
newest good revision whose gates are open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from gatehouse.api.model_deployment import (
    ANNOTATION_ROLLBACK_TO,
    MOST_REVISIONS,
    DeploymentPhase,
    HistoryEntry,
    Outcome,
    RollbackRefusal,
    RollbackStatus,
)
from gatehouse.domain.audit.records import SYSTEM_ACTOR, UNKNOWN_ACTOR
from gatehouse.domain.common.conditions import timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.deployment.facts import DeployedService, DeploymentFacts, RollbackRequest
from gatehouse.domain.deployment.history import entered, kept, resolved
from gatehouse.domain.deployment.revision import RevisionKey
from gatehouse.domain.deployment.standing import sentence, shut_gate, version_gate

__all__ = ["DeploymentDecision", "Write", "decide", "decide_refused"]

LOOK_AGAIN: Final = timedelta(seconds=5)
"""How often a rollout is compared with its Deployment, which is not watched."""
PUT_BACK_AFTER: Final = timedelta(seconds=10)
"""The least time between two writes over another writer's edits, so that two writers do not compete at full speed."""
REFUSED_AGAIN: Final = timedelta(seconds=10)

Write = Literal["Apply", "PutBack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDecision:
    """What shall be written, and what the status says.

    ``target`` is the revision to write when there is a ``write``, or else the one that shall run. ``finding`` says why
    the deployment is not healthy; ``person`` is whether a person must act. ``prune`` are ControllerRevisions that the
    history no longer names.
    """

    phase: DeploymentPhase
    finding: Finding | None = None
    person: bool = False
    target: RevisionKey | None = None
    write: Write | None = None
    rollback: RollbackStatus | None = None
    refusal: RollbackRefusal | None = None
    handled: RollbackRequest | None = None
    retried: bool = False
    history: tuple[HistoryEntry, ...] = ()
    prune: tuple[str, ...] = ()
    again: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The revision that shall run, or why there is none."""

    target: RevisionKey | None = None
    finding: Finding | None = None
    rollback: RollbackStatus | None = None
    refusal: RollbackRefusal | None = None
    handled: RollbackRequest | None = None
    retried: bool = False
    reason: str = ""
    actor: str = UNKNOWN_ACTOR
    fresh: bool = False
    """Whether a person asked for this rollback just now."""


def decide(facts: DeploymentFacts) -> DeploymentDecision:
    """The decision. It writes nothing for a revision whose gates are shut."""
    history = tuple(facts.status.history)
    standing = DeploymentDecision(
        phase="Held",
        rollback=_in_force(facts),
        refusal=facts.status.rollback_refusal,
        history=history,
    )
    if facts.name_refused is not None:
        return replace(standing, finding=facts.name_refused, person=True)
    if facts.service == "unknown":
        return replace(standing, finding=_SERVICES_UNKNOWN, again=LOOK_AGAIN)
    if facts.service is not None and not facts.service.owned:
        return replace(standing, finding=_name_taken(facts), person=True)
    if facts.deployment.spec.paused:
        return replace(standing, phase="Paused", finding=_PAUSED, target=facts.running)
    choice = _choose(facts)
    failed = _missed_deadline(facts, choice)
    if failed is not None:
        return failed
    return _towards(facts, choice)


def decide_refused(
    facts: DeploymentFacts, target: RevisionKey, refusal: Finding
) -> tuple[DeploymentFacts, DeploymentDecision]:
    """The facts and the decision after admission refused a target. Nothing more is written in the same step."""
    facts = replace(facts, refused={**facts.refused, target.name: refusal})
    decision = decide(facts)
    while decision.write is not None and decision.target is not None:
        facts = replace(facts, refused={**facts.refused, decision.target.name: refusal})
        decision = decide(facts)
    return facts, decision


# The target


def _choose(facts: DeploymentFacts) -> _Choice:
    """The request of a person, a rollback in force, or the version that the spec names."""
    in_force, refusal, handled = _in_force(facts), facts.status.rollback_refusal, facts.request
    if handled is not None:
        asked = _asked(facts, handled)
        if isinstance(asked, _Choice):
            return asked
        refusal = RollbackRefusal(reason=asked.reason, message=sentence(asked)[:1024])
    elif not _has_request(facts):
        refusal = None
    noted = _Choice(refusal=refusal, handled=handled, retried=facts.retried)
    if in_force is not None:
        target = facts.known.get(in_force.to)
        return replace(
            noted,
            rollback=in_force,
            target=target,
            finding=_barred(facts, target, in_force.to),
            reason=in_force.reason,
            actor=in_force.actor,
        )
    return _declared(facts, noted)


def _asked(facts: DeploymentFacts, request: RollbackRequest) -> _Choice | Finding:
    """The rollback that a person asks for, or why it is refused."""
    if not request.reason:
        return Finding(
            reason="RollbackReasonMissing",
            found=f"a rollback to {request.to} without the annotation gatehouse.dev/rollback-reason",
            expected="a reason",
            remedy="gatehouse rollback --reason writes both annotations",
        )
    target = facts.known.get(request.to)
    barred = _barred(facts, target, request.to)
    if target is None or barred is not None:
        return barred or _unknown_revision(request.to)
    if target == facts.running and _is_entered(facts) and target.version == facts.deployment.spec.version_ref.name:
        return Finding(
            reason="AlreadyRunning",
            found=f"revision {target.name} runs, and spec.versionRef names its version",
            expected="another revision of status.history",
            remedy="name the revision that shall run",
        )
    rollback = RollbackStatus(
        version=facts.deployment.spec.version_ref.name,
        from_=facts.running.name if facts.running else None,
        to=target.name,
        at=timestamp(facts.now),
        reason=request.reason,
        actor=UNKNOWN_ACTOR,
    )
    return _Choice(
        target=target, rollback=rollback, handled=request, retried=facts.retried, reason=request.reason, fresh=True
    )


def _declared(facts: DeploymentFacts, noted: _Choice) -> _Choice:
    """The version of the spec. A new template alone replaces nothing, until a person asks for it."""
    name = facts.deployment.spec.version_ref.name
    shut = version_gate(name, facts.deployment, facts.versions, facts.place)
    if shut is not None:
        return replace(noted, finding=shut)
    newest, running = facts.candidate, facts.running
    if newest is None:
        return replace(noted, finding=_no_template(name))
    if running is not None and not facts.retried and _same_bytes(running, newest):
        newest = running
    barred = _barred(facts, newest, newest.name)
    return replace(noted, target=newest, finding=barred, reason=f"spec.versionRef names {name}")


def _same_bytes(one: RevisionKey, other: RevisionKey) -> bool:
    return (one.version, one.digest, one.served_digest) == (other.version, other.digest, other.served_digest)


def _barred(facts: DeploymentFacts, key: RevisionKey | None, name: str) -> Finding | None:
    """Why a revision must not be applied now; None where it may."""
    if key is None:
        return _unknown_revision(name)
    shut = shut_gate(key, facts.deployment, facts.versions, facts.place)
    return shut or facts.lost.get(key.name) or facts.refused.get(key.name)


def _in_force(facts: DeploymentFacts) -> RollbackStatus | None:
    """The rollback of the status, until the spec names another version or a person asks to try again."""
    rollback = facts.status.rollback
    if rollback is None or facts.retried or rollback.version != facts.deployment.spec.version_ref.name:
        return None
    return rollback


def _has_request(facts: DeploymentFacts) -> bool:
    return ANNOTATION_ROLLBACK_TO in facts.deployment.metadata.annotations


# What follows


def _towards(facts: DeploymentFacts, choice: _Choice) -> DeploymentDecision:
    """Compares the target with what runs."""
    history = facts.status.history
    noted = DeploymentDecision(
        phase="Held",
        rollback=choice.rollback,
        refusal=choice.refusal,
        handled=choice.handled,
        retried=choice.retried,
        history=tuple(history),
        target=choice.target,
    )
    if choice.target is None or choice.finding is not None:
        refused = choice.target is not None and choice.target.name in facts.refused
        again = REFUSED_AGAIN if refused else None
        available = facts.rollout is not None and facts.rollout.state == "Available"
        settled = _settled(facts, "Healthy") if available else tuple(history)
        soonest = again or _watching(facts)
        return replace(
            noted,
            target=facts.running,
            finding=choice.finding,
            history=settled,
            retried=choice.retried and not refused,
            again=soonest,
        )
    if facts.running != choice.target or not _is_entered(facts) or (choice.retried and not _is_healthy(facts)):
        return _apply(facts, choice, noted)
    if _edited(facts, choice.target):
        return _put_back(facts, noted)
    return _watched(facts, noted)


def _apply(facts: DeploymentFacts, choice: _Choice, noted: DeploymentDecision) -> DeploymentDecision:
    target, running = choice.target, facts.running
    assert target is not None  # noqa: S101 - the caller compared it
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
        noted,
        phase="Progressing" if choice.rollback is None else "RollingBack",
        write="Apply",
        history=history,
        again=LOOK_AGAIN,
    )


def _put_back(facts: DeploymentFacts, noted: DeploymentDecision) -> DeploymentDecision:
    written = facts.status.service
    waits = timedelta(0) if written is None else PUT_BACK_AFTER - (facts.now - _time(written.written_at))
    watched = _watched(facts, noted)
    # A time in the future was written before the machine's clock was set back.
    if timedelta(0) < waits <= PUT_BACK_AFTER and written is not None and written.uid == _uid(facts):
        return replace(watched, again=waits)
    # Revisions are deleted in a step that writes nothing else.
    history = watched.history if not watched.prune else tuple(facts.status.history)
    return replace(watched, write="PutBack", history=history, prune=(), again=watched.again or LOOK_AGAIN)


def _watched(facts: DeploymentFacts, noted: DeploymentDecision) -> DeploymentDecision:
    """The target runs: how far its rollout is."""
    rollout = facts.rollout
    rolled_back = None if noted.rollback is None else _rolled_back(noted.rollback)
    available = rollout is not None and rollout.state == "Available"
    settled = _settled(facts, "Healthy") if available else tuple(facts.status.history)
    history, prune = kept(settled, limit=facts.deployment.spec.revision_history_limit)
    noted = replace(noted, history=history, prune=prune, again=LOOK_AGAIN if prune else None)
    if available:
        phase: DeploymentPhase = "Healthy" if rolled_back is None else "Degraded"
        return replace(noted, phase=phase, finding=rolled_back, person=rolled_back is not None)
    found = "the InferenceService is not there yet" if rollout is None else rollout.found
    if rollout is not None and rollout.state == "Stopped":
        return replace(noted, phase="Paused", finding=_stopped(found))
    if _is_healthy(facts):
        return replace(noted, phase="Degraded", finding=_unavailable(found), again=LOOK_AGAIN)
    phase = "Progressing" if noted.rollback is None else "RollingBack"
    return replace(noted, phase=phase, finding=_progressing(facts, found), again=_watching(facts))


def _missed_deadline(facts: DeploymentFacts, choice: _Choice) -> DeploymentDecision | None:
    """What follows when the running revision is not available at its deadline; None before that.

    A person who asks for another revision is heard first, and so is another target whose gates are open.
    """
    running, history, rollout = facts.running, facts.status.history, facts.rollout
    replaceable = choice.target is not None and choice.finding is None and (choice.target != running or choice.fresh)
    if running is None or choice.retried or replaceable or not _is_entered(facts):
        return None
    state = None if rollout is None else rollout.state
    if history[0].outcome not in {"Progressing", "Failed"} or state in {"Available", "Stopped"}:
        return None
    due = _time(history[0].at) + duration(facts.deployment.spec.progress_deadline)
    if facts.now < due:
        return None
    failed = DeploymentDecision(
        phase="Degraded",
        finding=_late(facts, "" if rollout is None else rollout.found),
        person=True,
        target=running,
        rollback=choice.rollback,
        refusal=choice.refusal,
        handled=choice.handled,
        history=_settled(facts, "Failed"),
        again=LOOK_AGAIN * 6,
    )
    if facts.deployment.spec.on_failure == "Pause":
        return replace(failed, phase="Paused")
    good = _newest_good(facts)
    if good is None:
        return replace(failed, finding=_nothing_good(facts, failed.finding))
    reason = f"{running.name} was not available within {facts.deployment.spec.progress_deadline}"
    in_force = choice.rollback
    rollback = RollbackStatus(
        version=running.version if in_force is None else in_force.version,
        from_=running.name,
        to=good.name,
        at=timestamp(facts.now),
        reason=reason,
        actor=SYSTEM_ACTOR,
    )
    # The intent goes first: an operator that is stopped after it wrote the service must not take this for a promotion.
    return replace(
        failed, phase="RollingBack", finding=_rolled_back(rollback), person=False, rollback=rollback, again=timedelta(0)
    )


def _newest_good(facts: DeploymentFacts) -> RevisionKey | None:
    """The newest revision that was available, is not the running one, and whose gates are open now.

    A revision whose last outcome is a failure or a rollback is not good.
    """
    seen: set[str] = set()
    for entry in facts.status.history:
        if entry.revision in seen:
            continue
        seen.add(entry.revision)
        key = facts.known.get(entry.revision)
        if key is None or key == facts.running or entry.outcome != "Healthy":
            continue
        if _barred(facts, key, key.name) is None:
            return key
    return None


# Parts of the facts


def _settled(facts: DeploymentFacts, outcome: Outcome) -> tuple[HistoryEntry, ...]:
    running = facts.running
    history = tuple(facts.status.history)
    return history if running is None else resolved(history, running.name, outcome)


def _is_entered(facts: DeploymentFacts) -> bool:
    """Whether the newest entry of the history is the running revision.

    It is not after an operator was stopped between the write of the service and that of the status.
    """
    history, running = facts.status.history, facts.running
    return bool(history) and running is not None and history[0].revision == running.name


def _is_healthy(facts: DeploymentFacts) -> bool:
    """Whether the running revision was available since it was applied."""
    return _is_entered(facts) and facts.status.history[0].outcome == "Healthy"


def _edited(facts: DeploymentFacts, target: RevisionKey) -> bool:
    """Whether another writer changed the service, or the operator was stopped before it recorded its own write."""
    service, written = facts.service, facts.status.service
    if not isinstance(service, DeployedService):
        return False
    replicas = facts.deployment.spec.replicas
    return (
        written is None
        or (written.uid, written.generation) != (service.uid, service.generation)
        or service.digest != target.digest
        or service.replicas != (replicas, replicas)
    )


def _watching(facts: DeploymentFacts) -> timedelta | None:
    """When to compare a rollout again."""
    running, rollout = facts.running, facts.rollout
    if running is None or (rollout is not None and rollout.state in {"Available", "Stopped"}):
        return None
    return LOOK_AGAIN


def _uid(facts: DeploymentFacts) -> str | None:
    return facts.service.uid if isinstance(facts.service, DeployedService) else None


def _time(text: str) -> datetime:
    """The time of a status. What another program wrote there counts as long ago."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC) + timedelta(days=1)


# Findings

_SERVICES_UNKNOWN: Final = Finding(
    reason="ServicesUnknown",
    found="the InferenceServices of the cluster are not known",
    expected="KServe's kind InferenceService",
    remedy="wait until they are listed",
)
_PAUSED: Final = Finding(
    reason="Paused", found="spec.paused is true", expected="false", remedy="set spec.paused to false to go on"
)


def _name_taken(facts: DeploymentFacts) -> Finding:
    metadata = facts.deployment.metadata
    return Finding(
        reason="NameTaken",
        found=f"InferenceService {metadata.namespace}/{metadata.name} does not belong to the deployment",
        expected="no InferenceService of that name, or one that the deployment made",
        remedy="delete that InferenceService, or make a ModelDeployment with another name",
    )


def _unknown_revision(name: str) -> Finding:
    return Finding(
        reason="RevisionNotFound",
        found=f"no revision {name}",
        expected="a revision of status.history",
        remedy="name one that gatehouse deployments -o json shows, or deploy its version",
    )


def _no_template(version: str) -> Finding:
    return Finding(
        reason="VersionNotReady",
        found=f"version {version} has no serving template",
        expected="a serving template",
        remedy="wait until the version is reconciled",
    )


def _progressing(facts: DeploymentFacts, found: str) -> Finding:
    limit = facts.deployment.spec.progress_deadline
    return Finding(reason="RollingOut", found=found, expected=f"an available revision within {limit}")


def _unavailable(found: str) -> Finding:
    return Finding(reason="Unavailable", found=found, expected="available Pods", remedy="see the Pods of the service")


def _stopped(found: str) -> Finding:
    return Finding(
        reason="ServiceStopped",
        found=found,
        expected="a running service",
        remedy="remove the annotation from the InferenceService",
    )


def _late(facts: DeploymentFacts, found: str) -> Finding:
    running = facts.running
    return Finding(
        reason="ProgressDeadlineExceeded",
        found=f"revision {running.name if running else ''} is not available: {found}",
        expected=f"available within {facts.deployment.spec.progress_deadline}",
        remedy="fix the cause and set the annotation gatehouse.dev/retry, or name another version in spec.versionRef",
    )


def _nothing_good(facts: DeploymentFacts, late: Finding | None) -> Finding:
    told = late or _late(facts, "")
    return Finding(
        reason="NoRollbackTarget",
        found=f"{told.found}; no earlier revision was available and has open gates",
        expected=told.expected,
        remedy=told.remedy,
    )


def _rolled_back(rollback: RollbackStatus) -> Finding:
    return Finding(
        reason="RolledBack",
        found=f"version {rollback.version} was rolled back to revision {rollback.to}: {rollback.reason}",
        expected=f"version {rollback.version}",
        remedy="name another version in spec.versionRef, or set the annotation gatehouse.dev/retry",
    )
