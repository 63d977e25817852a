"""The analysis of a revision: which queries to ask, and what their answers say. Pure, and deny overrides.

A plan is made of the spec, before the revision gets requests. Each measurement adds to the counts of the step. Only a
finite number inside of its range, which rests on enough samples, is a passed measurement; what is absent never passes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

import orjson

from gatehouse.api.deployment_analysis import AnalysisMetric, DeploymentAnalysis
from gatehouse.api.model_deployment import MetricStatus, StepStatus, StepVerdict
from gatehouse.domain.common.clocks import read_timestamp, timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.deployment.answers import QueryAnswer, no_answer
from gatehouse.domain.deployment.metrics import BUILT_IN_METRICS, FINISHED_REQUESTS, MIN_SAMPLES, BuiltInMetric
from gatehouse.domain.deployment.queries import AnalysisSubject, filled
from gatehouse.domain.deployment.webhook import WebhookAnswer

__all__ = [
    "QUERY_INVALID",
    "AnalysisPlan",
    "PlannedMetric",
    "StableComparison",
    "asked",
    "due_after",
    "measured",
    "plan_analysis",
    "query_finding",
    "source_finding",
]

QUERY_INVALID: Final = "QueryInvalid"
QUERY_UNANSWERED: Final = "QueryUnanswered"
PROMETHEUS_UNAVAILABLE: Final = "PrometheusUnavailable"
METRIC_UNKNOWN: Final = "MetricUnknown"
WEBHOOK: Final = "webhook"
"""The name under which a step counts the answers of its webhook."""
MOST_COUNTED: Final = 10_000
LONGEST_MESSAGE: Final = 512

_OWN_MIN_SAMPLES: Final = 1
_NOT_ASKED: Final = no_answer("the query was not answered")

_Found = Literal["passed", "failed", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StableComparison:
    """How a value is compared with that of the stable revision: at most ``factor`` times it, but at least ``floor``."""

    query: str
    samples_query: str
    factor: float
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMetric:
    """One metric with complete queries. ``samples_query`` is None where samples are not counted.

    With ``stable``, ``high`` holds only while the stable revision has no value.
    """

    name: str
    query: str
    samples_query: str | None
    min_samples: int
    low: float
    high: float
    failure_limit: int
    stable: StableComparison | None = None

    @property
    def queries(self) -> Iterable[str]:
        """What is asked for one measurement."""
        yield self.query
        if self.samples_query is not None:
            yield self.samples_query
        if self.stable is not None:
            yield self.stable.query
            yield self.stable.samples_query

    @property
    def rule(self) -> str:
        """Hash of all fields."""
        parts = [*self.queries, self.min_samples, self.failure_limit, repr((self.low, self.high, self.stable))]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPlan:
    """What an analysis measures, and when it ends."""

    metrics: Sequence[PlannedMetric]
    interval: timedelta
    count: int
    inconclusive_limit: int

    @property
    def queries(self) -> Sequence[str]:
        """Every query of one measurement, each once."""
        return tuple(dict.fromkeys(query for metric in self.metrics for query in metric.queries))


def plan_analysis(analysis: DeploymentAnalysis, subject: AnalysisSubject) -> AnalysisPlan | Finding:
    """The plan, or the finding for a metric that is unknown and for a query with an unknown placeholder."""
    declared = analysis.metrics or [AnalysisMetric(name=name) for name in BUILT_IN_METRICS]
    planned: list[PlannedMetric] = []
    for metric in declared:
        try:
            one = _planned(metric, subject, window=analysis.window)
        except ValueError as error:
            return _query_invalid(metric.name, str(error))
        if isinstance(one, Finding):
            return one
        planned.append(one)
    return AnalysisPlan(
        metrics=tuple(planned),
        interval=duration(analysis.interval),
        count=analysis.count,
        inconclusive_limit=analysis.inconclusive_limit,
    )


def query_finding(plan: AnalysisPlan, answers: Mapping[str, QueryAnswer]) -> Finding | None:
    """The first query that Prometheus does not parse. A person must change the query."""
    for metric in plan.metrics:
        for query in metric.queries:
            answer = answers.get(query, _NOT_ASKED)
            if answer.kind == "Invalid":
                return _query_invalid(metric.name, f"Prometheus does not parse the query: {answer.problem}")
    return None


def source_finding(plan: AnalysisPlan, answers: Mapping[str, QueryAnswer]) -> Finding | None:
    """The first query without an answer that can be used. A query without samples has one."""
    found = [(metric.name, answers.get(query, _NOT_ASKED)) for metric in plan.metrics for query in metric.queries]
    silent = [(name, answer.problem) for name, answer in found if answer.kind == "Unusable"]
    if not silent:
        return None
    name, problem = silent[0]
    if len(silent) == len(found):
        return Finding(
            reason=PROMETHEUS_UNAVAILABLE,
            found=f"Prometheus answers none of the queries of spec.analysis: {problem}",
            expected="an answer to each query before the next revision gets requests",
            remedy="check the address, the token and the network between the operator and Prometheus",
        )
    return Finding(
        reason=QUERY_UNANSWERED,
        found=f"the metric {name} of spec.analysis has a query without a usable answer: {problem}",
        expected="one number, or no sample, before the next revision gets requests",
        remedy="correct the query of the metric; the operator asks again",
    )


def due_after(step: StepStatus, interval: timedelta, *, now: datetime, at_once: bool = False) -> timedelta:
    """How long until the step is measured or asked again; zero when it is due.

    The first measurement is one interval after the begin of the step, or ``at_once`` as for a webhook. A time that lies
    ahead was written before the clock jumped back: the step is due, and the measurement writes a time of the present
    clock.
    """
    last = read_timestamp(step.measured_at)
    if last is None and not at_once:
        last = read_timestamp(step.since)
    if last is None or last > now:
        return timedelta(0)
    return max(last + interval - now, timedelta(0))


def measured(step: StepStatus, plan: AnalysisPlan, answers: Mapping[str, QueryAnswer], *, now: datetime) -> StepStatus:
    """The step with one more measurement of each metric. A verdict is final."""
    if step.verdict != "Running":
        return step
    known = {metric.name: metric for metric in step.metrics}
    metrics = [
        _counted(known.get(metric.name), metric.name, metric.rule, _judged(metric, answers)) for metric in plan.metrics
    ]
    verdict = _verdict(plan, metrics)
    if verdict in {"Passed", "Running"} and query_finding(plan, answers) is not None:
        verdict = "Inconclusive"
    return step.model_copy(update={"verdict": verdict, "measured_at": timestamp(now), "metrics": metrics})


def asked(step: StepStatus, answer: WebhookAnswer, *, inconclusive_limit: int, now: datetime) -> StepStatus:
    """The step after its webhook was asked once more. A verdict is final."""
    if step.verdict != "Running":
        return step
    found, verdict = _webhook_says(answer)
    known = next((metric for metric in step.metrics if metric.name == WEBHOOK), None)
    metric = _counted(known, WEBHOOK, "", found)
    if verdict == "Running" and metric.inconclusive > inconclusive_limit:
        verdict = "Inconclusive"
    return step.model_copy(update={"verdict": verdict, "measured_at": timestamp(now), "metrics": [metric]})


# plan


def _planned(metric: AnalysisMetric, subject: AnalysisSubject, *, window: str) -> PlannedMetric | Finding:
    built_in = BUILT_IN_METRICS.get(metric.name) if metric.query is None else None
    query = metric.query or (built_in.query if built_in else None)
    if query is None:
        return Finding(
            reason=METRIC_UNKNOWN,
            found=f"spec.analysis has the metric {metric.name} without a query",
            expected="a query, or the name of a built-in metric: " + ", ".join(BUILT_IN_METRICS),
            remedy="write the query of the metric, or correct its name",
        )
    counted = metric.samples_query or FINISHED_REQUESTS
    least = metric.min_samples
    if least is None:
        least = MIN_SAMPLES if built_in else _OWN_MIN_SAMPLES
    given = metric.threshold_range
    return PlannedMetric(
        name=metric.name,
        query=filled(query, subject, window=window),
        samples_query=filled(counted, subject, window=window) if least > 0 else None,
        min_samples=least,
        low=float(given.min) if given and given.min is not None else -math.inf,
        high=_high(metric, built_in),
        failure_limit=metric.failure_limit,
        stable=_comparison(built_in, counted, subject, window=window) if built_in and given is None else None,
    )


def _high(metric: AnalysisMetric, built_in: BuiltInMetric | None) -> float:
    given = metric.threshold_range
    if given is None:
        return built_in.ceiling if built_in else -math.inf
    return float(given.max) if given.max is not None else math.inf


def _comparison(
    built_in: BuiltInMetric, counted: str, subject: AnalysisSubject, *, window: str
) -> StableComparison | None:
    if subject.stable_service is None:
        return None
    stable = replace(subject, service=subject.stable_service)
    return StableComparison(
        query=filled(built_in.query, stable, window=window),
        samples_query=filled(counted, stable, window=window),
        factor=built_in.factor,
        floor=built_in.floor,
    )


def _query_invalid(metric: str, problem: str) -> Finding:
    return Finding(
        reason=QUERY_INVALID,
        found=f"the metric {metric} of spec.analysis has a query that cannot be asked: {problem}",
        expected="PromQL with one number as its result",
        remedy="correct the query of the metric",
    )


# judge


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judgement:
    found: _Found | None
    message: str
    value: float | None = None


def _judged(metric: PlannedMetric, answers: Mapping[str, QueryAnswer]) -> _Judgement:
    answer = answers.get(metric.query, _NOT_ASKED)
    if answer.kind in {"Unusable", "Invalid"}:
        return _inconclusive(answer.problem)
    value = answer.value if answer.kind == "Value" else None
    if metric.samples_query is not None:
        few = _too_few(answers.get(metric.samples_query, _NOT_ASKED), metric.min_samples)
        if few:
            return _inconclusive(few, value)
    if value is None:
        return _inconclusive(answer.problem)
    high = _limit(metric, answers)
    if isinstance(high, _Judgement):
        return replace(high, value=value)
    limit, why = high
    if value < metric.low:
        return _Judgement(found="failed", message=f"{_short(value)} is below {_short(metric.low)}", value=value)
    if not value <= limit:
        return _Judgement(found="failed", message=f"{_short(value)} is above {_short(limit)}{why}", value=value)
    return _Judgement(found="passed", message=f"{_short(value)} passes{_bound(limit, why)}", value=value)


def _bound(limit: float, why: str) -> str:
    return "" if math.isinf(limit) else f"; the limit is {_short(limit)}{why}"


def _limit(metric: PlannedMetric, answers: Mapping[str, QueryAnswer]) -> tuple[float, str] | _Judgement:
    """The greatest value that passes now, and in words where it comes from."""
    stable = metric.stable
    if stable is None:
        return metric.high, ""
    answer, samples = (answers.get(query, _NOT_ASKED) for query in (stable.query, stable.samples_query))
    for one in (answer, samples):
        if one.kind in {"Unusable", "Invalid"}:
            return _inconclusive(f"the value of the stable revision is unknown: {one.problem}")
    if answer.kind == "Empty" or samples.kind == "Empty" or samples.value < metric.min_samples:
        return metric.high, ", the limit while the stable revision has too few samples"
    limit = max(stable.floor, stable.factor * answer.value)
    if limit == stable.floor:
        return limit, ""
    return limit, f", which is {_short(stable.factor)} times the value {_short(answer.value)} of the stable revision"


def _too_few(samples: QueryAnswer, least: int) -> str:
    if samples.kind == "Empty":
        return f"there are no samples: {samples.problem}; expected {least} at least"
    if samples.kind != "Value":
        return f"the number of samples is unknown: {samples.problem}"
    return "" if samples.value >= least else f"there are {_short(samples.value)} samples; expected {least} at least"


def _inconclusive(why: str, value: float | None = None) -> _Judgement:
    return _Judgement(found="inconclusive", message=why, value=value)


def _counted(known: MetricStatus | None, name: str, rule: str, found: _Judgement) -> MetricStatus:
    base = known if known is not None and known.rule == rule else MetricStatus(name=name, rule=rule)
    counts = {} if found.found is None else {found.found: min(getattr(base, found.found) + 1, MOST_COUNTED)}
    return MetricStatus(
        name=name,
        rule=rule,
        **{"passed": base.passed, "failed": base.failed, "inconclusive": base.inconclusive} | counts,
        value=None if found.value is None else _short(found.value),
        message=found.message[:LONGEST_MESSAGE],
    )


def _verdict(plan: AnalysisPlan, metrics: Sequence[MetricStatus]) -> StepVerdict:
    """First match wins. Without a metric nothing passes."""
    pairs = list(zip(plan.metrics, metrics, strict=True))
    if any(status.failed > metric.failure_limit for metric, status in pairs):
        return "Failed"
    if any(status.inconclusive > plan.inconclusive_limit for status in metrics):
        return "Inconclusive"
    if metrics and all(status.passed >= plan.count for status in metrics):
        return "Passed"
    return "Running"


def _webhook_says(answer: WebhookAnswer) -> tuple[_Judgement, StepVerdict]:
    said = f": {answer.words}" if answer.words else ""
    status = answer.status
    if status is None or 500 <= status < 600:
        what = "the webhook did not answer" if status is None else f"the webhook answers {status}"
        return _inconclusive(f"{what}{said}"), "Running"
    message = f"the webhook answers {status}{said}"
    if status == 200:
        return _Judgement(found="passed", message=message), "Passed"
    if status == 202:
        return _Judgement(found=None, message=message), "Running"
    return _Judgement(found="failed", message=message), "Failed"


def _short(value: float) -> str:
    return f"{value:.6g}"
