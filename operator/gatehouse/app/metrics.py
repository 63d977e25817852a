"""Prometheus collectors of the operator's work outside the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["OperatorMetrics"]


class OperatorMetrics:
    """API requests, row writes, versions by phase, faulty objects and lost Events. The store has its own metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._api = Counter(
            "gatehouse_api_requests", "Requests to the API server.", ["verb", "resource", "code"], registry=registry
        )
        self._rows = Counter("gatehouse_row_writes", "Rows written to registries.", ["table"], registry=registry)
        self._transactions = Counter("gatehouse_row_transactions", "Transactions committed.", registry=registry)
        self._retries = Counter("gatehouse_row_retries", "Rounds tried again.", ["reason"], registry=registry)
        self._reads = Counter("gatehouse_row_reads", "Reads answered by registries.", registry=registry)
        self._dropped = Counter("gatehouse_events_dropped", "Events that could not be posted.", registry=registry)
        self._parsers = Counter(
            "gatehouse_parser_ends", "Times that the process which reads files was ended.", ["why"], registry=registry
        )
        self._running = Gauge(
            "gatehouse_running_uncleared",
            "Versions that run in a stage that they are not cleared for.",
            registry=registry,
        )
        self._phases = Gauge("gatehouse_versions", "Versions by phase.", ["phase"], registry=registry)

        self._failing = Gauge(
            "gatehouse_failing_objects",
            "Objects whose last reconcile ended with an unexpected error.",
            ["kind"],
            registry=registry,
        )
        self._unreadable = Gauge(
            "gatehouse_unreadable_objects",
            "Objects that the API server took and that do not read: they count as none.",
            ["kind"],
            registry=registry,
        )

    def api_request(self, verb: str, resource: str, code: int) -> None:
        """The API server answered; 0 for no answer."""
        self._api.labels(verb, resource, str(code)).inc()

    def event_dropped(self) -> None:
        """An Event was lost."""
        self._dropped.inc()

    def parser_ended(self, why: str) -> None:
        """The process that reads files ended, for ``why``: cpu, memory, time, crash, answer."""
        self._parsers.labels(why).inc()

    def versions_in(self, phase: str, read: Callable[[], float]) -> None:
        """Counts the versions of a phase whenever the metrics are scraped."""
        self._phases.labels(phase).set_function(read)

    def running_uncleared(self, read: Callable[[], float]) -> None:
        """Counts the versions that run without clearance whenever the metrics are scraped."""
        self._running.set_function(read)

    def faults(self, kind: str, *, failing: Callable[[], float], unreadable: Callable[[], float]) -> None:
        """Counts the faulty objects of a kind whenever the metrics are scraped."""
        self._failing.labels(kind).set_function(failing)
        self._unreadable.labels(kind).set_function(unreadable)

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:  # noqa: ARG002 - the registry's signature
        """One transaction was committed."""
        self._transactions.inc()
        for table, count in rows.items():
            self._rows.labels(table).inc(count)

    def queried(self, *, operations: int) -> None:
        """One round of reads answered ``operations`` operations."""
        self._reads.inc(operations)

    def retried(self, *, reason: str) -> None:
        """A round is retried."""
        self._retries.labels(reason).inc()
