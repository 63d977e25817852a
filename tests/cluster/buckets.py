"""Buckets of their own on the stores of the tests, and the operator's client for them."""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mypy_boto3_s3 import S3Client

from gatehouse.api.model_registry import ObjectStore
from gatehouse.storage.s3.client import S3Store, S3Stores
from gatehouse_local.s3 import S3Endpoint, open_store

__all__ = ["Bucket", "Metrics", "WallClock", "bucket_at", "opened"]


class Metrics:
    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.bytes = 0

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        self.requests[operation] += 1

    def received(self, amount: int) -> None:
        self.bytes += amount


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Bucket:
    endpoint: S3Endpoint
    name: str
    client: S3Client
    data: Path | None = None

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)


@contextlib.contextmanager
def bucket_at(endpoint: S3Endpoint, data: Path | None = None) -> Iterator[Bucket]:
    client = open_store(endpoint, request_checksum_calculation="when_required")
    name = f"models-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name)
    yield Bucket(endpoint, name, client, data / name if data else None)
    client.close()


@asynccontextmanager
async def opened(
    bucket: Bucket,
    *,
    metrics: Metrics | None = None,
    credentials: tuple[str, str] | None = None,
    anonymous: bool = False,
    ca_pem: str | None = None,
    name: str | None = None,
    versioned: bool = False,
) -> AsyncIterator[S3Store]:
    own = (bucket.endpoint.credentials.access_key, bucket.endpoint.credentials.secret_key)
    async with aclosing(S3Stores(metrics or Metrics())) as stores:
        yield stores.open(
            ObjectStore(
                uri_prefix=f"s3://{bucket.name}/",
                endpoint=bucket.endpoint.url,
                region=bucket.endpoint.region,
                versioned=versioned,
            ),
            bucket=name or bucket.name,
            credentials=None if anonymous else credentials or own,
            ca_pem=ca_pem,
        )
