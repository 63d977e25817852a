"""What steps ask in the background: each question once, each answer once, and no worker waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from gatehouse.api.deployment_analysis import DeploymentAnalysis
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.step_questions import StepQuestions
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.analysis import AnalysisPlan, plan_analysis
from gatehouse.domain.deployment.answers import QueryAnswer, no_answer
from gatehouse.domain.deployment.queries import AnalysisSubject
from gatehouse.domain.deployment.webhook import WebhookAnswer, WebhookQuestion

CHAT, OTHER = ObjectName("chatbots", "chat"), ObjectName("chatbots", "other")
ONE = QueryAnswer(kind="Value", value=1)
INVALID = QueryAnswer(kind="Invalid", problem="1:1: parse error")
SECOND = timedelta(seconds=1)


def plan(query: str = "up") -> AnalysisPlan:
    spec = {"metrics": [{"name": "own", "query": query, "samplesQuery": "n", "thresholdRange": {"min": "1"}}]}
    subject = AnalysisSubject(namespace="chatbots", service="a", stable_service=None, served_name="g")
    made = plan_analysis(DeploymentAnalysis.model_validate(spec), subject)
    assert isinstance(made, AnalysisPlan)
    return made


def question(step: int = 0) -> WebhookQuestion:
    return WebhookQuestion(
        namespace="chatbots",
        deployment="chat",
        uid="u",
        revision="r",
        version="v",
        digest="d",
        step=step,
        since="s",
        weight=1,
        served_name="g",
    )


class World:
    """Both sources; ``free`` lets them answer."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.asked: list[Any] = []
        self.ended: list[str] = []
        self.changed: list[ObjectName] = []
        self.says: QueryAnswer | Exception = ONE
        self.questions = StepQuestions(metrics=self, webhooks=self_hooks(self), changed=self.changed.append)

    def refused(self, address: str | None) -> Finding | None:
        return Finding(reason="AddressNotAllowed", found="", expected="") if address == "http://no" else None

    async def answers(
        self, queries: Sequence[str], *, address: str | None, namespace: str
    ) -> Mapping[str, QueryAnswer]:
        self.asked.append((tuple(queries), address, namespace))
        await self._answering()
        if isinstance(self.says, Exception):
            raise self.says
        return dict.fromkeys(queries, self.says)

    async def _answering(self) -> None:
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise

    async def settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


class Hooks:
    def __init__(self, world: World) -> None:
        self.world = world

    def refused(self, url: str) -> Finding | None:
        return self.world.refused(url)

    async def answer(self, url: str, question: WebhookQuestion, *, within: timedelta) -> WebhookAnswer:
        self.world.asked.append((url, question.step, within))
        await self.world._answering()
        return WebhookAnswer(status=200)


def self_hooks(world: World) -> Hooks:
    return Hooks(world)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.questions.aclose()


async def test_a_call_does_not_wait_and_the_answer_enqueues_the_deployment(world: World) -> None:
    world.free.clear()
    assert world.questions.answers(CHAT, plan(), address=None) is None
    await world.settled()
    assert world.questions.answers(CHAT, plan(), address=None) is None
    assert (world.asked, world.changed) == ([(("up", "n"), None, "chatbots")], [])
    world.free.set()
    await world.settled()
    assert world.changed == [CHAT]
    assert world.questions.answers(CHAT, plan(), address=None) == {"up": ONE, "n": ONE}
    assert len(world.asked) == 1
    assert world.questions.answers(CHAT, plan(), address=None) is None, "an answer counts once"


async def test_another_question_replaces_the_one_that_is_asked(world: World) -> None:
    world.free.clear()
    world.questions.answers(CHAT, plan(), address=None)
    await world.settled()
    assert world.questions.answers(CHAT, plan("down"), address=None) is None
    await world.settled()
    assert world.ended == ["cancelled"]
    world.free.set()
    await world.settled()
    assert world.questions.answers(CHAT, plan("down"), address=None) == {"down": ONE, "n": ONE}
    assert world.changed == [CHAT]


async def test_the_answer_to_another_question_is_no_answer(world: World) -> None:
    world.questions.answers(CHAT, plan(), address=None)
    await world.settled()
    assert world.questions.answers(CHAT, plan(), address="http://other") is None
    await world.settled()
    assert world.questions.webhook(CHAT, "http://hook", question(), within=SECOND) is None
    assert len(world.asked) == 2


