"""One analysis from the first check to the verdict, as a reconcile does it: plan, check, due, ask, judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fakeprometheus import AskedQuery, FakePrometheus, HttpAnswer, fake_prometheus
from gatehouse.api.deployment_analysis import DeploymentAnalysis
from gatehouse.api.model_deployment import StepStatus
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.step_questions import StepQuestions
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.analysis import AnalysisPlan, due_after, measured, plan_analysis
from gatehouse.domain.deployment.queries import AnalysisSubject
from gatehouse.measures.posting import Poster
from gatehouse.measures.prometheus import PrometheusQueries
from gatehouse.measures.webhooks import WebhookQuestions

CHAT = ObjectName("chatbots", "chat")
SINCE = datetime(2026, 12, 1, 9, tzinfo=UTC)
SUBJECT = AnalysisSubject(namespace="chatbots", service="chat-12345678", stable_service="chat", served_name="granite")
NEXT = "chat-12345678-predictor"


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    with fake_prometheus() as fake:
        yield fake


class Reconciler:
    """Does one step of one deployment; ``now`` is its clock, ``enqueued`` what the queue would bring."""

    def __init__(self, poster: Poster, url: str) -> None:
        self.enqueued = asyncio.Event()
        self.now = SINCE
        self.step = StepStatus(index=1, since=timestamp(SINCE))
        plan = plan_analysis(DeploymentAnalysis(), SUBJECT)
        assert isinstance(plan, AnalysisPlan)
        self.plan = plan
        metrics = PrometheusQueries(
            poster, own=url, further=(), token_file=None, ca_file=None, timeout=5, answered=lambda _: None
        )
        hooks = WebhookQuestions(poster, allowed=(), key_file=None, now=lambda: self.now, answered=lambda _: None)
        self.questions = StepQuestions(metrics=metrics, webhooks=hooks, changed=lambda _: self.enqueued.set())

    async def check(self) -> str | Finding:
        if (found := self.questions.check(CHAT, self.plan, address=None)) != "Asking":
            return found
        await asyncio.wait_for(self.enqueued.wait(), 20)
        self.enqueued.clear()
        return self.questions.check(CHAT, self.plan, address=None)

    async def run(self, *, intervals: int) -> None:
        """Lets so many intervals pass."""
        for _ in range(intervals):
            self.now += self.plan.interval
            while not due_after(self.step, self.plan.interval, now=self.now) and self.step.verdict == "Running":
                answers = self.questions.answers(CHAT, self.plan, address=None)
                if answers is None:
                    await asyncio.wait_for(self.enqueued.wait(), 20)
                    self.enqueued.clear()
                else:
                    self.step = measured(self.step, self.plan, answers, now=self.now)


def load(*, slower: float, requests: float = 100) -> Callable[[AskedQuery], float | None]:
    """What Prometheus says of a stable revision, and of one that is so much slower."""

    def says(asked: AskedQuery) -> float | None:
        factor = slower if NEXT in asked.query else 1.0
        if asked.query.startswith("sum(increase"):
            return requests if NEXT in asked.query else 900.0
        if requests == 0 and NEXT in asked.query and "histogram" in asked.query:
            return None
        return 0.08 * factor if "histogram" in asked.query else 0.0

    return says


async def test_a_revision_that_is_five_times_slower_fails_within_two_intervals(prometheus: FakePrometheus) -> None:
    prometheus.says = load(slower=5)
    async with Poster() as poster:
        reconciler = Reconciler(poster, prometheus.url)
        assert await reconciler.check() == "Passed"
        assert len(prometheus.asked) == 12
        await reconciler.run(intervals=2)
        await reconciler.questions.aclose()
    assert reconciler.step.verdict == "Failed"
    assert reconciler.step.measured_at == timestamp(SINCE + timedelta(minutes=1))
    assert len(prometheus.asked) == 24, "one measurement, and no query after the verdict"


async def test_an_equal_revision_passes_after_count_intervals(prometheus: FakePrometheus) -> None:
    prometheus.says = load(slower=1)
    async with Poster() as poster:
        reconciler = Reconciler(poster, prometheus.url)
        await reconciler.run(intervals=2)
        assert reconciler.step.verdict == "Running"
        await reconciler.run(intervals=3)
        await reconciler.questions.aclose()
    assert (reconciler.step.verdict, len(prometheus.asked)) == ("Passed", 36)


async def test_without_requests_the_rollout_pauses_after_the_limit(prometheus: FakePrometheus) -> None:
    prometheus.says = load(slower=1, requests=0)
    async with Poster() as poster:
        reconciler = Reconciler(poster, prometheus.url)
        await reconciler.run(intervals=10)
        assert reconciler.step.verdict == "Running"
        await reconciler.run(intervals=5)
        await reconciler.questions.aclose()
    assert (reconciler.step.verdict, len(prometheus.asked)) == ("Inconclusive", 11 * 12)
    assert {metric.message for metric in reconciler.step.metrics} == {"there are 0 samples; expected 20 at least"}


async def test_a_query_that_does_not_parse_is_told_before_the_first_request(prometheus: FakePrometheus) -> None:
    error = {"status": "error", "errorType": "bad_data", "error": "1:5: parse error"}
    prometheus.says = lambda asked: HttpAnswer(status=400, body=error) if "waiting" in asked.query else None
    async with Poster() as poster:
        reconciler = Reconciler(poster, prometheus.url)
        found = await reconciler.check()
        await reconciler.questions.aclose()
    assert isinstance(found, Finding)
    assert (found.reason, "the metric requests-waiting" in found.found) == ("QueryInvalid", True)


async def test_a_jump_of_the_clock_costs_one_measurement(prometheus: FakePrometheus) -> None:
    prometheus.says = load(slower=1)
    async with Poster() as poster:
        reconciler = Reconciler(poster, prometheus.url)
        await reconciler.run(intervals=1)
        for jump in (timedelta(days=3000), timedelta(days=-6000)):
            reconciler.now += jump
            before = len(prometheus.asked)
            await reconciler.run(intervals=1)
            assert len(prometheus.asked) == before + 12
        await reconciler.questions.aclose()
    assert reconciler.step.verdict == "Passed"
