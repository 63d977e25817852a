"""Artifacts in object storage, over S3 alone. What the operator does is to read: lists, ranged reads, streamed hashing,
the store's own checksums. :mod:`gatehouse.objectstore.uploading` writes, for those who publish."""

from __future__ import annotations

from gatehouse.objectstore.limits import Limits, RetryPolicy
from gatehouse.objectstore.metrics import PrometheusStoreMetrics, StoreMetrics
from gatehouse.objectstore.s3 import S3Store, S3Stores

__all__ = ["Limits", "PrometheusStoreMetrics", "RetryPolicy", "S3Store", "S3Stores", "StoreMetrics"]
