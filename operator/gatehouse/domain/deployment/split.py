"""Strategies BlueGreen and Canary: the next revision runs beside the stable one, and gets requests by steps.

The first case that matches decides. Requests go back to the stable revision before the service of a revision that is
given up is deleted. No case both writes a service and moves requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from gatehouse.api.deployment_strategy import DeploymentStep
from gatehouse.api.model_deployment import (
    CanaryStatus,
    DeploymentPhase,
    Outcome,
    RetiredStatus,
)
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common.clocks import moment, timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.deployment.choice import Choice, barred, newest_good, own_rollback
from gatehouse.domain.deployment.facts import DeployedService, DeploymentFacts
from gatehouse.domain.deployment.findings import (
    CHECKING_QUERIES,
    cannot_split,
    late,
    not_accepted,
    nothing_good,
    rolled_back,
    slots_taken,
    stopped,
    warming,
)
from gatehouse.domain.deployment.history import kept, resolved
from gatehouse.domain.deployment.plan import (
    LOOK_AGAIN,
    DeploymentDecision,
    applied,
    edited,
    is_healthy,
    noted,
    put_back,
    put_back_waits,
)
from gatehouse.domain.deployment.recreate import held, watched
from gatehouse.domain.deployment.revision import RevisionKey, slot_names
from gatehouse.domain.deployment.standing import sentence, shut_gate
from gatehouse.domain.deployment.steps import stepped

__all__ = ["GIVEN_UP_AFTER", "split"]

GIVEN_UP_AFTER: Final = timedelta(seconds=30)
"""How long a revision that is given up keeps running, so that answers that have begun can end."""

ASK_AGAIN: Final = timedelta(seconds=30)

_Case = Callable[[DeploymentFacts, Choice, DeploymentDecision], DeploymentDecision | None]


def split(facts: DeploymentFacts, choice: Choice) -> DeploymentDecision:
    """What follows now."""
    decision = noted(facts, choice)
    return next(decided for case in _CASES if (decided := case(facts, choice, decision)) is not None)


# Cases


def _cannot(facts: DeploymentFacts, _: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    means = None if facts.routing is None else facts.routing.means
    if means is not None and means.method != "None":
        return None
    why = "nothing is known of its routes" if means is None else means.reason
    return replace(decision, phase="Held", finding=cannot_split(facts, why), person=True, target=facts.running)


def _failing(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    """The next revision failed, or its gates shut: requests go back."""
    coming, canary = facts.coming, decision.canary
    if coming is None or canary is None or coming == facts.stable or choice.retried or choice.fresh:
        return None
    gate = shut_gate(coming, facts.deployment, facts.versions, facts.place)
    if gate is not None and _is_undecided(facts, coming):
        return replace(held(facts, choice, decision), finding=gate, again=LOOK_AGAIN)
    failure = gate or _failure(facts, choice, canary, coming)
    if failure is None:
        return None
    if gate is None and facts.deployment.spec.on_failure == "Pause":
        history = resolved(decision.history, coming.name, "Failed")
        return replace(decision, phase="Paused", finding=failure, person=True, target=coming, history=history)
    good = newest_good(facts, but=coming)
    if good is None:
        return replace(decision, phase="Degraded", finding=nothing_good(failure), person=True, target=facts.running)
    rollback = own_rollback(facts, choice, coming, to=good, reason=sentence(failure))
    given_up = _given_up(facts, replace(decision, rollback=rollback), outcome="RolledBack" if gate else "Failed")
    return replace(given_up, phase="RollingBack", finding=rolled_back(rollback))


def _superseded(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    """Another revision is to run than the one that is brought in."""
    canary, target = decision.canary, choice.target
    if canary is None or (target is not None and canary.revision == target.name):
        return None
    if target is None and choice.rollback is None and canary.version == facts.deployment.spec.version_ref.name:
        return None
    outcome: Outcome = "RolledBack" if choice.rollback is not None else "Replaced"
    given_up = _given_up(facts, decision, outcome=outcome)
    back = None if choice.rollback is None else rolled_back(choice.rollback)
    finding = choice.finding or back
    phase: DeploymentPhase = "Progressing" if choice.rollback is None else "RollingBack"
    return replace(given_up, phase="Held" if choice.finding else phase, finding=finding)


def _barred(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    return held(facts, choice, decision) if choice.target is None or choice.finding is not None else None


def _without_main(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    """Nothing runs: the first revision has no steps, and a deleted service is made again."""
    if facts.main is not None or choice.target is None:
        return None
    stable = facts.stable
    if stable is not None and stable != choice.target and barred(facts, stable, stable.name) is None:
        return replace(
            decision, phase="Progressing", write="PutBack", service=decision.main, target=stable, again=LOOK_AGAIN
        )
    canary = decision.canary
    if canary is not None and canary.service in facts.own:
        return replace(
            decision,
            phase="Progressing",
            runs=choice.target,
            main=canary.service,
            canary=None,
            again=timedelta(0),
        )
    return replace(applied(facts, choice, decision, service=decision.main), runs=choice.target)


def _at_rest(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    target = choice.target
    if target is None or target != facts.stable:
        return None
    if all(entry.revision != target.name for entry in decision.history):
        # An operator was stopped between the write of the service and that of the status.
        return replace(applied(facts, choice, decision, service=decision.main), runs=target)
    return _put_back(facts, watched(facts, replace(decision, canary=None)))


def _unmeasurable(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    """The analysis of the steps cannot be asked, and the next revision has no requests yet."""
    finding, canary = facts.unmeasurable, decision.canary
    if finding is None or _skips(facts, choice) or (canary is not None and canary.step is not None):
        return None
    checking = finding == CHECKING_QUERIES
    return replace(
        decision,
        phase="Progressing" if checking else "Held",
        finding=finding,
        target=facts.running,
        retried=False,
        again=LOOK_AGAIN if checking else ASK_AGAIN,
    )


def _starting(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision | None:
    """The next revision has no service yet."""
    target = choice.target
    if target is None or _slot_of(facts, target) is not None:
        return None
    names = slot_names(target)
    free = next((name for name in names if name not in (facts.services or {})), None)
    if free is None:
        return replace(decision, phase="Held", finding=slots_taken(names), person=True, target=facts.running)
    canary = _canary(facts, target, free)
    return replace(applied(facts, choice, decision, service=free), canary=canary)


def _bringing_in(facts: DeploymentFacts, choice: Choice, decision: DeploymentDecision) -> DeploymentDecision:
    """The next revision starts, and then goes through the steps."""
    target = choice.target
    service = None if target is None else _slot_of(facts, target)
    if target is None or service is None:
        return decision
    canary = decision.canary
    if canary is None or canary.revision != target.name or choice.retried:
        canary = _canary(facts, target, service.name)
    history = decision.history
    if not history or history[0].revision != target.name:
        history = applied(facts, choice, decision, service=service.name).history
    retired = tuple(each for each in decision.retired if each.service != service.name)
    decision = replace(decision, canary=canary, history=history, retired=retired, target=target)
    phase: DeploymentPhase = "Progressing" if choice.rollback is None else "RollingBack"
    rollout = facts.rollouts.get(service.name)
    if rollout is not None and rollout.state == "Stopped":
        return replace(decision, phase="Paused", finding=stopped(rollout.found))
    if rollout is None or rollout.state != "Available":
        found = "the InferenceService is not there yet" if rollout is None else rollout.found
        return replace(decision, phase=phase, finding=warming(facts, target, found), again=LOOK_AGAIN)
    progress = stepped(facts, canary, target, _steps(facts, choice))
    if progress.phase == "Done":
        return _promoted(facts, decision, target, service)
    going = replace(
        decision,
        phase="Paused" if progress.phase == "Paused" else phase,
        canary=progress.canary,
        finding=progress.finding,
        again=progress.again,
    )
    return _put_back(facts, going)


_CASES: Final[tuple[_Case, ...]] = (
    _cannot,
    _failing,
    _superseded,
    _barred,
    _without_main,
    _at_rest,
    _unmeasurable,
    _starting,
    _bringing_in,
)


# Parts


def _failure(facts: DeploymentFacts, choice: Choice, canary: CanaryStatus, key: RevisionKey) -> Finding | None:
    """Why the revision that is brought in failed by itself; None while it has not."""
    rollout = facts.rollouts.get(canary.service)
    step = canary.step
    began = moment(canary.since if step is None else step.since)
    overdue = facts.now - began >= duration(facts.deployment.spec.progress_deadline)
    if rollout is None or rollout.state == "Progressing":
        found = "the InferenceService is not there" if rollout is None else rollout.found
        return late(facts, key, found) if overdue else None
    if rollout.state == "Stopped":
        return None
    steps = _steps(facts, choice)
    progress = stepped(facts, canary, key, steps)
    if progress.phase == "Failed":
        return progress.finding
    index = progress.canary.step.index if progress.canary.step else 0
    weighing = index >= len(steps) or steps[index].set_weight is not None
    if progress.phase == "Progressing" and weighing and overdue and step is not None and step.index == index:
        route = None if facts.routing is None else facts.routing.route
        return not_accepted(facts, key, "" if route is None else route.told)
    return None


def _skips(facts: DeploymentFacts, choice: Choice) -> bool:
    """A rollback takes no steps, and nor does what replaces a revision that never was available."""
    return choice.rollback is not None or not is_healthy(facts)


def _steps(facts: DeploymentFacts, choice: Choice) -> tuple[DeploymentStep, ...]:
    return () if _skips(facts, choice) else tuple(facts.deployment.spec.strategy.steps)


def _is_undecided(facts: DeploymentFacts, key: RevisionKey) -> bool:
    """Whether the gates of a version are not known just now: no reason to move requests."""
    version = facts.versions.get(key.version)
    if version is None:
        return False
    if not isinstance(version, ModelVersion):
        return True
    return version.status.observed_generation != version.metadata.generation


def _given_up(facts: DeploymentFacts, decision: DeploymentDecision, *, outcome: Outcome) -> DeploymentDecision:
    """The next revision gets no more requests, and its service ends soon."""
    canary = decision.canary
    if canary is None:
        return decision
    until = timestamp(facts.now + GIVEN_UP_AFTER)
    ended = RetiredStatus(revision=canary.revision, service=canary.service, until=until)
    others = tuple(each for each in decision.retired if each.service != canary.service)
    return replace(
        decision,
        canary=None,
        target=facts.stable,
        retired=(ended, *others) if canary.service in facts.own else others,
        history=resolved(decision.history, canary.revision, outcome),
        again=timedelta(0),
    )


def _put_back(facts: DeploymentFacts, decision: DeploymentDecision) -> DeploymentDecision:
    """The decision, with a write where another writer changed a service whose gates are open."""
    canary = decision.canary
    pairs = [(facts.main, facts.stable)]
    if canary is not None:
        pairs.append((facts.own.get(canary.service), facts.coming))
    for service, key in pairs:
        if service is None or key is None or not edited(facts, service, key):
            continue
        if barred(facts, key, key.name) is None and not put_back_waits(facts, service):
            return put_back(facts, replace(decision, target=key), service=service.name)
    return decision


def _promoted(
    facts: DeploymentFacts, decision: DeploymentDecision, target: RevisionKey, service: DeployedService
) -> DeploymentDecision:
    """The next revision is the stable one from now on, and the replaced one stays for a while."""
    main, stable = facts.main, facts.stable
    retired = decision.retired
    if main is not None and main.name != service.name:
        delay = max(duration(facts.deployment.spec.strategy.scale_down_delay), GIVEN_UP_AFTER)
        until = timestamp(facts.now + delay)
        name = stable.name if stable is not None else main.revision or main.name
        retired = (RetiredStatus(revision=name[:253], service=main.name, until=until), *retired)
    outcomes = resolved(decision.history, target.name, "Healthy")
    history, prune = kept(outcomes, limit=facts.deployment.spec.revision_history_limit)
    back = None if decision.rollback is None else rolled_back(decision.rollback)
    return replace(
        decision,
        phase="Healthy" if back is None else "Degraded",
        finding=back,
        person=back is not None,
        runs=target,
        main=service.name,
        canary=None,
        retired=retired,
        history=history,
        prune=prune,
        target=target,
        again=LOOK_AGAIN if prune else None,
    )


def _canary(facts: DeploymentFacts, target: RevisionKey, service: str) -> CanaryStatus:
    return CanaryStatus(
        revision=target.name,
        version=target.version,
        digest=target.digest,
        service=service,
        since=timestamp(facts.now),
    )


def _slot_of(facts: DeploymentFacts, target: RevisionKey) -> DeployedService | None:
    """The service, beside the main one, that has a revision."""
    canary, main = facts.status.canary, facts.main
    beside = [each for each in facts.own.values() if main is None or each.name != main.name]
    if canary is not None and canary.revision == target.name and any(each.name == canary.service for each in beside):
        return facts.own[canary.service]
    return next((each for each in beside if each.revision == target.name), None)
