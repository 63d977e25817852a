"""Many versions: made, reconciled from nothing, and found unchanged by an operator that starts again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from bench.load import Cluster, flood, upload
from bench.processes import Operator, is_idle, machine_usage
from bench.samples import BUCKET, Farm, artifact, prefix
from bench.scrape import Samples
from bench.servers import Servers

__all__ = [
    "SETTLE",
    "WRITES",
    "Run",
    "cold_start",
    "make_namespace",
    "populate",
    "restart",
    "sizes",
    "upload_artifacts",
]

WRITES = ("POST", "PUT", "PATCH", "DELETE", "APPLY")
SETTLE = 3.0
"""Seconds after the end in which late writes are still counted; summaries are put off by one second."""
_READY = "Ready to Deploy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one life of the operator cost.

    ``ready`` are the seconds from its start until every version had its status, ``seconds`` until all was done and
    ``settled`` until also the summaries were. ``cpu`` is the operator's in seconds, ``servers`` that of the others by
    program, both until ``seconds``; ``others`` is how many cores were busy with something else meanwhile. ``peak`` is
    in bytes. ``api`` and ``operator`` are what the two counted.
    """

    count: int
    ready: float
    seconds: float
    settled: float
    cpu: float
    peak: int
    servers: Mapping[str, float]
    others: float
    api: Samples
    operator: Samples

    def writes(self, resource: str, subresource: str = "") -> float:
        """Writes of a resource that the API server carried out."""
        return self.api.sum(
            "apiserver_request_total", verb=WRITES, resource=resource, subresource=subresource, code=("200", "201")
        )

    @property
    def refused_writes(self) -> float:
        """Writes that the API server refused, conflicts above all."""
        return self.api.sum("apiserver_request_total", verb=WRITES, code=("409", "422", "429", "500", "504"))


async def populate(servers: Servers, farm: Farm, cluster: Cluster) -> None:
    """Uploads every artifact and applies every object, while the operator is off."""
    await upload_artifacts(servers, farm.count)
    with servers.progress.step(f"creating {farm.count:,} versions of {farm.models} models"):
        await make_namespace(cluster, farm.namespace)
        await flood(farm.registered_models(), lambda body: cluster.create("registeredmodels", body))
        await flood(
            (farm.version(number) for number in range(farm.count)), lambda body: cluster.create("modelversions", body)
        )


async def upload_artifacts(servers: Servers, count: int) -> None:
    """The artifacts of the numbers below ``count``."""
    with servers.progress.step(f"uploading {count:,} artifacts of three objects"):
        await upload(servers.store.url, BUCKET, ((prefix(number), artifact(number)) for number in range(count)))


async def make_namespace(cluster: Cluster, name: str) -> None:
    """Makes a namespace and waits for the ConfigMap that Kubernetes puts into each."""
    await cluster.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    while not [body async for body in cluster.objects("configmaps", name)]:  # noqa: ASYNC110 - another process's doing
        await asyncio.sleep(0.1)


async def cold_start(servers: Servers, farm: Farm, cluster: Cluster) -> Run:
    """From a new operator until every version is Ready to Deploy and every Event is posted.

    Raises ``TimeoutError``, and ``ValueError`` for a version that came to something else.
    """
    count = farm.count
    with servers.progress.step(f"reconciling {count:,} new versions"):
        run = await _life(
            servers,
            cluster,
            name=f"cold-{count}",
            count=count,
            ready=lambda now: _written(now, "patch", "modelversions") / count,
            share=lambda now: min(_written(now, "patch", "modelversions"), _written(now, "create", "events")) / count,
            within=60 + count / 10,
        )
    statuses = [body["status"] async for body in cluster.objects("modelversions", farm.namespace)]
    phases = Counter([status.get("phase") for status in statuses])
    if phases != {_READY: count}:
        other = next((status for status in statuses if status.get("phase") != _READY), None)
        shut = [f"{each['type']}: {each['message']}" for each in (other or {}).get("conditions", ())]
        raise ValueError(f"expected {count} versions {_READY}, found {dict(phases)}; the first other one: {shut}")
    return run


async def restart(servers: Servers, farm: Farm, cluster: Cluster) -> Run:
    """A new life of the operator over versions that are as they should be, until it is idle."""
    count = farm.count
    with servers.progress.step(f"starting again with {count:,} converged versions"):
        return await _life(
            servers,
            cluster,
            name=f"restart-{count}",
            count=count,
            ready=lambda now: now.sum("gatehouse_reconciles_total", kind="modelversions") / count,
            share=is_idle,
            within=60 + count / 100,
        )


async def _life(
    servers: Servers,
    cluster: Cluster,
    *,
    name: str,
    count: int,
    ready: Callable[[Samples], float],
    share: Callable[[Samples], float],
    within: float,
) -> Run:
    """Runs the operator until all is done and has settled."""
    before, machine_before = await cluster.samples(), machine_usage(servers.marks)
    async with servers.operator(name) as operator:
        await operator.until(ready, what=name, within=within)
        ready_after = operator.age
        await operator.until(share, what=name, within=within)
        seconds, cpu = operator.age, operator.usage.cpu
        machine = machine_usage(servers.marks, besides=operator.pid).since(machine_before)
        counters = await _settled(operator)
        settled, peak = operator.age, operator.usage.peak
    return Run(
        count=count,
        ready=ready_after,
        seconds=seconds,
        settled=settled,
        cpu=cpu,
        peak=peak,
        servers=machine.servers,
        others=max(0.0, machine.all - machine.own - cpu - sum(machine.servers.values())) / seconds,
        api=(await cluster.samples()).since(before),
        operator=counters,
    )


async def _settled(operator: Operator) -> Samples:
    """Waits until nothing has been reconciled for a while."""
    reconciles, quiet_since = -1.0, time.monotonic()
    while True:
        now = await operator.samples()
        found = now.sum("gatehouse_reconciles_total")
        if found != reconciles or not is_idle(now):
            reconciles, quiet_since = found, time.monotonic()
        elif time.monotonic() - quiet_since >= SETTLE:
            return now
        await asyncio.sleep(0.25)


def _written(now: Samples, verb: str, resource: str) -> float:
    return now.sum("gatehouse_api_requests_total", verb=verb, resource=resource, code=("200", "201"))


async def sizes(cluster: Cluster, farm: Farm) -> Mapping[str, float]:
    """Mean bytes of a version and of a template as the API server answers them, of the first ones."""
    found = {}
    for plural in ("modelversions", "configmaps"):
        page = await cluster.send("GET", f"{_collection(plural, farm.namespace)}?limit=50")
        bodies = [orjson.dumps(item) for item in page["items"]]
        found[plural] = sum(map(len, bodies)) / len(bodies)
    return found


def _collection(plural: str, namespace: str) -> str:
    group = "/api/v1" if plural == "configmaps" else "/apis/gatehouse.dev/v1alpha1"
    return f"{group}/namespaces/{namespace}/{plural}"
