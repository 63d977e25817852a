"""Reads artifacts in object storage: lists, ranged reads, streamed hashing, the store's own checksums."""

from __future__ import annotations

from gatehouse.objectstore.limits import Limits, RetryPolicy
from gatehouse.objectstore.metrics import PrometheusStoreMetrics, StoreMetrics
from gatehouse.objectstore.s3 import S3Store, S3Stores

__all__ = ["Limits", "PrometheusStoreMetrics", "RetryPolicy", "S3Store", "S3Stores", "StoreMetrics"]
