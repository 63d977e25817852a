"""What a client that does nothing else needs for the same lists and writes: the figures to compare with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.farm import make_namespace
from bench.load import Cluster, flood
from bench.processes import machine_usage
from bench.samples import Farm
from bench.servers import Servers
from gatehouse_local.controlplane import OPERATOR_USER

__all__ = ["BareRun", "bare_run", "list_cpu"]

_NAMESPACE = "bare"


@dataclass(frozen=True, slots=True)
class _Written:
    """What the operator wrote for one version."""

    config_map: Mapping[str, Any]
    event: Mapping[str, Any]
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BareRun:
    """Versions a second, and the CPU seconds of servers and client that one version took."""

    rate: float
    cpu: float


async def bare_run(servers: Servers, farm: Farm, cluster: Cluster, *, count: int) -> BareRun:
    """For each version a ConfigMap, a status and an Event like those that the operator wrote."""
    written = await _sample(cluster, farm)
    bare = Farm(count, namespace=_NAMESPACE)
    await make_namespace(cluster, _NAMESPACE)
    created: list[dict[str, Any]] = []

    async def create(number: int) -> None:
        created.append(await cluster.create("modelversions", bare.version(number)))

    with servers.progress.step(f"making the writes of {count:,} versions without an operator"):
        await flood(range(count), create)
        # Admission lets the operator's user write statuses, and nobody else.
        async with Cluster(servers.plane, user=OPERATOR_USER) as operator:
            started, before = time.monotonic(), machine_usage(servers.marks)
            await flood(created, lambda version: _write(operator, version, written))
            seconds, used = time.monotonic() - started, machine_usage(servers.marks).since(before)
    return BareRun(count / seconds, (used.own + sum(used.servers.values())) / count)


async def list_cpu(cluster: Cluster, farm: Farm) -> float:
    """CPU seconds of this process to list and decode every version of the farm once."""
    before = time.process_time()
    count = 0
    async for _ in cluster.objects("modelversions", farm.namespace):
        count += 1
    if count != farm.count:
        raise RuntimeError(f"listed {count} versions, expected {farm.count}")
    return time.process_time() - before


async def _sample(cluster: Cluster, farm: Farm) -> _Written:
    version = await anext(cluster.objects("modelversions", farm.namespace))
    template = version["status"]["template"]["name"]
    config_map = await cluster.send("GET", f"/api/v1/namespaces/{farm.namespace}/configmaps/{template}")
    event = await anext(cluster.objects("events", farm.namespace))
    return _Written(_without_server_fields(config_map), _without_server_fields(event), version["status"])


def _without_server_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"labels", "annotations", "ownerReferences"}
    return {**body, "metadata": {name: value for name, value in body["metadata"].items() if name in kept}}


async def _write(cluster: Cluster, version: Mapping[str, Any], written: _Written) -> None:
    metadata = version["metadata"]
    owner = {**written.config_map["metadata"]["ownerReferences"][0], "name": metadata["name"], "uid": metadata["uid"]}
    config_map = {
        **written.config_map,
        "metadata": {
            **written.config_map["metadata"],
            "name": metadata["name"],
            "namespace": _NAMESPACE,
            "ownerReferences": [owner],
        },
    }
    about = {**written.event["involvedObject"], "name": metadata["name"], "namespace": _NAMESPACE}
    event = {
        **written.event,
        "metadata": {"name": f"{metadata['name']}.{metadata['uid']}", "namespace": _NAMESPACE},
        "involvedObject": {**about, "uid": metadata["uid"]},
    }
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": "/status", "value": written.status},
    ]
    await cluster.create("configmaps", config_map)
    await cluster.send(
        "PATCH",
        f"/apis/gatehouse.dev/v1alpha1/namespaces/{_NAMESPACE}/modelversions/{metadata['name']}/status",
        patch,
        content_type="application/json-patch+json",
    )
    await cluster.create("events", event)
