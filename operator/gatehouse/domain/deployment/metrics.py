"""The metrics of vLLM that an analysis knows, as data. docs/analysis.md gives the source of each figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["BUILT_IN_METRICS", "FINISHED_REQUESTS", "MIN_SAMPLES", "BuiltInMetric"]

MIN_SAMPLES: Final = 20
"""With fewer requests the 95th percentile is the slowest request."""

_NEXT: Final = '{namespace="{{namespace}}",pod=~"{{pods}}"}'

FINISHED_REQUESTS: Final = f"sum(increase(vllm:request_success_total{_NEXT}[{{{{window}}}}]))"
"""The requests that the Pods finished, for whichever reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltInMetric:
    """A metric. The greatest value that passes is ``factor`` times that of the stable revision, but at least ``floor``.

    ``ceiling`` is the greatest value where the stable revision has no value. The query has the placeholders of an
    analysis.
    """

    query: str
    factor: float
    floor: float
    ceiling: float


def _percentile(*histograms: str) -> str:
    buckets = " or ".join(f"rate(vllm:{name}_bucket{_NEXT}[{{{{window}}}}])" for name in histograms)
    return f"histogram_quantile(0.95, sum by (le) ({buckets}))"


def _worst_pod(*gauges: str) -> str:
    averages = " or ".join(f"avg_over_time(vllm:{name}{_NEXT}[{{{{window}}}}])" for name in gauges)
    return f"max({averages})"


def _share(reasons: str) -> str:
    chosen = _NEXT.replace('}}"}', f'}}}}",finished_reason=~"{reasons}"}}')
    part = f"sum(increase(vllm:request_success_total{chosen}[{{{{window}}}}]))"
    return f"({part} or vector(0)) / {FINISHED_REQUESTS}"


BUILT_IN_METRICS: Final[Mapping[str, BuiltInMetric]] = MappingProxyType(
    {
        "time-to-first-token-p95": BuiltInMetric(
            query=_percentile("time_to_first_token_seconds"), factor=2.5, floor=0.05, ceiling=6
        ),
        "inter-token-latency-p95": BuiltInMetric(
            query=_percentile("inter_token_latency_seconds", "time_per_output_token_seconds"),
            factor=2.5,
            floor=0.025,
            ceiling=0.175,
        ),
        "failed-requests": BuiltInMetric(query=_share("abort|error"), factor=2.5, floor=0.05, ceiling=0.05),
        "requests-waiting": BuiltInMetric(query=_worst_pod("num_requests_waiting"), factor=2.5, floor=5, ceiling=10),
        "kv-cache-use": BuiltInMetric(
            query=_worst_pod("kv_cache_usage_perc", "gpu_cache_usage_perc"), factor=1.1, floor=0.95, ceiling=0.95
        ),
    }
)
