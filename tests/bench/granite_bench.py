"""Granite 3.1 8B FP8 at its full size, behind a store whose objects are sparse files."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from bench.farm import make_namespace
from bench.figures import Count, Figure, Result, at_least, at_most
from bench.granite import WEIGHTS_BYTES, granite_files
from bench.granite import upload as upload_sparse
from bench.load import Cluster
from bench.processes import MIB, Operator
from bench.samples import BUCKET, NAMESPACE, PROFILE
from bench.scrape import Samples
from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.artifact import StoredObject
from gatehouse.local.binaries import Binaries
from gatehouse.local.ephemeral import RunningControlPlane, RunningVersitygw, control_plane, versitygw
from gatehouse.local.install import install_defaults
from gatehouse.local.progress import Progress
from gatehouse.local.s3 import S3Endpoint, ensure_bucket
from gatehouse.objectstore.s3 import S3Stores

__all__ = ["bench_granite"]

_FOLDER = "granite-3.1-8b-instruct-FP8-dynamic"
_MODEL = "granite-3.1-8b-instruct-fp8"
_VERSION, _TOO_LONG = "granite", "granite-131072"
_WITHIN = 600.0
_TIMES = 2
"""How often each of the two ways hashes the file; the shorter time counts."""
_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rig:
    plane: RunningControlPlane
    store: RunningVersitygw
    home: Path
    progress: Progress


class _Uncounted:
    """Store metrics that nobody reads."""

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def received(self, amount: int) -> None:
        """Nothing."""


async def bench_granite(*, whole: bool, progress: Progress) -> list[Result]:
    """Structure and verdicts; one file against ``curl | openssl``; with ``whole`` the content of the model too."""
    with _rig(progress) as rig:
        results = [await _one_file(rig)]
        async with Cluster(rig.plane) as cluster:
            await _prepare(cluster)
            operator = Operator(rig.plane, data=rig.home / "data", log=rig.home / "operator.log")
            async with operator:
                results.insert(0, await _structure(rig, cluster, operator))
                if whole:
                    results.append(await _content(rig, cluster, operator))
    return results


@contextlib.contextmanager
def _rig(progress: Progress) -> Iterator[_Rig]:
    binaries = Binaries(progress=progress)
    with contextlib.ExitStack() as stack:
        with progress.step("starting the control plane and versitygw"):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatehouse-bench-")))
            plane = stack.enter_context(control_plane(binaries))
            store = stack.enter_context(versitygw(binaries))
            ensure_bucket(store.endpoint, BUCKET)
            _upload(store)
            with contextlib.closing(plane.client()) as client:
                install_defaults(client, endpoint=store.endpoint, database=None)
        yield _Rig(plane=plane, store=store, home=home, progress=progress)


def _client(endpoint: S3Endpoint) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id=endpoint.credentials.access_key,
        aws_secret_access_key=endpoint.credentials.secret_key,
        config=Config(s3={"addressing_style": "path"}, proxies={}, signature_version="s3v4"),
    )


def _upload(store: RunningVersitygw) -> None:
    with contextlib.closing(_client(store.endpoint)) as client:

        def put(path: str, content: bytes) -> None:
            client.put_object(Bucket=BUCKET, Key=f"{_FOLDER}/{path}", Body=content)

        upload_sparse(granite_files(), put=put, folder=store.data / BUCKET / _FOLDER)


# One file


async def _one_file(rig: _Rig) -> Result:
    endpoint = rig.store.endpoint
    largest = max(granite_files(), key=lambda file: file.size)
    with contextlib.closing(_client(endpoint)) as client:
        url = client.generate_presigned_url(
            "get_object", Params={"Bucket": BUCKET, "Key": f"{_FOLDER}/{largest.path}"}, ExpiresIn=3600
        )
    ours: list[float] = []
    theirs: list[float] = []
    digests: set[str] = set()
    with rig.progress.step(f"hashing {largest.size / _GB:.1f} GB, and the same with curl and openssl"):
        async with _opened(endpoint) as (stores, stored_by_path):
            for _ in range(_TIMES):
                started = time.monotonic()
                digests.add(await stores.sha256(f"{_FOLDER}/", stored_by_path[largest.path], progress=lambda _: None))
                ours.append(time.monotonic() - started)
                started = time.monotonic()
                digests.add(await asyncio.to_thread(_openssl, url))
                theirs.append(time.monotonic() - started)
    return Result(
        bench=f"granite, one file of {largest.size / _GB:.1f} GB",
        figures=(
            Figure("hashed with", largest.size / _GB / min(ours), "GB/s"),
            Figure("curl | openssl dgst -sha256", largest.size / _GB / min(theirs), "GB/s"),
            Figure("rate as a share of that", min(theirs) / min(ours), "", at_least(1)),
        ),
        counts=(Count.exactly("different digests", len(digests), 1),),
    )
