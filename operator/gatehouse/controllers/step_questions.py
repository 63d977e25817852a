"""Asks in the background what the steps of deployments need to know, so that no worker waits for an answer.

The first call begins to ask and returns None. When the answer is there, the deployment is enqueued, and the next call
with the same question returns the answer and forgets it. Each deployment has one question at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeVar

from gatehouse.controllers.ports import MetricSource, ObjectName, WebhookSource
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.analysis import AnalysisPlan, query_finding, source_finding
from gatehouse.domain.deployment.answers import QueryAnswer
from gatehouse.domain.deployment.webhook import WebhookAnswer, WebhookQuestion

__all__ = ["StepQuestions"]

_FRESH_SECONDS: Final = 60
"""An answer that no call took in this time says nothing of now, and is asked again."""

_TOLD_SECONDS: Final = 10
"""How long a finding of a check stands before the queries are asked again."""

_A = TypeVar("_A")


@dataclass(frozen=True, slots=True)
class _Told:
    plan: Hashable
    finding: Finding
    at: float


@dataclass(slots=True, eq=False)
class _Asked:
    question: Hashable
    task: asyncio.Task[object]
    answered_at: float | None = None


class StepQuestions:
    """``changed`` is called with a deployment whose answer is there."""

    def __init__(
        self, *, metrics: MetricSource, webhooks: WebhookSource, changed: Callable[[ObjectName], None]
    ) -> None:
        self._metrics = metrics
        self._webhooks = webhooks
        self._changed = changed
        self._asked: dict[ObjectName, _Asked] = {}
        self._checked: dict[ObjectName, Hashable] = {}
        self._told: dict[ObjectName, _Told] = {}

    def metrics_refused(self, address: str | None) -> Finding | None:
        """Why the queries of an analysis cannot be asked; known without asking."""
        return self._metrics.refused(address)

    def webhook_refused(self, url: str) -> Finding | None:
        """Why a webhook cannot be asked; known without asking."""
        return self._webhooks.refused(url)

    def answers(self, name: ObjectName, plan: AnalysisPlan, *, address: str | None) -> Mapping[str, QueryAnswer] | None:
        """One measurement: the answers to the queries of a plan, or None while they are asked."""
        queries = plan.queries
        return self._take(
            name,
            ("measure", queries, address),
            lambda: self._metrics.answers(queries, address=address, namespace=name.namespace),
        )

    def check(
        self, name: ObjectName, plan: AnalysisPlan, *, address: str | None
    ) -> Literal["Asking", "Passed"] | Finding:
        """Whether Prometheus parses each query: asked once for each plan, before a revision gets requests.

        The finding is QueryInvalid, which needs a person, or PrometheusUnavailable or QueryUnanswered. A call after ten
        seconds asks again, and the finding stands until the answer is there, so that a status does not change to and
        fro.
        """
        plan_key, now = (plan.queries, address), asyncio.get_running_loop().time()
        if self._checked.get(name) == plan_key:
            return "Passed"
        told = self._told.get(name)
        if told is not None and told.plan != plan_key:
            told = None
        if told is not None and now - told.at < _TOLD_SECONDS:
            return told.finding
        answers = self._take(
            name,
            ("check", *plan_key),
            lambda: self._metrics.answers(plan.queries, address=address, namespace=name.namespace),
        )
        if answers is None:
            return "Asking" if told is None else told.finding
        finding = query_finding(plan, answers) or source_finding(plan, answers)
        if finding is not None:
            self._told[name] = _Told(plan_key, finding, now)
            return finding
        self._told.pop(name, None)
        self._checked[name] = plan_key
        return "Passed"

    def webhook(
        self, name: ObjectName, url: str, question: WebhookQuestion, *, within: timedelta
    ) -> WebhookAnswer | None:
        """The answer of a webhook, or None while it is asked."""
        return self._take(
            name,
            ("webhook", url, question),
            lambda: self._webhooks.answer(url, question, within=within),
        )

    def forget(self, name: ObjectName) -> None:
        """Ends what is asked for a deployment, as when it is gone or its revision is."""
        self._checked.pop(name, None)
        self._told.pop(name, None)
        asked = self._asked.pop(name, None)
        if asked is not None:
            asked.task.cancel()

    async def aclose(self) -> None:
        """Ends everything that is asked."""
        tasks = [asked.task for asked in self._asked.values()]
        for name in list(self._asked):
            self.forget(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, name: ObjectName, question: Hashable, ask: Callable[[], Awaitable[_A]]) -> _A | None:
        asked = self._asked.get(name)
        if asked is not None and asked.question == question and not asked.task.done():
            return None
        if asked is not None:
            del self._asked[name]
            asked.task.cancel()
            if asked.question == question and _fresh(asked):
                return asked.task.result()  # type: ignore[return-value]
        self._begin(name, question, ask)
        return None

    def _begin(self, name: ObjectName, question: Hashable, ask: Callable[[], Awaitable[object]]) -> None:
        async def answer() -> object:
            try:
                return await ask()
            finally:
                asked.answered_at = asyncio.get_running_loop().time()

        task = asyncio.create_task(answer(), name=f"question of {name.namespace}/{name.name}")
        asked = self._asked[name] = _Asked(question, task)

        def answered(_: asyncio.Task[object]) -> None:
            if self._asked.get(name) is asked:
                self._changed(name)

        task.add_done_callback(answered)


def _fresh(asked: _Asked) -> bool:
    """Whether there is an answer that still says something."""
    at = asked.answered_at
    return at is not None and not asked.task.cancelled() and asyncio.get_running_loop().time() - at < _FRESH_SECONDS
