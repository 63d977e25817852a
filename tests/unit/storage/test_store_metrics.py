"""What Prometheus sees of requests to stores."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from gatehouse.storage.metrics import PrometheusStoreMetrics


def test_requests_and_bytes_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusStoreMetrics(registry)
    metrics.request("list", "ok", 0.1)
    metrics.request("read", "StoreThrottled", 0.2)
    metrics.received(7)
    metrics.received(5)
    assert registry.get_sample_value("gatehouse_store_requests_total", {"operation": "list", "outcome": "ok"}) == 1
    throttled = {"operation": "read", "outcome": "StoreThrottled"}
    assert registry.get_sample_value("gatehouse_store_requests_total", throttled) == 1
    assert registry.get_sample_value("gatehouse_store_read_bytes_total") == 12
