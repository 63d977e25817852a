"""How the next revision of a ModelDeployment replaces the one that runs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.meta import CelRule, Struct
from gatehouse.api.values import Duration

__all__ = [
    "MOST_STEPS",
    "AnalysisStep",
    "DeploymentStep",
    "DeploymentStrategy",
    "PauseStep",
    "StrategyType",
    "WebhookStep",
]

MOST_STEPS = 20
StrategyType = Literal["Recreate", "BlueGreen", "Canary"]


class PauseStep(Struct):
    duration: Duration | None = None
    """How long the step waits. When absent, the step waits until a person resumes."""


class AnalysisStep(Struct):
    """The measurements of spec.analysis. A failed analysis ends the rollout as spec.onFailure says."""


class WebhookStep(Struct):
    url: Annotated[str, StringConstraints(min_length=8, max_length=1024, pattern=r"^https?://[^\s\x00-\x1f@]+$")]
    """Address that is asked by POST. The operator's settings list the allowed addresses. The answer 200 continues, 202
    asks again later, each other answer is a failure."""
    timeout: Duration = "10s"
    """How long one request waits for an answer."""


class DeploymentStep(Struct):
    set_weight: Annotated[int, Field(ge=1, le=100)] | None = None
    """Percentage of the requests that the next revision gets from now on."""
    pause: PauseStep | None = None
    """Wait for a time, or for a person."""
    analysis: AnalysisStep | None = None
    """Wait for the verdict of spec.analysis."""
    webhook: WebhookStep | None = None
    """Wait for the verdict of another program."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "[has(self.setWeight), has(self.pause), has(self.analysis), has(self.webhook)].exists_one(given, given)",
            "a step has exactly one of setWeight, pause, analysis and webhook",
        ),
    )


class DeploymentStrategy(Struct):
    type: StrategyType = "Recreate"
    """Recreate: the running revision stops before the next one starts, so one set of accelerators is enough.
    BlueGreen: the next revision starts beside the running one, passes the steps without requests, and gets all requests
    at once. Canary: the next revision gets more requests with each step."""
    steps: Annotated[list[DeploymentStep], Field(max_length=MOST_STEPS)] = Field(default_factory=list)
    """What happens after the next revision is available, in order. After the last step it gets all requests."""
    scale_down_delay: Duration = "10m"
    """How long the replaced revision keeps running, so that a rollback takes seconds."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.type != 'Recreate' || !has(self.steps) || self.steps.size() == 0",
            "strategy Recreate has no steps: one revision runs at a time; choose BlueGreen or Canary",
        ),
        CelRule(
            "self.type != 'BlueGreen' || !has(self.steps) || !self.steps.exists(step, has(step.setWeight))",
            "strategy BlueGreen moves all requests at once: remove setWeight from its steps, or choose Canary",
        ),
        CelRule(
            "self.type != 'Canary' || (has(self.steps) && self.steps.exists(step, has(step.setWeight)))",
            "strategy Canary needs a step with setWeight",
        ),
        CelRule(
            "!has(self.steps) || self.steps.filter(step, has(step.setWeight)).map(step, step.setWeight).isSorted()",
            "weights must not decrease: each setWeight is at least that of the step before",
        ),
    )
