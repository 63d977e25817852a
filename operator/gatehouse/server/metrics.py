"""Prometheus collectors of the server. Labels have few values, whatever clients send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["NO_ROUTE", "ServerMetrics"]

NO_ROUTE: Final = "none"
"""The route of a request whose path no family has."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServerMetrics:
    """Requests by route, their time, connections, requests to the API server, and transactions of the rows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "gatehouse_server_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "gatehouse_server_request_seconds",
            "Seconds from the head of a request to its answer.",
            ["route", "method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._running = Gauge("gatehouse_server_running_requests", "Requests in flight.", registry=registry)
        self._connections = Gauge("gatehouse_server_connections", "Open connections.", registry=registry)
        self._api = Counter(
            "gatehouse_api_requests", "Requests to the API server.", ["verb", "resource", "code"], registry=registry
        )
        self._reads = Counter("gatehouse_row_reads", "Reads answered by registries.", registry=registry)
        self._rows = Counter("gatehouse_row_writes", "Rows written to registries.", ["table"], registry=registry)
        self._transactions = Counter("gatehouse_row_transactions", "Transactions committed.", registry=registry)
        self._retries = Counter("gatehouse_row_retries", "Rounds tried again.", ["reason"], registry=registry)

    def started(self) -> None:
        """A request began."""
        self._running.inc()

    def answered(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """A request ended. ``route`` is the template of its path; ``status`` is 499 where the client went away."""
        method = method if method in _METHODS else "other"
        self._running.dec()
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def watch_connections(self, count: Callable[[], int]) -> None:
        """Counts the open connections at each scrape."""
        self._connections.set_function(count)

    def api_request(self, verb: str, resource: str, code: int) -> None:
        """The API server answered; 0 for no answer."""
        self._api.labels(verb, resource, str(code)).inc()

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
