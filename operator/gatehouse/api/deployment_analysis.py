"""What a ModelDeployment measures about its next revision before the revision gets more requests."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gatehouse.api.governance_policy import NAMED_LIST, Number
from gatehouse.api.meta import CelRule, DnsLabel, Struct
from gatehouse.api.values import Duration

__all__ = ["MOST_METRICS", "AnalysisMetric", "AnalysisPrometheus", "DeploymentAnalysis", "ThresholdRange"]

MOST_METRICS = 10
Query = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class ThresholdRange(Struct):
    min: Number | None = None
    """Least value that passes."""
    max: Number | None = None
    """Greatest value that passes."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule("has(self.min) || has(self.max)", "name min, max, or both"),
        CelRule(
            "!has(self.min) || !has(self.max) || double(self.min) <= double(self.max)",
            "min must not be greater than max: no value would pass",
        ),
    )


class AnalysisMetric(Struct):
    name: DnsLabel
    """Name of the metric. Without a query: one of time-to-first-token-p95, inter-token-latency-p95, failed-requests,
    requests-waiting, kv-cache-use."""
    query: Query | None = None
    """PromQL with one value as the answer. {{namespace}}, {{pods}} (a regular expression that matches the Pods of the
    next revision), {{stablePods}}, {{servedName}} and {{window}} are replaced."""
    samples_query: Query | None = None
    """PromQL that counts what the value rests on, for minSamples. When absent: the finished requests of the Pods."""
    threshold_range: ThresholdRange | None = None
    """Values that pass. A built-in metric has a range of its own when absent."""
    failure_limit: Annotated[int, Field(ge=0, le=100)] = 0
    """Number of failed measurements that are allowed."""
    min_samples: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Number of samples below which a measurement is inconclusive. When absent: 20 for a built-in metric, 1 for a
    query. 0: samples are not counted."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule("!has(self.query) || has(self.thresholdRange)", "a metric with a query needs thresholdRange"),
    )


class AnalysisPrometheus(Struct):
    address: Annotated[str, StringConstraints(min_length=8, max_length=1024, pattern=r"^https?://[^\s\x00-\x1f@]+$")]
    """Address of the Prometheus server. The operator's settings list the allowed addresses, and the token for them."""


class DeploymentAnalysis(Struct):
    interval: Duration = "1m"
    """Time between two measurements."""
    count: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of passed measurements of each metric after which an analysis step is passed."""
    window: Duration = "2m"
    """Time that one measurement looks back, as {{window}} in queries."""
    inconclusive_limit: Annotated[int, Field(ge=0, le=1000)] = 10
    """Number of inconclusive measurements of a metric, as without traffic or without an answer, after which the rollout
    pauses. An inconclusive measurement never passes."""
    metrics: Annotated[list[AnalysisMetric], Field(max_length=MOST_METRICS, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """What is measured. When empty: the built-in metrics of vLLM."""
    prometheus: AnalysisPrometheus | None = None
    """Where queries are sent. When absent: the address in the operator's settings."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "duration(self.interval) >= duration('1s') && duration(self.interval) <= duration('24h')",
            "interval must be from 1s to 24h",
        ),
        CelRule(
            "duration(self.window) >= duration('1s') && duration(self.window) <= duration('24h')",
            "window must be from 1s to 24h",
        ),
    )
