"""What the step of a deployment measures: a question from spec and status, and from its answer the new state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from gatehouse.api.deployment_strategy import DeploymentStep, WebhookStep
from gatehouse.api.model_deployment import CanaryStatus, ModelDeployment, StepStatus, StepVerdict
from gatehouse.controllers.ports import ObjectName, UtcClock
from gatehouse.controllers.step_questions import StepQuestions
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.deployment.analysis import AnalysisPlan, asked, due_after, measured, plan_analysis
from gatehouse.domain.deployment.facts import DeploymentFacts, StepMeasurement
from gatehouse.domain.deployment.findings import CHECKING_QUERIES
from gatehouse.domain.deployment.queries import AnalysisSubject
from gatehouse.domain.deployment.revision import slot_names
from gatehouse.domain.deployment.standing import sentence
from gatehouse.domain.deployment.webhook import WebhookAnswer, WebhookQuestion

__all__ = ["StepMeasures"]

_ASKING = timedelta(seconds=30)
"""The answer enqueues the deployment; this is for an answer that is lost."""


class StepMeasures:
    """``ended`` is called with the kind of a step and its verdict."""

    def __init__(self, questions: StepQuestions, *, clock: UtcClock, ended: Callable[[str, StepVerdict], None]) -> None:
        self._questions = questions
        self._clock = clock
        self._ended = ended

    def forget(self, name: ObjectName) -> None:
        """Ends what is asked for a deployment that is gone."""
        self._questions.forget(name)

    def unmeasurable(self, facts: DeploymentFacts) -> Finding | None:
        """Why the steps of the strategy cannot be measured, known before a revision gets requests; None where they can.

        The API server parses no PromQL, so Prometheus is asked once.
        """
        deployment, canary = facts.deployment, facts.status.canary
        steps = deployment.spec.strategy.steps
        coming = facts.coming or facts.candidate
        if coming is None or coming == facts.running or (canary is not None and canary.step is not None):
            return None
        for step in steps:
            refused = None if step.webhook is None else self._questions.webhook_refused(step.webhook.url)
            if refused is not None:
                return refused
        if all(step.analysis is None for step in steps):
            return None
        address = _address(deployment)
        refused = self._questions.metrics_refused(address)
        plan = refused or self._plan(facts, slot_names(coming)[0] if canary is None else canary.service)
        if isinstance(plan, Finding):
            return plan
        checked = self._questions.check(_name(deployment), plan, address=address)
        if checked == "Asking":
            return CHECKING_QUERIES
        return None if checked == "Passed" else checked

    def measured(self, facts: DeploymentFacts) -> StepMeasurement | None:
        """The state of the step that the status has; None where the step measures nothing."""
        canary = facts.status.canary
        step = None if canary is None else canary.step
        steps = facts.deployment.spec.strategy.steps
        if canary is None or step is None or step.index >= len(steps):
            return None
        declared = steps[step.index]
        if declared.analysis is None and declared.webhook is None:
            return None
        if step.verdict != "Running":
            return StepMeasurement(state=step, told=_told(step))
        analysis = facts.deployment.spec.analysis
        interval = duration(analysis.interval)
        due = due_after(step, interval, now=self._clock.now(), at_once=declared.webhook is not None)
        if due > timedelta(0):
            return StepMeasurement(state=step, told=_told(step), again=due)
        state = self._ask(facts, canary, step, declared)
        if isinstance(state, Finding):
            return StepMeasurement(state=step, told=sentence(state), again=interval)
        if state is None:
            return StepMeasurement(state=step, told=_told(step), again=_ASKING)
        if state.verdict != "Running":
            self._ended("webhook" if declared.webhook is not None else "analysis", state.verdict)
        return StepMeasurement(state=state, told=_told(state), again=due_after(state, interval, now=self._clock.now()))

    def _ask(
        self, facts: DeploymentFacts, canary: CanaryStatus, step: StepStatus, declared: DeploymentStep
    ) -> StepStatus | Finding | None:
        """The step with one more measurement; None while the answer is on its way."""
        deployment, now = facts.deployment, self._clock.now()
        name, analysis = _name(deployment), deployment.spec.analysis
        if declared.webhook is not None:
            refused = self._questions.webhook_refused(declared.webhook.url)
            if refused is not None:
                return refused
            answer = self._webhook(facts, canary, step, declared.webhook)
            limit = analysis.inconclusive_limit
            return None if answer is None else asked(step, answer, inconclusive_limit=limit, now=now)
        address = _address(deployment)
        refused = self._questions.metrics_refused(address)
        plan = refused or self._plan(facts, canary.service)
        if isinstance(plan, Finding):
            return plan
        answers = self._questions.answers(name, plan, address=address)
        return None if answers is None else measured(step, plan, answers, now=now)

    def _plan(self, facts: DeploymentFacts, service: str) -> AnalysisPlan | Finding:
        deployment, main = facts.deployment, facts.main
        subject = AnalysisSubject(
            namespace=deployment.metadata.namespace,
            service=service,
            stable_service=None if main is None else main.name,
            served_name=deployment.spec.served_name,
        )
        return plan_analysis(deployment.spec.analysis, subject)

    def _webhook(
        self, facts: DeploymentFacts, canary: CanaryStatus, step: StepStatus, declared: WebhookStep
    ) -> WebhookAnswer | None:
        deployment = facts.deployment
        question = WebhookQuestion(
            namespace=deployment.metadata.namespace,
            deployment=deployment.metadata.name,
            uid=deployment.metadata.uid,
            revision=canary.revision,
            version=canary.version,
            digest=canary.digest,
            step=step.index,
            since=step.since,
            weight=canary.weight,
            served_name=deployment.spec.served_name,
        )
        return self._questions.webhook(_name(deployment), declared.url, question, within=duration(declared.timeout))


def _name(deployment: ModelDeployment) -> ObjectName:
    return ObjectName(deployment.metadata.namespace, deployment.metadata.name)


def _address(deployment: ModelDeployment) -> str | None:
    prometheus = deployment.spec.analysis.prometheus
    return None if prometheus is None else prometheus.address


def _told(step: StepStatus) -> str:
    """What the measurements found, the worst first."""
    if not step.metrics:
        return "nothing is measured yet"
    ranked = sorted(step.metrics, key=lambda metric: (-metric.failed, -metric.inconclusive, metric.name))
    counts = [
        f"{metric.name}: {metric.message} ({metric.passed} passed, {metric.failed} failed, "
        f"{metric.inconclusive} inconclusive)"
        for metric in ranked
    ]
    return "; ".join(counts)[:900]
