"""How far the next revision is in the steps of its strategy: a pure function of the facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal

from gatehouse.api.deployment_strategy import DeploymentStep
from gatehouse.api.model_deployment import ANNOTATION_RESUME, CanaryStatus, StepStatus
from gatehouse.domain.common.clocks import moment, timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.deployment.facts import DeploymentFacts
from gatehouse.domain.deployment.findings import analysis_failed, at_step, inconclusive, paused_at
from gatehouse.domain.deployment.revision import RevisionKey

__all__ = ["LAST", "StepProgress", "stepped"]

LAST: Final = DeploymentStep(set_weight=100)
"""After the steps of the strategy the next revision gets all requests."""
ROUTE_AGAIN: Final = timedelta(seconds=5)

StepPhase = Literal["Progressing", "Paused", "Failed", "Done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """Where a rollout is. ``finding`` says what the step waits for, or why it failed."""

    canary: CanaryStatus
    phase: StepPhase
    finding: Finding | None = None
    again: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A step that is being looked at."""

    facts: DeploymentFacts
    canary: CanaryStatus
    key: RevisionKey
    steps: tuple[DeploymentStep, ...]
    state: StepStatus

    @property
    def since(self) -> datetime:
        """When the step began. A time in the future was written before the machine's clock was set back."""
        return min(moment(self.state.since), self.facts.now)

    @property
    def resumed(self) -> bool:
        """Whether a person lets this step of this revision go on."""
        said = self.facts.deployment.metadata.annotations.get(ANNOTATION_RESUME)
        return said == f"{self.key.name}/{self.state.index}"

    def found(self, what: str) -> Finding:
        return at_step(self.key, self.state.index, len(self.steps) - 1, what)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stay:
    """The step is not over."""

    phase: StepPhase
    finding: Finding
    again: timedelta | None = None
    state: StepStatus | None = None
    weight: int | None = None


def stepped(
    facts: DeploymentFacts, canary: CanaryStatus, key: RevisionKey, steps: tuple[DeploymentStep, ...]
) -> StepProgress:
    """Goes through the steps that are over. ``Done`` when the next revision has all requests."""
    whole = (*steps, LAST)
    state = canary.step or _begin(0, facts.now)
    while state.index < len(whole):
        place = _Place(facts=facts, canary=canary, key=key, steps=whole, state=state)
        step = whole[state.index]
        stay = _LOOK[_action(step)](place, step)
        if step.set_weight is not None:
            canary = canary.model_copy(update={"weight": step.set_weight})
        if stay is not None:
            kept = canary.model_copy(update={"step": stay.state or state})
            return StepProgress(canary=kept, phase=stay.phase, finding=stay.finding, again=stay.again)
        state = _begin(state.index + 1, facts.now)
    return StepProgress(canary=canary.model_copy(update={"step": state}), phase="Done")


def _begin(index: int, now: datetime) -> StepStatus:
    return StepStatus(index=index, since=timestamp(now))


def _action(step: DeploymentStep) -> str:
    return next((name for name in _LOOK if getattr(step, name) is not None), "set_weight")


def _weight(place: _Place, step: DeploymentStep) -> _Stay | None:
    """The step is over when the gateway has taken up the weights."""
    routing, weight = place.facts.routing, step.set_weight or 0
    route = None if routing is None else routing.route
    reached = route is not None and route.exact and route.weights.get(place.canary.service, 0) == weight
    if route is not None and reached and route.accepted:
        return None
    told = "the route is written" if route is None or not reached else route.told
    return _Stay(phase="Progressing", finding=place.found(f"{weight} % of the requests; {told}"), again=ROUTE_AGAIN)


def _pause(place: _Place, step: DeploymentStep) -> _Stay | None:
    if place.resumed:
        return None
    limit = step.pause.duration if step.pause else None
    if limit is None:
        metadata = place.facts.deployment.metadata
        found = paused_at(place.key, place.state.index, len(place.steps) - 1, metadata.namespace)
        return _Stay(phase="Paused", finding=found)
    left = place.since + duration(limit) - place.facts.now
    if left <= timedelta(0):
        return None
    return _Stay(phase="Progressing", finding=place.found(f"a pause of {limit}"), again=left)


def _measured(place: _Place, _: DeploymentStep) -> _Stay | None:
    """The verdict of the measurements; see ``DeploymentFacts.measured``."""
    if place.resumed:
        return None
    # The measurements are of the step that the status has, and say nothing of a step that begins just now.
    measured = place.facts.measured if place.state == place.canary.step else None
    state = place.state if measured is None else measured.state
    told = "it is not measured yet" if measured is None else measured.told
    if state.verdict == "Passed":
        return None
    if state.verdict == "Failed":
        return _Stay(phase="Failed", finding=analysis_failed(place.key, told), state=state)
    if state.verdict == "Inconclusive":
        namespace = place.facts.deployment.metadata.namespace
        found = inconclusive(place.key, state.index, namespace, told)
        return _Stay(phase="Paused", finding=found, state=state)
    again = None if measured is None else measured.again
    return _Stay(phase="Progressing", finding=place.found(told), again=again or ROUTE_AGAIN, state=state)


_LOOK: Final[Mapping[str, Callable[[_Place, DeploymentStep], _Stay | None]]] = MappingProxyType(
    {"set_weight": _weight, "pause": _pause, "analysis": _measured, "webhook": _measured}
)
