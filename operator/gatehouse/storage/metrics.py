"""Metrics of requests to object stores."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["NoMetrics", "Operation", "PrometheusStoreMetrics", "StoreMetrics"]

Operation: TypeAlias = Literal[
    "list", "head", "read", "put", "uploads", "begin", "parts", "part", "complete", "copy", "delete"
]


class StoreMetrics(Protocol):
    """Receives every request that is sent, retries included."""

    def request(self, operation: Operation, outcome: str, seconds: float) -> None:
        """One request ended; ``outcome`` is ``ok`` or the reason of the error."""
        ...

    def received(self, amount: int) -> None:
        """``amount`` bytes of objects arrived."""
        ...


class NoMetrics:
    """The metrics of a command, which counts nothing."""

    def request(self, operation: Operation, outcome: str, seconds: float) -> None:
        """Not counted."""
        del operation, outcome, seconds

    def received(self, amount: int) -> None:
        """Not counted."""
        del amount


class PrometheusStoreMetrics:
    """Counts in a Prometheus registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "gatehouse_store_requests", "Requests to object stores.", ["operation", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "gatehouse_store_request_duration_seconds", "Time of one request.", ["operation"], registry=registry
        )
        self._bytes = Counter("gatehouse_store_read_bytes", "Bytes of objects read.", registry=registry)

    def request(self, operation: Operation, outcome: str, seconds: float) -> None:
        self._requests.labels(operation, outcome).inc()
        self._seconds.labels(operation).observe(seconds)

    def received(self, amount: int) -> None:
        self._bytes.inc(amount)