async def test_deployments_do_not_share_answers(world: World) -> None:
    world.questions.answers(CHAT, plan(), address=None)
    world.questions.answers(OTHER, plan(), address=None)
    await world.settled()
    assert sorted(world.changed) == [CHAT, OTHER]
    assert world.questions.answers(OTHER, plan(), address=None) is not None
    assert world.questions.answers(CHAT, plan(), address=None) is not None


async def test_an_old_answer_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.questions.answers(CHAT, plan(), address=None)
    await world.settled()
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + 61)
    assert world.questions.answers(CHAT, plan(), address=None) is None
    await world.settled()
    assert len(world.asked) == 2
    assert world.questions.answers(CHAT, plan(), address=None) is not None


async def test_a_webhook_is_asked_once_for_each_question(world: World) -> None:
    assert world.questions.webhook(CHAT, "http://hook", question(), within=SECOND) is None
    await world.settled()
    assert world.questions.webhook(CHAT, "http://hook", question(), within=SECOND) == WebhookAnswer(status=200)
    assert world.questions.webhook(CHAT, "http://hook", question(1), within=SECOND) is None
    await world.settled()
    assert world.asked == [("http://hook", 0, SECOND), ("http://hook", 1, SECOND)]


async def test_queries_are_checked_once_for_each_plan(world: World) -> None:
    def check(query: str = "up") -> object:
        return world.questions.check(CHAT, plan(query), address=None)

    assert check() == "Asking"
    await world.settled()
    assert [check(), check(), len(world.asked)] == ["Passed", "Passed", 1]
    assert check("down") == "Asking"
    await world.settled()
    assert [check("down"), len(world.asked)] == ["Passed", 2]
    world.questions.forget(CHAT)
    assert check("down") == "Asking"


@pytest.mark.parametrize(
    ("says", "reason"), [(INVALID, "QueryInvalid"), (no_answer("silence"), "PrometheusUnavailable")]
)
async def test_a_finding_of_a_check_stands_until_a_later_answer(
    world: World, says: QueryAnswer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(query: str = "up") -> str:
        found = world.questions.check(CHAT, plan(query), address=None)
        return found.reason if isinstance(found, Finding) else found

    loop, later = asyncio.get_running_loop(), 0.0
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + later)
    world.says = says
    assert check() == "Asking"
    await world.settled()
    assert [check(), check(), len(world.asked), len(world.changed)] == [reason, reason, 1, 1]
    later = 11
    assert [check(), check()] == [reason, reason], "the finding stands while the queries are asked again"
    await world.settled()
    assert [check(), len(world.asked)] == [reason, 2]
    later = 22
    world.says = QueryAnswer(kind="Empty", problem="the query has no result")
    assert check() == reason
    await world.settled()
    assert [check(), check(), len(world.asked)] == ["Passed", "Passed", 3]
    assert check("down") == "Asking"


async def test_a_query_that_was_corrected_is_asked_at_once(world: World) -> None:
    world.says = INVALID
    world.questions.check(CHAT, plan(), address=None)
    await world.settled()
    assert isinstance(world.questions.check(CHAT, plan(), address=None), Finding)
    world.says = ONE
    assert world.questions.check(CHAT, plan("down"), address=None) == "Asking"
    await world.settled()
    assert world.questions.check(CHAT, plan("down"), address=None) == "Passed"


async def test_what_is_forgotten_ends_and_enqueues_nothing(world: World) -> None:
    world.free.clear()
    world.questions.answers(CHAT, plan(), address=None)
    await world.settled()
    world.questions.forget(CHAT)
    world.questions.forget(OTHER)
    await world.settled()
    assert (world.ended, world.changed) == (["cancelled"], [])


async def test_the_end_of_the_process_ends_every_question(world: World) -> None:
    world.free.clear()
    world.questions.answers(CHAT, plan(), address=None)
    world.questions.webhook(OTHER, "http://hook", question(), within=SECOND)
    await world.settled()
    await world.questions.aclose()
    assert (world.ended, world.changed) == (["cancelled"] * 2, [])


async def test_a_fault_reaches_the_next_call(world: World) -> None:
    world.says = RuntimeError("a fault")
    world.questions.answers(CHAT, plan(), address=None)
    await world.settled()
    assert world.changed == [CHAT]
    with pytest.raises(RuntimeError, match="a fault"):
        world.questions.answers(CHAT, plan(), address=None)


async def test_refusals_are_known_without_asking(world: World) -> None:
    assert world.questions.metrics_refused(None) is None
    assert world.questions.metrics_refused("http://no") is not None
    assert world.questions.webhook_refused("http://no") is not None
    assert world.asked == []
