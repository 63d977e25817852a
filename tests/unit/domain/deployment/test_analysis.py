"""The plan of an analysis, and what its measurements say: nothing passes by absence, and a denial stays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.deployment_analysis import DeploymentAnalysis
from gatehouse.api.model_deployment import MetricStatus, StepStatus, StepVerdict
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.analysis import (
    AnalysisPlan,
    asked,
    due_after,
    measured,
    plan_analysis,
    query_finding,
    source_finding,
)
from gatehouse.domain.deployment.answers import QueryAnswer, no_answer
from gatehouse.domain.deployment.metrics import BUILT_IN_METRICS
from gatehouse.domain.deployment.queries import AnalysisSubject
from gatehouse.domain.deployment.webhook import WebhookAnswer

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=1)
MINUTE = timedelta(minutes=1)
SUBJECT = AnalysisSubject(namespace="chatbots", service="chat-12345678", stable_service="chat", served_name="granite")
ALONE = AnalysisSubject(namespace="chatbots", service="chat-12345678", stable_service=None, served_name="granite")
OWN = {"name": "own", "query": "own", "samplesQuery": "samples", "thresholdRange": {"min": "1", "max": "2"}}
EMPTY = QueryAnswer(kind="Empty", problem="the query has no result")
INVALID = QueryAnswer(kind="Invalid", problem="1:1: parse error")
SILENT = no_answer("no answer within 10 s")


def value(number: float) -> QueryAnswer:
    return QueryAnswer(kind="Value", value=number)


def step(**given: Any) -> StepStatus:
    return StepStatus(index=1, since=timestamp(SINCE), **given)


def plan(*metrics: dict[str, Any], subject: AnalysisSubject = SUBJECT, **spec: Any) -> AnalysisPlan:
    made = plan_analysis(DeploymentAnalysis.model_validate({"metrics": list(metrics), **spec}), subject)
    assert isinstance(made, AnalysisPlan)
    return made


def own_plan(**spec: Any) -> AnalysisPlan:
    return plan({**OWN, **spec.pop("metric", {})}, **spec)


def once(made: AnalysisPlan, answers: Mapping[str, QueryAnswer], before: StepStatus | None = None) -> StepStatus:
    return measured(before or step(), made, answers, now=NOW)


def own(number: QueryAnswer, samples: QueryAnswer | None = None) -> dict[str, QueryAnswer]:
    return {"own": number, "samples": samples or value(100)}


# plan


def test_without_metrics_the_built_in_ones_are_measured_on_both_revisions() -> None:
    made = plan()
    assert [metric.name for metric in made.metrics] == list(BUILT_IN_METRICS)
    assert (made.interval, made.count, made.inconclusive_limit) == (MINUTE, 3, 10)
    assert {metric.min_samples for metric in made.metrics} == {20}
    # Each value of both revisions, and the finished requests of both once.
    assert len(made.queries) == 2 * len(BUILT_IN_METRICS) + 2
    assert all('pod=~"chat-' in query and "{{" not in query for query in made.queries)


def test_a_range_of_its_own_replaces_that_of_a_built_in_metric() -> None:
    [metric] = plan({"name": "requests-waiting", "thresholdRange": {"max": "3"}, "failureLimit": 2}).metrics
    assert (metric.high, metric.stable, metric.failure_limit, metric.min_samples) == (3, None, 2, 20)


def test_a_query_of_its_own_needs_one_finished_request_by_default() -> None:
    [metric] = plan({"name": "own", "query": "up{{pods}}", "thresholdRange": {"min": "1"}}).metrics
    assert metric.query == "upchat-12345678-predictor-[a-z0-9]+(-[a-z0-9]+)?"
    assert (metric.min_samples, metric.samples_query is not None) == (1, True)
    [metric] = plan({**OWN, "minSamples": 0}).metrics
    assert metric.samples_query is None


@pytest.mark.parametrize(
    ("metric", "reason", "found"),
    [
        ({"name": "ttft"}, "MetricUnknown", "the metric ttft without a query"),
        (
            {**OWN, "query": "{{pod}}"},
            "QueryInvalid",
            "the metric own of spec.analysis has a query that cannot be asked: found the placeholder '{{pod}}'",
        ),
        ({**OWN, "samplesQuery": "{{x}}"}, "QueryInvalid", "the placeholder '{{x}}'"),
    ],
)
def test_what_cannot_be_asked_is_a_finding_before_anything_is_asked(
    metric: dict[str, Any], reason: str, found: str
) -> None:
    finding = plan_analysis(DeploymentAnalysis.model_validate({"metrics": [metric]}), SUBJECT)
    assert isinstance(finding, Finding)
    assert finding.reason == reason
    assert found in finding.found


@given(
    st.one_of(st.text(min_size=1, max_size=80), st.from_regex(r"a?\{\{[a-zA-Z]{0,10}\}?\}?.{0,5}", fullmatch=True)),
    st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,9})?", fullmatch=True),
    st.integers(0, 1_000_000),
)
def test_each_analysis_that_the_api_server_takes_has_a_plan_or_a_finding(query: str, most: str, samples: int) -> None:
    metric = {"name": "own", "query": query, "minSamples": samples, "thresholdRange": {"max": most}}
    made = plan_analysis(DeploymentAnalysis.model_validate({"metrics": [metric]}), SUBJECT)
    if isinstance(made, Finding):
        assert (made.reason, "{{" in query) == ("QueryInvalid", True)
    else:
        assert [each.high for each in made.metrics] == [float(most)]


def test_a_query_that_does_not_parse_is_named_with_its_metric() -> None:
    made = plan(OWN, {"name": "requests-waiting"})
    assert query_finding(made, {}) is None
    assert query_finding(made, dict.fromkeys(made.queries, SILENT)) is None
    finding = query_finding(made, {**dict.fromkeys(made.queries, value(1)), "own": INVALID})
    assert finding is not None
    assert (finding.reason, "the metric own" in finding.found, "parse error" in finding.found) == (
        "QueryInvalid",
        True,
        True,
    )


def test_a_query_without_an_answer_is_known_before_the_first_request() -> None:
    made = own_plan()
    finding = source_finding(made, {"own": SILENT})
    assert finding is not None
    assert (finding.reason, "no answer within 10 s" in finding.found) == ("PrometheusUnavailable", True)
    finding = source_finding(made, own(SILENT))
    assert finding is not None
    assert (finding.reason, "the metric own" in finding.found) == ("QueryUnanswered", True)
    assert source_finding(made, own(EMPTY, EMPTY)) is None


# when


@pytest.mark.parametrize(
    ("measured_at", "now", "after"),
    [
        (None, SINCE, MINUTE),
        (None, NOW, timedelta(0)),
        (NOW, NOW, MINUTE),
        (NOW, NOW + timedelta(seconds=59), timedelta(seconds=1)),
        (NOW, NOW + timedelta(days=4000), timedelta(0)),
        (NOW, NOW - timedelta(seconds=1), timedelta(0)),
        (NOW, NOW - timedelta(days=4000), timedelta(0)),
    ],
)
def test_a_step_is_measured_each_interval_whichever_way_the_clock_jumps(
    measured_at: datetime | None, now: datetime, after: timedelta
) -> None:
    at = None if measured_at is None else timestamp(measured_at)
    assert due_after(step(measured_at=at), MINUTE, now=now) == after


def test_a_webhook_is_asked_at_once() -> None:
    assert due_after(step(), MINUTE, now=SINCE, at_once=True) == timedelta(0)
    assert due_after(step(measured_at=timestamp(NOW)), MINUTE, now=NOW, at_once=True) == MINUTE


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_the_next_measurement_is_never_further_than_an_interval(last: datetime, now: datetime) -> None:
    assert timedelta(0) <= due_after(step(measured_at=timestamp(last)), MINUTE, now=now) <= MINUTE


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-12-01"])
def test_a_time_that_does_not_read_is_due(text: str) -> None:
    broken = StepStatus(index=0, since=text or "?", measured_at=text)
    assert due_after(broken, MINUTE, now=NOW) == timedelta(0)


# one measurement


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (0.99, "failed"),
        (1.0, "passed"),
        (1.5, "passed"),
        (2.0, "passed"),
        (2.0001, "failed"),
        (-5, "failed"),
    ],
)
def test_a_value_passes_inside_of_its_range(number: float, found: str) -> None:
    [metric] = once(own_plan(), own(value(number))).metrics
    counts = {name: getattr(metric, name) for name in ("passed", "failed", "inconclusive")}
    assert counts == {**dict.fromkeys(counts, 0), found: 1}
    assert metric.value == f"{number:.6g}"
    assert metric.message


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "the query was not answered"),
        (own(EMPTY), "the query has no result"),
        (own(SILENT), "no answer within 10 s"),
        ({"own": value(1)}, "the number of samples is unknown: the query was not answered"),
        (own(EMPTY, value(0)), "there are 0 samples; expected 1 at least"),
        (own(value(1), EMPTY), "there are no samples: the query has no result; expected 1 at least"),
        (own(value(1), SILENT), "the number of samples is unknown: no answer within 10 s"),
        (own(value(1), value(0.5)), "there are 0.5 samples; expected 1 at least"),
        (own(value(1), value(-1)), "there are -1 samples; expected 1 at least"),
        (own(value(99), value(0)), "there are 0 samples; expected 1 at least"),
    ],
)
def test_what_is_absent_is_inconclusive_and_says_why(answers: dict[str, QueryAnswer], message: str) -> None:
    after = once(own_plan(), answers)
    [metric] = after.metrics
    assert (metric.passed, metric.failed, metric.inconclusive, metric.message) == (0, 0, 1, message)
    assert after.verdict == "Running"


STABLE = "stable revision"


def compared(
    next_: float, stable: QueryAnswer, samples: QueryAnswer, *, subject: AnalysisSubject = SUBJECT
) -> MetricStatus:
    made = plan({"name": "time-to-first-token-p95"}, subject=subject)
    [metric] = made.metrics
    assert metric.samples_query is not None
    answers = {metric.query: value(next_), metric.samples_query: value(100)}
    if metric.stable is not None:
        answers |= {metric.stable.query: stable, metric.stable.samples_query: samples}
    return once(made, answers).metrics[0]


@pytest.mark.parametrize(
    ("next_", "stable", "samples", "passes", "message"),
    [
        (
            0.25,
            value(0.1),
            value(20),
            True,
            "the limit is 0.25, which is 2.5 times the value 0.1 of the stable revision",
        ),
        (0.251, value(0.1), value(20), False, "0.251 is above 0.25, which is 2.5 times the value 0.1 of the stable"),
        (0.05, value(0.0001), value(20), True, "the limit is 0.05"),
        (0.051, value(0.0001), value(20), False, "0.051 is above 0.05"),
        (20, value(10), value(20), True, "2.5 times the value 10"),
        (6, value(0.1), value(19), True, "the limit while the stable revision has too few samples"),
        (6.1, value(0.1), value(19), False, "6.1 is above 6, the limit while the stable revision has too few samples"),
        (6, EMPTY, value(100), True, "too few samples"),
        (6.1, EMPTY, EMPTY, False, "6.1 is above 6"),
        (0.1, SILENT, value(100), None, "the value of the stable revision is unknown: no answer within 10 s"),
        (0.1, value(0.1), SILENT, None, "the value of the stable revision is unknown: no answer within 10 s"),
        (0.1, INVALID, value(20), None, "the value of the stable revision is unknown"),
    ],
)
def test_a_built_in_metric_is_compared_with_the_stable_revision(
    next_: float, stable: QueryAnswer, samples: QueryAnswer, passes: bool | None, message: str
) -> None:
    metric = compared(next_, stable, samples)
    assert (metric.passed, metric.failed, metric.inconclusive) == (passes is True, passes is False, passes is None)
    assert message in metric.message


def test_without_a_stable_revision_a_ceiling_holds() -> None:
    assert compared(6, SILENT, SILENT, subject=ALONE).passed
    assert compared(6.1, SILENT, SILENT, subject=ALONE).failed


def test_a_revision_that_is_five_times_slower_than_stable_fails_at_the_first_measurement() -> None:
    made = plan()
    answers: dict[str, QueryAnswer] = {}
    for metric in made.metrics:
        assert metric.stable is not None
        assert metric.samples_query is not None
        slow = 5 if metric.name.endswith("-p95") else 1
        usual = {"failed-requests": 0.0, "requests-waiting": 1.0, "kv-cache-use": 0.4}.get(metric.name, 0.08)
        answers |= {metric.query: value(slow * usual), metric.stable.query: value(usual)}
        answers |= {metric.samples_query: value(30), metric.stable.samples_query: value(300)}
    after = once(made, answers)
    assert after.verdict == "Failed"
    assert {metric.name for metric in after.metrics if metric.failed} == {
        "time-to-first-token-p95",
        "inter-token-latency-p95",
    }


# verdicts


def test_each_metric_must_pass_count_times() -> None:
    made = plan(OWN, {**OWN, "name": "second", "query": "second"}, count=2)
    answers = {**own(value(1)), "second": SILENT}
    after = once(made, {**answers, "second": value(1)})
    assert after.verdict == "Running"
    after = once(made, answers, after)
    after = once(made, answers, after)
    assert ([metric.passed for metric in after.metrics], after.verdict) == ([3, 1], "Running")
    after = once(made, {**answers, "second": value(1)}, after)
    assert ([metric.passed for metric in after.metrics], after.verdict) == ([4, 2], "Passed")
    assert after.measured_at == timestamp(NOW)


def test_more_failures_than_the_limit_fail() -> None:
    made = own_plan(metric={"failureLimit": 2})
    after = step()
    verdicts: list[StepVerdict] = []
    for _ in range(3):
        after = once(made, own(value(9)), after)
        verdicts.append(after.verdict)
    assert verdicts == ["Running", "Running", "Failed"]


def test_too_many_inconclusive_measurements_pause() -> None:
    made = own_plan(inconclusiveLimit=2)
    after = step()
    verdicts: list[StepVerdict] = []
    for _ in range(3):
        after = once(made, own(EMPTY), after)
        verdicts.append(after.verdict)
    assert verdicts == ["Running", "Running", "Inconclusive"]


def test_a_query_that_does_not_parse_pauses_at_once() -> None:
    assert once(own_plan(), own(INVALID)).verdict == "Inconclusive"
    made = plan(OWN, {**OWN, "name": "second", "query": "second"}, count=1)
    assert once(made, {**own(INVALID), "second": value(9)}).verdict == "Failed"


@pytest.mark.parametrize("verdict", ["Passed", "Failed", "Inconclusive"])
def test_a_verdict_is_final(verdict: StepVerdict) -> None:
    ended = step(verdict=verdict)
    for answers in (own(value(1)), own(value(9)), own(SILENT), own(INVALID)):
        assert once(own_plan(count=1), answers, ended) == ended
    for answer in (WebhookAnswer(status=200), WebhookAnswer(status=404), WebhookAnswer(status=None)):
        assert asked(ended, answer, inconclusive_limit=0, now=NOW) == ended


def test_counts_begin_again_when_the_rule_of_a_metric_changes() -> None:
    after = once(own_plan(), own(value(1)))
    for change in ({"thresholdRange": {"max": "5"}}, {"minSamples": 7}, {"failureLimit": 1}, {"samplesQuery": "own"}):
        [metric] = once(own_plan(metric=change), own(value(1)), after).metrics
        assert metric.passed == 1, change
    [metric] = once(own_plan(count=9, inconclusiveLimit=0), own(value(1)), after).metrics
    assert metric.passed == 2


def test_a_metric_that_is_no_longer_measured_is_forgotten() -> None:
    after = once(own_plan(), own(value(1)))
    made = plan({**OWN, "name": "second"})
    assert [(metric.name, metric.passed) for metric in once(made, own(value(1)), after).metrics] == [("second", 1)]


ANSWERS = st.one_of(
    st.floats(-1, 4).map(value), st.sampled_from([EMPTY, INVALID, SILENT, no_answer("x" * 5000), value(1.5)])
)
ROUNDS = st.lists(
    st.fixed_dictionaries({}, optional={"own": ANSWERS, "samples": ANSWERS, "second": ANSWERS}), max_size=8
)


def made_plan() -> AnalysisPlan:
    return plan(OWN, {**OWN, "name": "second", "query": "second", "failureLimit": 1}, count=2, inconclusiveLimit=3)


def played(rounds: list[dict[str, QueryAnswer]]) -> StepStatus:
    after = step()
    for answers in rounds:
        after = once(made_plan(), answers, after)
    return StepStatus.model_validate_json(after.model_dump_json())


@given(ROUNDS)
def test_a_step_passes_only_by_numbers_inside_of_their_ranges(rounds: list[dict[str, QueryAnswer]]) -> None:
    after = played(rounds)

    def good(answers: dict[str, QueryAnswer], query: str) -> bool:
        answer, samples = answers.get(query, SILENT), answers.get("samples", SILENT)
        enough = samples.kind == "Value" and samples.value >= 1
        return enough and answer.kind == "Value" and 1 <= answer.value <= 2

    if after.verdict == "Passed":
        for query in ("own", "second"):
            assert sum(good(answers, query) for answers in rounds) >= 2


@given(ROUNDS, st.integers(0, 8))
def test_a_failure_in_place_of_another_answer_never_gives_a_better_verdict(
    rounds: list[dict[str, QueryAnswer]], at: int
) -> None:
    worse = [*rounds]
    if at < len(worse):
        worse[at] = {"own": value(99), "second": value(99), "samples": value(100)}
    before, after = played(rounds).verdict, played(worse).verdict
    assert after == "Failed" or (after == before and before != "Failed")
    if at < len(rounds) and played(rounds[:at]).verdict == "Running":
        assert after == "Failed"


@given(ROUNDS, ROUNDS)
def test_more_measurements_never_turn_failed_into_another_verdict(
    rounds: list[dict[str, QueryAnswer]], more: list[dict[str, QueryAnswer]]
) -> None:
    if (before := played(rounds)).verdict in {"Failed", "Inconclusive"}:
        assert played([*rounds, *more]) == before


# webhooks


@pytest.mark.parametrize(
    ("status", "verdict", "counted"),
    [
        (200, "Passed", "passed"),
        (202, "Running", None),
        (201, "Failed", "failed"),
        (204, "Failed", "failed"),
        (302, "Failed", "failed"),
        (400, "Failed", "failed"),
        (403, "Failed", "failed"),
        (410, "Failed", "failed"),
        (500, "Running", "inconclusive"),
        (503, "Running", "inconclusive"),
        (None, "Running", "inconclusive"),
        (600, "Failed", "failed"),
    ],
)
def test_a_webhook_decides_by_its_status(status: int | None, verdict: StepVerdict, counted: str | None) -> None:
    after = asked(step(), WebhookAnswer(status=status, words="as said"), inconclusive_limit=3, now=NOW)
    [metric] = after.metrics
    counts = {name: getattr(metric, name) for name in ("passed", "failed", "inconclusive")}
    assert counts == {**dict.fromkeys(counts, 0), **({counted: 1} if counted else {})}
    assert (after.verdict, after.measured_at) == (verdict, timestamp(NOW))
    assert "as said" in metric.message


def test_a_silent_webhook_pauses_after_the_limit_and_one_that_answers_202_is_asked_for_ever() -> None:
    after = step()
    for _ in range(3):
        assert after.verdict == "Running"
        after = asked(after, WebhookAnswer(status=None, words="no answer within 10 s"), inconclusive_limit=2, now=NOW)
    assert after.verdict == "Inconclusive"
    after = step()
    for _ in range(50):
        after = asked(after, WebhookAnswer(status=202), inconclusive_limit=0, now=NOW)
    assert after.verdict == "Running"
