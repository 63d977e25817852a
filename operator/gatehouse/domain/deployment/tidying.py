"""What follows for the route of a deployment, and for its services that no longer have a purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from gatehouse.api.model_deployment import MOST_SERVICES, RetiredStatus
from gatehouse.domain.common.clocks import moment, timestamp
from gatehouse.domain.common.locations import duration
from gatehouse.domain.deployment.facts import DeployedService, DeploymentFacts
from gatehouse.domain.deployment.plan import LOOK_AGAIN, PUT_BACK_AFTER, DeploymentDecision, soonest
from gatehouse.domain.deployment.route import KnownRoute, shares_of
from gatehouse.domain.deployment.split import GIVEN_UP_AFTER

__all__ = ["tidied"]

_MOST_WARM: Final = 2
"""Retired services that a route names, so that a rollback is one write. A Route of OpenShift names four in all."""
_MOST_DELETED: Final = 2
"""Services that are deleted in one step."""


def tidied(facts: DeploymentFacts, decision: DeploymentDecision) -> DeploymentDecision:
    """The decision with the weights to write, or with the services to delete: never both.

    A service is deleted after the gateway has taken up a route without it.
    """
    routing = facts.routing
    if routing is None or facts.services is None:
        return decision
    decision = replace(decision, retired=tuple(_retired(facts, decision)))
    expired = [each.service for each in decision.retired if moment(each.until) <= facts.now]
    wanted = _weights(facts, decision, without=expired)
    if wanted is not None:
        decision = _routed(facts, decision, routing, wanted)
        if decision.weights is not None:
            return decision
    if decision.write is not None:
        return decision
    waits = [moment(each.until) - facts.now for each in decision.retired if each.service not in expired]
    gone = [facts.own[name] for name in expired if _is_free(facts, routing, name)][:_MOST_DELETED]
    kept = tuple(each for each in decision.retired if each.service not in {service.name for service in gone})
    if len(gone) < len(expired):
        waits.append(LOOK_AGAIN)
    return replace(
        decision,
        delete=tuple(gone),
        retired=kept,
        stale=routing.stale,
        again=soonest(decision.again, *waits),
    )


def _retired(facts: DeploymentFacts, decision: DeploymentDecision) -> Iterator[RetiredStatus]:
    """The services without a purpose, with the end of each. A time further away than the delay is a clock's mistake."""
    latest = max(duration(facts.deployment.spec.strategy.scale_down_delay), GIVEN_UP_AFTER)
    known = {each.service: each for each in decision.retired}
    purposes = {decision.main, decision.service if decision.write else "", _canary_service(decision)}
    idle = [service for name, service in facts.own.items() if name not in purposes]
    idle.sort(key=lambda service: _until(known.get(service.name)), reverse=True)
    for place, service in enumerate(idle):
        entry = known.get(service.name)
        until = facts.now + GIVEN_UP_AFTER if entry is None else min(moment(entry.until), facts.now + latest)
        if place >= MOST_SERVICES - 2:
            until = facts.now
        yield RetiredStatus(revision=_revision(service, entry), service=service.name, until=timestamp(until))


def _until(entry: RetiredStatus | None) -> datetime:
    return moment("") if entry is None else moment(entry.until)


def _revision(service: DeployedService, entry: RetiredStatus | None) -> str:
    return entry.revision if entry is not None else (service.revision or service.name)[:253]


def _canary_service(decision: DeploymentDecision) -> str:
    return "" if decision.canary is None else decision.canary.service


def _weights(facts: DeploymentFacts, decision: DeploymentDecision, *, without: list[str]) -> Mapping[str, int] | None:
    """The percentages of the services; None where there is no route to write."""
    routing = facts.routing
    if routing is None or routing.means.method == "None" or routing.refused is not None:
        return None
    if decision.main not in facts.own:
        return None
    canary, percent = decision.canary, 0
    coming = None
    if canary is not None and canary.service in facts.own:
        rollout = facts.rollouts.get(canary.service)
        if canary.weight > 0 or (rollout is not None and rollout.state == "Available"):
            coming, percent = canary.service, canary.weight
    idle = [each.service for each in decision.retired if each.service not in without][:_MOST_WARM]
    listed = {decision.main, *idle, *([coming] if coming else [])}
    return shares_of(listed, stable=decision.main, canary=coming, percent=percent)


def _routed(
    facts: DeploymentFacts, decision: DeploymentDecision, routing: KnownRoute, wanted: Mapping[str, int]
) -> DeploymentDecision:
    route, last = routing.route, facts.status.route
    if route is not None and route.exact and _same(route.weights, wanted):
        return decision
    if last is not None and _same(last.weights, wanted) and route is not None:
        # These weights were written: another writer changed the route, or the API server keeps another one.
        at = moment(last.written_at)
        waits = PUT_BACK_AFTER - (facts.now - at) if at <= facts.now else timedelta(0)
        if last.altered or waits > timedelta(0):
            return decision if last.altered else replace(decision, again=soonest(decision.again, waits))
    if decision.write is not None:
        return replace(decision, again=timedelta(0))
    return replace(decision, weights=wanted, again=decision.again or LOOK_AGAIN)


def _same(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return dict(one) == dict(other)


def _is_free(facts: DeploymentFacts, routing: KnownRoute, name: str) -> bool:
    """Whether no request can reach a service any more."""
    route = routing.route
    if name not in facts.own:
        return False
    return route is None or not route.owned or (name not in route.weights and route.accepted)
