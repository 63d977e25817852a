"""The measurements of a deployment's step: when they are asked, and that no refusal and no silence passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from gatehouse.api.model_deployment import StepStatus
from gatehouse.controllers.step_measures import StepMeasures
from gatehouse.controllers.step_questions import StepQuestions
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.answers import QueryAnswer
from gatehouse.domain.deployment.facts import StepMeasurement
from gatehouse.domain.deployment.findings import CHECKING_QUERIES
from gatehouse.domain.deployment.webhook import WebhookAnswer, WebhookQuestion
from unit.domain.deployment.rollouts import Rollout, split

MINUTE = timedelta(minutes=1)
REFUSED = Finding(reason="AddressNotAllowed", found="an address", expected="another one")
HOOK = {"webhook": {"url": "https://checks.example/rollout"}}


class World:
    """A deployment at its first step, Prometheus and a webhook; both say what a test sets."""

    def __init__(self, step: dict[str, Any], **analysis: Any) -> None:
        metric = {"name": "own", "query": "up", "minSamples": 0, "thresholdRange": {"max": "1"}}
        spec = {"metrics": [metric], "count": 1, **analysis}
        self.made = Rollout(deployment=split(strategy={"type": "BlueGreen", "steps": [step]}, analysis=spec))
        self.made.run("one")
        self.made.promote("two")
        self.asked: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.says = QueryAnswer(kind="Value", value=0)
        self.status: int | None = 200
        self.refusal: Finding | None = None
        questions = StepQuestions(metrics=self, webhooks=Hooks(self), changed=lambda _: None)
        self.questions = questions
        self.measures = StepMeasures(questions, clock=self, ended=lambda *what: self.ended.append(what))

    def now(self) -> Any:
        return self.made.now

    def refused(self, address: str | None) -> Finding | None:
        return self.refusal

    async def answers(
        self, queries: Sequence[str], *, address: str | None, namespace: str
    ) -> Mapping[str, QueryAnswer]:
        self.asked += queries
        return dict.fromkeys(queries, self.says)

    def begin(self) -> None:
        """The next revision is available, and the step begins."""
        self.made.settle()
        self.made.available()
        assert self.step is not None

    @property
    def step(self) -> StepStatus | None:
        canary = self.made.status.canary
        return None if canary is None else canary.step

    async def measured(self) -> StepMeasurement:
        """Twice, because the first call asks."""
        self.measures.measured(self.made.facts())
        for _ in range(5):
            await asyncio.sleep(0)
        found = self.measures.measured(self.made.facts())
        assert found is not None
        return found


class Hooks:
    def __init__(self, world: World) -> None:
        self.world = world

    def refused(self, url: str) -> Finding | None:
        return self.world.refusal

    async def answer(self, url: str, question: WebhookQuestion, *, within: timedelta) -> WebhookAnswer:
        self.world.asked.append(f"{question.revision} {question.step} {question.weight}")
        return WebhookAnswer(status=self.world.status)


@pytest.fixture
async def closing() -> AsyncIterator[list[World]]:
    worlds: list[World] = []
    yield worlds
    for world in worlds:
        await world.questions.aclose()


async def test_an_analysis_is_measured_an_interval_after_its_begin(closing: list[World]) -> None:
    world = World({"analysis": {}})
    closing.append(world)
    world.begin()
    found = await world.measured()
    assert (world.asked, found.again, found.state) == ([], MINUTE, world.step)
    world.made.wait(minutes=1)
    found = await world.measured()
    assert (world.asked, found.state.verdict, world.ended) == (["up"], "Passed", [("analysis", "Passed")])
    assert found.state.measured_at == timestamp(world.made.now)


async def test_a_webhook_is_asked_at_once_and_again_after_202(closing: list[World]) -> None:
    world = World(HOOK)
    closing.append(world)
    world.begin()
    world.status = 202
    found = await world.measured()
    canary = world.made.status.canary
    assert canary is not None
    assert world.asked == [f"{canary.revision} 0 0"]
    assert (found.state.verdict, found.again, world.ended) == ("Running", MINUTE, [])
    world.made.measured = found
    world.made.step()
    found = await world.measured()
    assert (len(world.asked), found.again) == (1, MINUTE)
    world.made.wait(minutes=1)
    world.status = 403
    found = await world.measured()
    assert (len(world.asked), found.state.verdict, world.ended) == (2, "Failed", [("webhook", "Failed")])


@pytest.mark.parametrize("step", [{"analysis": {}}, HOOK])
async def test_an_address_that_is_no_longer_allowed_never_passes(closing: list[World], step: dict[str, Any]) -> None:
    world = World(step)
    closing.append(world)
    world.begin()
    world.refusal = REFUSED
    world.made.wait(minutes=5)
    found = await world.measured()
    assert (found.state, world.asked, world.ended) == (world.step, [], [])
    assert ("an address" in found.told, found.again) == (True, MINUTE)


async def test_what_cannot_be_measured_is_known_before_the_next_revision_starts(closing: list[World]) -> None:
    world = World({"analysis": {}})
    closing.append(world)
    world.refusal = REFUSED
    assert world.measures.unmeasurable(world.made.facts()) == REFUSED
    world.refusal = None
    world.says = QueryAnswer(kind="Invalid", problem="1:1: parse error")
    assert world.measures.unmeasurable(world.made.facts()) == CHECKING_QUERIES
    for _ in range(5):
        await asyncio.sleep(0)
    for _ in range(3):
        found = world.measures.unmeasurable(world.made.facts())
        assert found is not None
        assert (found.reason, len(world.asked)) == ("QueryInvalid", 1)


async def test_a_webhook_that_is_refused_is_known_before_the_next_revision_starts(closing: list[World]) -> None:
    world = World(HOOK)
    closing.append(world)
    assert world.measures.unmeasurable(world.made.facts()) is None
    world.refusal = REFUSED
    assert world.measures.unmeasurable(world.made.facts()) == REFUSED
    assert world.asked == []


async def test_a_step_that_measures_nothing_asks_nothing(closing: list[World]) -> None:
    world = World({"pause": {}})
    closing.append(world)
    assert world.measures.unmeasurable(world.made.facts()) is None
    world.begin()
    assert world.measures.measured(world.made.facts()) is None
    assert world.asked == []
