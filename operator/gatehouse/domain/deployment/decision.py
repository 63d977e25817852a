"""What follows for a deployment: a pure function of the facts, in which the first match wins.

``choose`` names the target, or the finding for which there is none. The strategy compares the target with what runs. A
finding never stops a service: what runs goes on. Only a failure replaces a revision without a person, by the newest
good revision whose gates are open.
"""

from __future__ import annotations

from dataclasses import replace

from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.choice import Choice, choose, in_force
from gatehouse.domain.deployment.facts import DeploymentFacts
from gatehouse.domain.deployment.findings import PAUSED, ROUTES_UNKNOWN, SERVICES_UNKNOWN, name_taken
from gatehouse.domain.deployment.plan import LOOK_AGAIN, DeploymentDecision, noted
from gatehouse.domain.deployment.recreate import missed_deadline, replaced_in_place
from gatehouse.domain.deployment.revision import RevisionKey
from gatehouse.domain.deployment.split import split
from gatehouse.domain.deployment.tidying import tidied

__all__ = ["decide", "decide_refused"]


def decide(facts: DeploymentFacts) -> DeploymentDecision:
    """The decision. It writes nothing for a revision whose gates are shut."""
    refusal = facts.status.rollback_refusal
    standing = replace(noted(facts, Choice(rollback=in_force(facts), refusal=refusal)), target=None)
    if facts.name_refused is not None:
        return replace(standing, finding=facts.name_refused, person=True)
    if facts.services is None:
        return replace(standing, finding=SERVICES_UNKNOWN, again=LOOK_AGAIN)
    named = facts.services.get(facts.deployment.metadata.name)
    if named is not None and not named.owned:
        return replace(standing, finding=name_taken(facts), person=True)
    if facts.routing is None:
        return replace(standing, finding=ROUTES_UNKNOWN, again=LOOK_AGAIN)
    if facts.routing.refused is not None:
        return replace(standing, finding=facts.routing.refused, person=True)
    if facts.deployment.spec.paused:
        return replace(standing, phase="Paused", finding=PAUSED, target=facts.running)
    return tidied(facts, _by_strategy(facts, choose(facts)))


def _by_strategy(facts: DeploymentFacts, choice: Choice) -> DeploymentDecision:
    failed = missed_deadline(facts, choice)
    if failed is not None:
        return failed
    if facts.deployment.spec.strategy.type == "Recreate":
        return replaced_in_place(facts, choice)
    return split(facts, choice)


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
