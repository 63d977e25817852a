"""1,000 artifacts of three objects, cold: Gatehouse's versions and, for whoever has built it, Flux's Buckets.

Machines differ, and one machine from hour to hour, so the ratio that counts is that of two rates of one run.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench.farm import Run, cold_start, make_namespace, populate, sizes
from bench.figures import Figure, Result, at_least
from bench.load import Cluster, Refused, flood, upload
from bench.processes import MIB, usage
from bench.samples import BUCKET, Farm, artifact, prefix
from bench.servers import Servers, servers
from gatehouse.local.net import LOOPBACK, free_port
from gatehouse.local.process import base_environment
from gatehouse.local.progress import Progress

__all__ = ["bench_flux"]

_REFERENCE_RATE: Final = 32.0
"""The best of source-controller 1.9.1 on two cores that also ran the servers: 27 to 32 a second, 9 writes each."""
_NAMESPACE: Final = "flux"
_SECRET: Final = "s3"
_WORKERS: Final = 10
"""The fastest of 2, 10 and 20 in the reference."""
_STOP_SECONDS: Final = 30.0
_MANAGER: Final = "manager"
_LOG: Final = "flux.log"


@dataclass(frozen=True, slots=True)
class _FluxRun:
    """Buckets a second until all are Ready, and the CPU seconds of the controller for one."""

    rate: float
    cpu: float


async def bench_flux(count: int, *, checkout: Path | None, progress: Progress) -> list[Result]:
    """``checkout`` is one of fluxcd/source-controller in which ``go build -o manager .`` was run.

    Raises OSError without the controller or its kinds, TimeoutError when its Buckets do not become Ready.
    """
    theirs = None
    if checkout is not None:
        with servers(progress) as running:
            async with Cluster(running.plane) as cluster:
                theirs = await _source_controller(running, cluster, checkout, count)
    # A Bucket says where its objects lie, and nothing about their making.
    farm = Farm(count, plain=True)
    with servers(progress) as running:
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            ours = await cold_start(running, farm, cluster)
            object_bytes = (await sizes(cluster, farm))["modelversions"]
    return [_result(ours, theirs, object_bytes=object_bytes)]


def _result(run: Run, theirs: _FluxRun | None, *, object_bytes: float) -> Result:
    rate = run.count / run.ready
    return Result(
        bench=f"flux {run.count:,}",
        figures=(
            Figure("versions a second until all are ready", rate, "/s"),
            *_compared(rate, theirs),
            Figure("writes of the object each (Flux: 9)", run.writes("modelversions", "status") / run.count),
            Figure("CPU each (Flux: 16 ms)", run.cpu / run.count * 1000, "ms"),
            Figure("peak memory (Flux: 217 MiB)", run.peak / MIB, "MiB"),
            Figure("size of a version as the API server answers it", object_bytes, "bytes"),
        ),
        notes=() if theirs else ("Flux's rate is that of another day; `--flux DIR` measures it in the same run",),
    )


def _compared(rate: float, theirs: _FluxRun | None) -> Sequence[Figure]:
    if theirs is None:
        return (
            Figure(f"times Flux's best rate of {_REFERENCE_RATE:g} a second", rate / _REFERENCE_RATE, "", at_least(3)),
        )
    return (
        Figure("Flux's Buckets a second until all are Ready", theirs.rate, "/s"),
        Figure("times Flux's rate", rate / theirs.rate, "", at_least(3)),
        Figure("CPU of Flux for each", theirs.cpu * 1000, "ms"),
    )


async def _source_controller(running: Servers, cluster: Cluster, checkout: Path, count: int) -> _FluxRun:
    with running.progress.step(f"uploading {count:,} artifacts of three objects"):
        await upload(running.store.url, BUCKET, ((prefix(number), artifact(number)) for number in range(count)))
    with running.progress.step(f"creating {count:,} Buckets of Flux"):
        await _install(running, cluster, checkout)
        await flood(range(count), lambda number: cluster.create("buckets", _bucket(running, number)))
    with running.progress.step(f"reconciling {count:,} new Buckets"), _manager(running, checkout) as manager:
        started = time.monotonic()
        while (ready := await _ready(cluster)) < count:
            age = time.monotonic() - started
            if manager.poll() is not None:
                raise OSError(_died(running, checkout, manager.returncode))
            if age > 60 + count / 5:
                raise TimeoutError(f"{ready} of {count} Buckets are Ready after {age:.0f} s")
            # A look costs the API server some 50 ms: after half of the time that the rest will take at the rate so far.
            rest = age * (count - ready) / ready if ready else age
            await asyncio.sleep(min(max(rest / 2, 0.25), 5.0))
        return _FluxRun(count / (time.monotonic() - started), usage(manager.pid).cpu / count)


async def _install(running: Servers, cluster: Cluster, checkout: Path) -> None:
    kinds = sorted((checkout / "config" / "crd" / "bases").glob("*.yaml"))
    if not kinds:
        raise FileNotFoundError(f"no kinds in {checkout / 'config' / 'crd' / 'bases'}: is it source-controller?")
    for kind in kinds:
        body = yaml.safe_load(kind.read_text())
        await cluster.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    await make_namespace(cluster, _NAMESPACE)
    credentials = running.store.credentials
    await cluster.create(
        "secrets",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _SECRET, "namespace": _NAMESPACE},
            "stringData": {"accesskey": credentials.access_key, "secretkey": credentials.secret_key},
        },
    )
    async with asyncio.timeout(30):
        while not await _served(cluster):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.2)


async def _served(cluster: Cluster) -> bool:
    """Whether the API server has taken the kinds up."""
    try:
        return await _ready(cluster) == 0
    except Refused:
        return False


async def _ready(cluster: Cluster) -> int:
    ready = 0
    async for bucket in cluster.objects("buckets", _NAMESPACE):
        conditions = bucket.get("status", {}).get("conditions", ())
        ready += any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready


def _bucket(running: Servers, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "Bucket",
        "metadata": {"name": f"bucket-{number:06}", "namespace": _NAMESPACE},
        "spec": {
            "interval": "1h",
            "provider": "generic",
            "bucketName": BUCKET,
            "endpoint": running.store.url.partition("://")[2],
            "region": running.store.region,
            "insecure": True,
            "prefix": prefix(number),
            "secretRef": {"name": _SECRET},
        },
    }


def _died(running: Servers, checkout: Path, code: int) -> str:
    tail = "\n".join((running.home / _LOG).read_text(errors="replace").splitlines()[-5:])
    return f"{checkout / _MANAGER} ended with code {code}:\n{tail}"


@contextmanager
def _manager(running: Servers, checkout: Path) -> Iterator[subprocess.Popen[bytes]]:
    storage, health, metrics = (f"{LOOPBACK}:{free_port()}" for _ in range(3))
    folder = running.home / "flux"
    folder.mkdir()
    command = [
        str(checkout / _MANAGER),
        f"--storage-path={folder}",
        f"--storage-addr={storage}",
        f"--storage-adv-addr={storage}",
        f"--health-addr={health}",
        f"--metrics-addr={metrics}",
        "--events-addr=",
        f"--concurrent={_WORKERS}",
        "--enable-leader-election=false",
    ]
    environment = base_environment() | {"KUBECONFIG": str(running.plane.kubeconfig), "RUNTIME_NAMESPACE": _NAMESPACE}
    with (running.home / _LOG).open("wb") as log:
        manager = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        yield manager
    finally:
        manager.terminate()
        try:
            manager.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            manager.kill()
            manager.wait()
