"""Which revision shall run: the request of a person, a rollback in force, or the version that the spec names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatehouse.api.model_deployment import ANNOTATION_ROLLBACK_TO, LONGEST_REASON, RollbackRefusal, RollbackStatus
from gatehouse.domain.audit.records import SYSTEM_ACTOR, UNKNOWN_ACTOR
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.actors import deployer, requester
from gatehouse.domain.deployment.facts import DeploymentFacts, RollbackRequest
from gatehouse.domain.deployment.findings import no_template, unknown_revision
from gatehouse.domain.deployment.revision import RevisionKey
from gatehouse.domain.deployment.standing import sentence, shut_gate, version_gate

__all__ = ["Choice", "barred", "choose", "in_force", "newest_good", "own_rollback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
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


def choose(facts: DeploymentFacts) -> Choice:
    """The request of a person, a rollback in force, or the version that the spec names."""
    holds, refusal, handled = in_force(facts), facts.status.rollback_refusal, facts.request
    if handled is not None:
        asked = _asked(facts, handled)
        if isinstance(asked, Choice):
            return asked
        refusal = RollbackRefusal(reason=asked.reason, message=sentence(asked)[:LONGEST_REASON])
    elif not _has_request(facts):
        refusal = None
    noted = Choice(refusal=refusal, handled=handled, retried=facts.retried)
    if holds is not None:
        target = facts.known.get(holds.to)
        return replace(
            noted,
            rollback=holds,
            target=target,
            finding=barred(facts, target, holds.to),
            reason=holds.reason,
            actor=holds.actor,
        )
    return _declared(facts, noted)


def _asked(facts: DeploymentFacts, request: RollbackRequest) -> Choice | Finding:
    """The rollback that a person asks for, or why it is refused."""
    if not request.reason:
        return Finding(
            reason="RollbackReasonMissing",
            found=f"a rollback to {request.to} without the annotation gatehouse.dev/rollback-reason",
            expected="a reason",
            remedy="gatehouse rollback --reason writes both annotations",
        )
    target = facts.known.get(request.to)
    shut = barred(facts, target, request.to)
    if target is None or shut is not None:
        return shut or unknown_revision(request.to)
    if (
        target == facts.running
        and _is_newest(facts, target)
        and target.version == facts.deployment.spec.version_ref.name
    ):
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
        actor=requester(facts.deployment),
    )
    return Choice(
        target=target,
        rollback=rollback,
        handled=request,
        retried=facts.retried,
        reason=request.reason,
        actor=rollback.actor,
        fresh=True,
    )


def _declared(facts: DeploymentFacts, noted: Choice) -> Choice:
    """The version of the spec. A new template alone replaces nothing, until a person asks for it."""
    name = facts.deployment.spec.version_ref.name
    shut = version_gate(name, facts.deployment, facts.versions, facts.place)
    if shut is not None:
        return replace(noted, finding=shut)
    newest = facts.candidate
    if newest is None:
        return replace(noted, finding=no_template(name))
    if not facts.retried:
        newest = next((key for key in (facts.running, facts.coming) if key and _same_bytes(key, newest)), newest)
    shut = barred(facts, newest, newest.name)
    reason, actor = f"spec.versionRef names {name}", deployer(facts.deployment)
    return replace(noted, target=newest, finding=shut, reason=reason, actor=actor)


def _same_bytes(one: RevisionKey, other: RevisionKey) -> bool:
    return (one.version, one.digest, one.served_digest) == (other.version, other.digest, other.served_digest)


def barred(facts: DeploymentFacts, key: RevisionKey | None, name: str) -> Finding | None:
    """Why a revision must not be applied now; None where it may."""
    if key is None:
        return unknown_revision(name)
    shut = shut_gate(key, facts.deployment, facts.versions, facts.place)
    return shut or facts.lost.get(key.name) or facts.refused.get(key.name)


def in_force(facts: DeploymentFacts) -> RollbackStatus | None:
    """The rollback of the status, until the spec names another version or a person asks to try again."""
    rollback = facts.status.rollback
    if rollback is None or facts.retried or rollback.version != facts.deployment.spec.version_ref.name:
        return None
    return rollback


def own_rollback(
    facts: DeploymentFacts, choice: Choice, failed: RevisionKey, *, to: RevisionKey, reason: str
) -> RollbackStatus:
    """A rollback that the operator decides. A rollback in force keeps the version that it is about."""
    return RollbackStatus(
        version=failed.version if choice.rollback is None else choice.rollback.version,
        from_=failed.name,
        to=to.name,
        at=timestamp(facts.now),
        reason=reason[:LONGEST_REASON],
        actor=SYSTEM_ACTOR,
    )


def _has_request(facts: DeploymentFacts) -> bool:
    return ANNOTATION_ROLLBACK_TO in facts.deployment.metadata.annotations


def _is_newest(facts: DeploymentFacts, key: RevisionKey) -> bool:
    history = facts.status.history
    return bool(history) and history[0].revision == key.name


def newest_good(facts: DeploymentFacts, *, but: RevisionKey) -> RevisionKey | None:
    """The newest revision that was available, is not ``but``, and whose gates are open now.

    A revision whose last outcome is a failure or a rollback is not good.
    """
    seen: set[str] = set()
    for entry in facts.status.history:
        if entry.revision in seen:
            continue
        seen.add(entry.revision)
        key = facts.known.get(entry.revision)
        if key is None or key == but or entry.outcome != "Healthy":
            continue
        if barred(facts, key, key.name) is None:
            return key
    return None
