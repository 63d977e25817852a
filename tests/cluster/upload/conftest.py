"""A bucket on each server, and two folders of models: one whose large file is sent in parts, and a small one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cluster.buckets import Bucket, bucket_at
from cluster.upload.uploads import INDEX, LARGE, SMALL, write
from gatehouse.storage.parts import PART_BYTES
from gatehouse_local.s3 import S3Endpoint
from modelfiles import config_json, safetensors_file, shard_index


@pytest.fixture(autouse=True)
async def _connections_end() -> AsyncIterator[None]:
    """A connection that was given up in mid-body stays until what was written to it has gone: too long for a test."""
    yield
    for transport in list(asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
        if transport.get_write_buffer_size():
            transport.abort()
    # The sockets are closed in the loop's next round.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.fixture
def minio_bucket(minio: S3Endpoint) -> Iterator[Bucket]:
    with bucket_at(minio) as made:
        yield made


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A safetensors file of four parts, no two of them alike."""
    elements = (3 * PART_BYTES + 1_000_000) // 2
    frame = safetensors_file({"a": ("BF16", (elements,))}, fill=b"")
    return frame + random.Random(1).randbytes(2 * elements)


@pytest.fixture
def folder(tmp_path: Path, weights: bytes) -> Path:
    """A model of two shards, the first of which is sent in four parts."""
    root = tmp_path / "model"
    write(
        root,
        {
            LARGE: weights,
            SMALL: safetensors_file({"b": ("BF16", (8, 8))}),
            INDEX: shard_index({"a": LARGE, "b": SMALL}),
            "config.json": config_json(),
            "tokenizer.json": b"{}",
        },
    )
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    write(root, {"model.safetensors": safetensors_file({"a": ("BF16", (4, 4))}), "config.json": config_json()})
    return root
