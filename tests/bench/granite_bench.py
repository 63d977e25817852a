"""Granite 3.1 8B FP8 at its full size, behind a store whose objects are sparse files."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.buckets import s3_client, signed_address
from bench.farm import make_namespace
from bench.figures import Count, Figure, Result, at_least, at_most
from bench.granite import SparseFile, granite_files
from bench.granite import upload as upload_sparse
from bench.load import Cluster
from bench.processes import MIB, Operator
from bench.samples import BUCKET, NAMESPACE, PROFILE
from gatehouse.api.model_registry import ObjectStore
from gatehouse.printing.progress import ProgressReporter
from gatehouse.storage.s3.client import S3Store, S3Stores
from gatehouse_local.binaries import Binaries
from gatehouse_local.ephemeral import RunningControlPlane, RunningVersitygw, control_plane, versitygw
from gatehouse_local.install import install_defaults
from gatehouse_local.objects import NAMESPACE as REGISTRY_NAMESPACE
from gatehouse_local.objects import REGISTRY
from gatehouse_local.s3 import S3Endpoint, ensure_bucket

__all__ = ["bench_granite"]

_PREFIX = "granite-3.1-8b-instruct-FP8-dynamic/"
_MODEL = "granite-3.1-8b-instruct-fp8"
_LONGEST = 131_072
_WITHIN = 600.0
_TIMES = 2
"""How often each way hashes the file; the shorter time counts."""
_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rig:
    plane: RunningControlPlane
    store: RunningVersitygw
    home: Path
    progress: ProgressReporter


async def bench_granite(*, whole: bool, progress: ProgressReporter) -> list[Result]:
    """Structure and verdicts, one file against ``curl | openssl``, and with ``whole`` the content of the model."""
    with _rig(progress) as rig:
        results = [await _one_file(rig)]
        async with Cluster(rig.plane) as cluster, _operator(rig) as operator:
            results.insert(0, await _structure(rig, cluster, operator))
            if whole:
                results.append(await _content(rig, cluster, operator))
    return results


@contextlib.contextmanager
def _rig(progress: ProgressReporter) -> Iterator[_Rig]:
    binaries = Binaries(progress=progress)
    with contextlib.ExitStack() as stack:
        with progress.step("starting the control plane and versitygw"):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatehouse-bench-")))
            plane = stack.enter_context(control_plane(binaries))
            store = stack.enter_context(versitygw(binaries))
            ensure_bucket(store.endpoint, BUCKET)
            _upload(store, granite_files())
            with contextlib.closing(plane.client()) as client:
                install_defaults(client, endpoint=store.endpoint, database=None)
        yield _Rig(plane=plane, store=store, home=home, progress=progress)


def _upload(store: RunningVersitygw, files: list[SparseFile]) -> None:
    with s3_client(store.endpoint) as client:

        def put(path: str, content: bytes) -> None:
            client.put_object(Bucket=BUCKET, Key=_PREFIX + path, Body=content)

        upload_sparse(files, put=put, folder=store.data / BUCKET / _PREFIX)


def _operator(rig: _Rig) -> Operator:
    return Operator(rig.plane, data=rig.home / "data", log=rig.home / "operator.log")


# One file


async def _one_file(rig: _Rig) -> Result:
    endpoint = rig.store.endpoint
    largest = max(granite_files(), key=lambda file: file.size)
    address = signed_address(endpoint, BUCKET, _PREFIX + largest.path)
    ours: list[float] = []
    theirs: list[float] = []
    digests: set[str] = set()
    with rig.progress.step(f"hashing {largest.size / _GB:.1f} GB here, and with curl and openssl"):
        async with _opened(endpoint) as store:
            listing = await store.list(_PREFIX, limit=100)
            stored = next(each for each in listing.objects if each.path == largest.path) if listing else None
            if stored is None:
                raise LookupError(f"{largest.path} is not in the listing of {_PREFIX}")
            for _ in range(_TIMES):
                started = time.monotonic()
                digests.add(await store.sha256(_PREFIX, stored, progress=lambda _: None))
                ours.append(time.monotonic() - started)
                started = time.monotonic()
                digests.add(await _curl_openssl(address))
                theirs.append(time.monotonic() - started)
    return Result(
        bench=f"granite, a file of {largest.size / _GB:.1f} GB",
        figures=(
            Figure("hashed", largest.size / _GB / min(ours), "GB/s"),
            Figure("curl | openssl dgst -sha256", largest.size / _GB / min(theirs), "GB/s"),
            Figure("rate as a share of that", min(theirs) / min(ours), "", at_least(1)),
        ),
        counts=(Count.exactly("digests that the two came to", len(digests), 1),),
    )


@asynccontextmanager
async def _opened(endpoint: S3Endpoint) -> AsyncIterator[S3Store]:
    stores = S3Stores(_Uncounted())
    place = ObjectStore(uri_prefix=f"s3://{BUCKET}/", endpoint=endpoint.url, region=endpoint.region)
    credentials = (endpoint.credentials.access_key, endpoint.credentials.secret_key)
    try:
        yield stores.open(place, bucket=BUCKET, credentials=credentials, ca_pem=None)
    finally:
        await stores.aclose()


class _Uncounted:
    """Metrics of a store that nobody reads."""

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def received(self, amount: int) -> None:
        """Nothing."""


async def _curl_openssl(address: str) -> str:
    shell = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        'curl --silent --fail --show-error "$1" | openssl dgst -sha256',
        "sh",
        address,
        stdout=subprocess.PIPE,
    )
    output, _ = await shell.communicate()
    return output.decode().rpartition("= ")[2].strip()


# The operator


async def _structure(rig: _Rig, cluster: Cluster, operator: Operator) -> Result:
    """Two versions of the same artifact, checked without reading its content."""
    await make_namespace(cluster, NAMESPACE)
    await _verify(cluster, content=False)
    await cluster.create("registeredmodels", _object("RegisteredModel", _MODEL, {"displayName": "Granite"}))
    await operator.until(
        lambda now: now.sum("gatehouse_reconciles_total", kind="registeredmodels"), what="the model", within=60
    )
    before = await operator.samples()
    with rig.progress.step("checking the structure of 8 GB"):
        fits = await _until(cluster, _version("granite"), "hardware")
    spent = (await operator.samples()).since(before)
    too_long = await _until(cluster, _version("granite-too-long", max_model_len=_LONGEST), "hardware")
    probes = spent.sum("gatehouse_reconciles_total", kind="modelregistries")
    return Result(
        bench="granite, structure",
        figures=(
            Figure("parameters", fits["artifact"]["parameters"]),
            Figure("weights", fits["hardware"]["weightsBytes"], "bytes"),
        ),
        counts=(
            Count("requests", spent.sum("gatehouse_store_requests_total") - probes, 2, 12),
            Count("bytes read", spent.sum("gatehouse_store_read_bytes_total"), 1, 2 * MIB),
            Count.exactly(f"verdict on {PROFILE} is Fits", fits["hardware"]["verdict"] == "Fits", True),
            Count("largest number of tokens that fits", fits["hardware"]["maxModelLen"], 60_000, 80_000),
            Count.exactly(
                f"verdict for {_LONGEST} tokens is DoesNotFit", too_long["hardware"]["verdict"] == "DoesNotFit", True
            ),
        ),
    )


async def _content(rig: _Rig, cluster: Cluster, operator: Operator) -> Result:
    """Every byte of the model."""
    size = sum(file.size for file in granite_files())
    await cluster.send("DELETE", _path("modelversions", NAMESPACE, "granite-too-long"))
    before = operator.usage
    operator.forget_peak()
    await _verify(cluster, content=True)
    started = time.monotonic()
    with rig.progress.step(f"hashing {size / _GB:.1f} GB"):
        status = await _until(cluster, _version("granite", requested="now"), "template")
    seconds, after = time.monotonic() - started, operator.usage
    return Result(
        bench=f"granite, all {size / _GB:.1f} GB",
        figures=(
            Figure("from asking to Ready to Deploy", seconds, "s"),
            Figure("hashed", size / _GB / seconds, "GB/s"),
            Figure("cores kept busy by the operator", (after.cpu - before.cpu) / seconds),
            Figure("more memory than before", (after.peak - before.resident) / MIB, "MiB", at_most(128)),
        ),
        counts=(
            Count.exactly("phase is Ready to Deploy", status["phase"] == "Ready to Deploy", True),
            Count.exactly("bytes of files", status["artifact"]["totalBytes"], size),
        ),
    )


async def _verify(cluster: Cluster, *, content: bool) -> None:
    """Has the registry read content or not. Checksums of the store are never trusted: they would spare the reading."""
    await cluster.send(
        "PATCH",
        _path("modelregistries", REGISTRY_NAMESPACE, REGISTRY),
        {"spec": {"verification": {"content": content, "trustStoreChecksums": False}}},
        content_type="application/merge-patch+json",
    )


async def _until(cluster: Cluster, version: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Applies a version and waits until its status has that part."""
    async with aclosing(cluster.watch("modelversions", NAMESPACE)) as changes, asyncio.timeout(_WITHIN):
        await cluster.apply("modelversions", version)
        async for body in changes:
            status: dict[str, Any] = body.get("status", {})
            if body["metadata"]["name"] == version["metadata"]["name"] and part in status:
                return status
    raise TimeoutError(f"the watch ended before {version['metadata']['name']} had a status with {part}")


def _version(name: str, *, max_model_len: int | None = None, requested: str | None = None) -> dict[str, Any]:
    annotations = {} if requested is None else {"gatehouse.dev/reconcile-requested-at": requested}
    spec = {
        "modelRef": {"name": _MODEL},
        "version": name,
        "artifact": {"uri": f"s3://{BUCKET}/{_PREFIX}", "format": "safetensors", "quantization": "FP8-dynamic"},
        "hardwareProfileRef": {"name": PROFILE},
        "serving": {} if max_model_len is None else {"maxModelLen": max_model_len},
    }
    return _object("ModelVersion", name, spec, annotations=annotations)


def _object(
    kind: str, name: str, spec: Mapping[str, Any], *, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": dict(annotations or {})}
    return {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": dict(spec)}


def _path(plural: str, namespace: str, name: str) -> str:
    return f"/apis/gatehouse.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}"
