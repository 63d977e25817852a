"""1,000 artifacts of three objects, cold: Gatehouse's versions and, for whoever has built it, Flux's Buckets.

Machines differ, and one machine from hour to hour, so the ratio that counts is that of two rates of one run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench.farm import Run, cold_start, make_namespace, populate, sizes, upload_artifacts
from bench.figures import Figure, Result, at_least
from bench.load import Cluster, Refused, flood
from bench.processes import MIB, until_next_look, usage
from bench.samples import BUCKET, Farm, prefix
from bench.servers import Servers, servers
from gatehouse.printing.progress import ProgressReporter
from gatehouse_local.errors import ServerDied
from gatehouse_local.net import LOOPBACK, free_port, http_ready
from gatehouse_local.process import Server, Supervisor
from gatehouse_local.s3 import S3Endpoint

__all__ = ["bench_flux"]

_REFERENCE_RATE: Final = 32.0
"""The best of source-controller 1.9.1 on two cores that also ran the servers: 27 to 32 a second, 9 writes each."""
_NAMESPACE: Final = "flux"
_SECRET: Final = "s3"
_WORKERS: Final = 10
"""The fastest of 2, 10 and 20 in the reference."""


@dataclass(frozen=True, slots=True)
class _FluxRun:
    """Buckets a second until all are Ready, and the CPU seconds of the controller for one."""

    rate: float
    cpu: float


async def bench_flux(
    count: int, *, checkout: Path | None, progress: ProgressReporter, profiles: Path | None = None
) -> list[Result]:
    """``checkout`` is one of fluxcd/source-controller in which ``go build -o manager .`` was run.

    Raises ServerDied without the controller, OSError without its kinds, TimeoutError when its Buckets do not become
    Ready.
    """
    theirs = None
    if checkout is not None:
        with servers(progress) as running:
            async with Cluster(running.plane) as cluster:
                theirs = await _source_controller(running, cluster, checkout, count)
    # A Bucket says where its objects lie, and next to nothing about their making.
    farm = Farm(count, plain=True)
    with servers(progress, profiles=profiles) as running:
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
    await upload_artifacts(running, count)
    with running.progress.step(f"creating {count:,} Buckets of Flux"):
        await _install(cluster, running.store, checkout)
        await flood(range(count), lambda number: cluster.create("buckets", _bucket(running.store, number)))
    supervisor = Supervisor(run=running.home / "run", logs=running.home / "logs")
    manager = _manager(running, checkout)
    with running.progress.step(f"reconciling {count:,} new Buckets"):
        started = time.monotonic()
        try:
            supervisor.ensure(manager)
            while (ready := await _ready(cluster)) < count:
                age = time.monotonic() - started
                if not supervisor.runs(manager):
                    raise ServerDied(manager.name, supervisor.log_file(manager.name), supervisor.tail(manager.name))
                if age > 60 + count / 5:
                    raise TimeoutError(f"{ready} of {count} Buckets are Ready after {age:.0f} s")
                await asyncio.sleep(until_next_look(age, ready / count))
            pid = supervisor.records()[manager.name].identity.pid
            return _FluxRun(count / (time.monotonic() - started), usage(pid).cpu / count)
        finally:
            supervisor.stop(manager.name)


async def _install(cluster: Cluster, store: S3Endpoint, checkout: Path) -> None:
    kinds = sorted((checkout / "config" / "crd" / "bases").glob("*.yaml"))
    if not kinds:
        raise FileNotFoundError(f"no kinds in {checkout / 'config' / 'crd' / 'bases'}: is it source-controller?")
    for kind in kinds:
        body = yaml.safe_load(kind.read_text())
        await cluster.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    await make_namespace(cluster, _NAMESPACE)
    credentials = store.credentials
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


def _bucket(store: S3Endpoint, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "Bucket",
        "metadata": {"name": f"bucket-{number:06}", "namespace": _NAMESPACE},
        "spec": {
            "interval": "1h",
            "provider": "generic",
            "bucketName": BUCKET,
            "endpoint": store.url.partition("://")[2],
            "region": store.region,
            "insecure": True,
            "prefix": prefix(number),
            "secretRef": {"name": _SECRET},
        },
    }


def _manager(running: Servers, checkout: Path) -> Server:
    storage = free_port()
    health = free_port(avoid=frozenset({storage}))
    metrics = free_port(avoid=frozenset({storage, health}))
    folder = running.home / "flux"
    folder.mkdir()
    return Server(
        name="source-controller",
        argv=(
            str(checkout.resolve() / "manager"),
            f"--storage-path={folder}",
            f"--storage-addr={LOOPBACK}:{storage}",
            f"--storage-adv-addr={LOOPBACK}:{storage}",
            f"--health-addr={LOOPBACK}:{health}",
            f"--metrics-addr={LOOPBACK}:{metrics}",
            "--events-addr=",
            f"--concurrent={_WORKERS}",
            "--enable-leader-election=false",
        ),
        env={"KUBECONFIG": str(running.plane.kubeconfig), "RUNTIME_NAMESPACE": _NAMESPACE},
        ready=http_ready(health, "/healthz"),
    )
