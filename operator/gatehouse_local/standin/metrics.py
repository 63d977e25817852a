"""The metrics of vLLM's V1 engine that dashboards and analyses ask for, in Prometheus' text format."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["FINISHED_REASONS", "VllmMetrics"]

FINISHED_REASONS: Final = ("stop", "length", "abort", "error")
_SECONDS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0)
_COUNTERS: Final = {
    "prompt_tokens": "Number of prefill tokens processed.",
    "generation_tokens": "Number of generation tokens processed.",
    "num_preemptions": "Cumulative number of preemption from the engine.",
}
_HISTOGRAMS: Final = {
    "time_to_first_token_seconds": "Histogram of time to first token in seconds.",
    "inter_token_latency_seconds": "Histogram of inter-token latency in seconds.",
    # The old name of the one above; vLLM emits both.
    "time_per_output_token_seconds": "Histogram of time per output token in seconds.",
    "e2e_request_latency_seconds": "Histogram of e2e request latency in seconds.",
    "request_queue_time_seconds": "Histogram of time spent in WAITING phase for request.",
}
_GAUGES: Final = {
    "num_requests_running": "Number of requests in model execution batches.",
    "num_requests_waiting": "Number of requests waiting to be processed.",
    "kv_cache_usage_perc": "KV-cache usage. 1 means 100 percent usage.",
}


class _Histogram:
    def __init__(self) -> None:
        self.buckets = [0] * len(_SECONDS)
        self.count = 0
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds
        for place, limit in enumerate(_SECONDS):
            if seconds <= limit:
                self.buckets[place] += 1


class VllmMetrics:
    """The metrics of one engine. Several threads may use it.

    Args:
        model_name: the first served name: vLLM's label `model_name`.
    """

    def __init__(self, *, model_name: str) -> None:
        quoted = model_name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        self._labels = f'engine="0",model_name="{quoted}"'
        self._lock = threading.Condition()
        self._finished = dict.fromkeys(FINISHED_REASONS, 0)
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._histograms = {name: _Histogram() for name in _HISTOGRAMS}
        self._running = 0

    def started(self) -> None:
        """A request runs."""
        with self._lock:
            self._running += 1

    def finished(
        self, reason: str, *, prompt_tokens: int = 0, generation_tokens: int = 0, timings: Mapping[str, float]
    ) -> None:
        """A request ended. `timings` has seconds by the name of a histogram."""
        with self._lock:
            self._running -= 1
            self._finished[reason] += 1
            self._counters["prompt_tokens"] += prompt_tokens
            self._counters["generation_tokens"] += generation_tokens
            for name, seconds in timings.items():
                self._histograms[name].observe(seconds)
            self._lock.notify_all()

    def wait_idle(self, *, seconds: float) -> bool:
        """Waits until no request runs, at most `seconds`; whether none does."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._running, timeout=seconds)

    def render(self) -> str:
        """The text of /metrics."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("request_success_total", "counter", "Count of successfully processed requests.")
        for reason, count in self._finished.items():
            yield f'vllm:request_success_total{{{self._labels},finished_reason="{reason}"}} {count}'
        for name, text in _COUNTERS.items():
            yield from _head(f"{name}_total", "counter", text)
            yield f"vllm:{name}_total{{{self._labels}}} {self._counters[name]}"
        for name, text in _HISTOGRAMS.items():
            yield from self._histogram(name, text)
        gauges = {"num_requests_running": self._running, "num_requests_waiting": 0, "kv_cache_usage_perc": 0}
        for name, text in _GAUGES.items():
            yield from _head(name, "gauge", text)
            yield f"vllm:{name}{{{self._labels}}} {gauges[name]}"

    def _histogram(self, name: str, text: str) -> Iterator[str]:
        seen = self._histograms[name]
        yield from _head(name, "histogram", text)
        for limit, count in zip(_SECONDS, seen.buckets, strict=True):
            yield f'vllm:{name}_bucket{{{self._labels},le="{limit}"}} {count}'
        yield f'vllm:{name}_bucket{{{self._labels},le="+Inf"}} {seen.count}'
        yield f"vllm:{name}_sum{{{self._labels}}} {seen.sum}"
        yield f"vllm:{name}_count{{{self._labels}}} {seen.count}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP vllm:{name} {text}"
    yield f"# TYPE vllm:{name} {kind}"
