"""Prometheus collectors of the engine, in a registry that is passed around."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["EngineMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class EngineMetrics:
    """All engine metrics. ``kind`` is the plural resource name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._reconciles = Counter("gatehouse_reconciles", "Reconciles ended.", ["kind", "outcome"], registry=registry)
        self._duration = Histogram(
            "gatehouse_reconcile_duration_seconds",
            "Time of one reconcile.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._wait = Histogram(
            "gatehouse_queue_wait_seconds",
            "Time a ready key waited for a worker.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._retries = Counter(
            "gatehouse_reconcile_retries", "Keys queued again with backoff.", ["kind"], registry=registry
        )
        self._events = Counter(
            "gatehouse_watch_events",
            "Objects listed, watch events, and deletions found by a list (VANISHED).",
            ["kind", "type"],
            registry=registry,
        )
        self._relists = Counter("gatehouse_relists", "Times the sweep found the caches stale.", registry=registry)
        self._leader = Gauge("gatehouse_leader", "1 while this process leads.", registry=registry)
        self._periodic = Counter(
            "gatehouse_periodic_failures",
            "Times that work which is done now and then failed.",
            ["work"],
            registry=registry,
        )
        self._gauges: dict[str, Gauge] = {}

    def reconciled(self, kind: str, outcome: str, seconds: float) -> None:
        self._reconciles.labels(kind, outcome).inc()
        self._duration.labels(kind).observe(seconds)

    def waited(self, kind: str, seconds: float) -> None:
        self._wait.labels(kind).observe(seconds)

    def retried(self, kind: str) -> None:
        self._retries.labels(kind).inc()

    def watch_event(self, kind: str, event_type: str) -> None:
        self._events.labels(kind, event_type).inc()

    def relisted(self) -> None:
        self._relists.inc()

    def periodic_failed(self, work: str) -> None:
        self._periodic.labels(work).inc()

    def leading(self, leads: bool) -> None:
        self._leader.set(1 if leads else 0)

    def gauge(self, name: str, documentation: str, kind: str, read: Callable[[], float]) -> None:
        """Read a value for the kind each time the metrics are scraped."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, documentation, ["kind"], registry=self.registry)
        self._gauges[name].labels(kind).set_function(read)
