"""The factors of the built-in metrics against the buckets of vLLM's histograms.

A percentile of a histogram is known only to its bucket. A factor must be so large that two equal revisions on the two
sides of a bound pass, and so small that a revision that is five times slower fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import promql_parser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatehouse.api.deployment_analysis import MOST_METRICS
from gatehouse.domain.deployment.metrics import BUILT_IN_METRICS, FINISHED_REQUESTS
from gatehouse.domain.deployment.queries import AnalysisSubject, filled

FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
    *(160.0, 640.0, 2560.0),
)
BETWEEN_TOKENS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
"""The buckets of vLLM 0.9, vllm/v1/metrics/loggers.py; releases until 0.19 have the same."""
HISTOGRAMS = [("time-to-first-token-p95", FIRST_TOKEN), ("inter-token-latency-p95", BETWEEN_TOKENS)]


def estimated(seconds: float, buckets: Sequence[float]) -> float:
    """histogram_quantile(0.95) where each request takes the same time."""
    lower = 0.0
    for bound in buckets:
        if seconds <= bound:
            return lower + 0.95 * (bound - lower)
        lower = bound
    return lower


def fails(name: str, next_: float, stable: float, buckets: Sequence[float]) -> bool:
    metric = BUILT_IN_METRICS[name]
    return estimated(next_, buckets) > max(metric.floor, metric.factor * estimated(stable, buckets))


def test_an_analysis_has_room_for_each_built_in_metric() -> None:
    assert 0 < len(BUILT_IN_METRICS) <= MOST_METRICS


@pytest.mark.parametrize("stable", ["chat", None])
def test_each_query_parses(stable: str | None) -> None:
    subject = AnalysisSubject(namespace="a", service="b", stable_service=stable, served_name="c")
    for query in (FINISHED_REQUESTS, *(metric.query for metric in BUILT_IN_METRICS.values())):
        promql_parser.parse(filled(query, subject, window="1h30m"))


@pytest.mark.parametrize(("name", "buckets"), HISTOGRAMS)
def test_equal_revisions_on_the_two_sides_of_a_bound_pass(name: str, buckets: Sequence[float]) -> None:
    for bound in buckets[:-3]:
        assert not fails(name, math.nextafter(bound, math.inf), bound, buckets), bound


@pytest.mark.parametrize(("name", "buckets"), HISTOGRAMS)
@given(stable=st.floats(0.005, 50))
@example(stable=0.0200001)
@example(stable=0.1000001)
@example(stable=1.0000001)
def test_a_revision_that_is_five_times_slower_fails(name: str, buckets: Sequence[float], stable: float) -> None:
    """From 50 ms on for the first token, and from 25 ms on between two tokens: what is faster, nobody sees."""
    slow = 5 * stable
    if slow <= BUILT_IN_METRICS[name].floor or slow > buckets[-3]:
        return
    assert fails(name, slow, stable, buckets)
