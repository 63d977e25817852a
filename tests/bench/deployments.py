"""Deployments: from a promotion to the first write, from a rollback to the route's weights, and a restart over many.

No Pod runs: what KServe, the Deployment's controller and a gateway would write is written at once by this process, so
that the figures are the operator's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from bench.farm import cold_start, populate
from bench.figures import Count, Figure, Result, at_most, percentile
from bench.load import Cluster, Refused, collection, flood
from bench.processes import Operator, is_idle
from bench.samples import Farm
from bench.scrape import Samples
from bench.servers import Servers, servers
from cluster.routekinds import serve_routes
from gatehouse.printing.progress import ProgressReporter

__all__ = ["bench_deployments"]

_STAGE: Final = "staging"
_REVISION: Final = "gatehouse.dev/revision"
_MERGE: Final = "application/merge-patch+json"
_STARTED: Final = "2026-01-01T00:00:00Z"
_HOST: Final = "split.apps.example"
_LONGEST: Final = 60.0
"""Seconds that one change may take before the bench gives up."""
_WRITTEN: Final = ("modeldeployments", "inferenceservices", "servingruntimes", "httproutes", "controllerrevisions")
_WRITES: Final = ("create", "patch", "apply", "delete")


async def bench_deployments(*, others: int, repeats: int, progress: ProgressReporter) -> list[Result]:
    """Promotes and rolls back ``repeats`` times beside ``others`` converged deployments, and starts again."""
    farm = Farm(2)
    with servers(progress, without=("deployment-controller",)) as running:
        with contextlib.closing(running.plane.client()) as client:
            serve_routes(client)
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            await cold_start(running, farm, cluster)
            labels = {"metadata": {"labels": {"gatehouse.dev/stage": _STAGE}}}
            await cluster.send("PATCH", f"/api/v1/namespaces/{farm.namespace}", labels, content_type=_MERGE)
            rig = _Rig(running, farm, cluster)
            async with _pretending(cluster, farm.namespace):
                measured = await rig.measure(others=others, repeats=repeats)
                return [*measured, await rig.restart(others)]


@dataclass(frozen=True)
class _Rig:
    servers: Servers
    farm: Farm
    cluster: Cluster

    async def measure(self, *, others: int, repeats: int) -> list[Result]:
        """The latencies of changes, beside many deployments that do not change."""
        async with self.servers.operator("deployments") as operator:
            with self.servers.progress.step(f"deploying {others:,} times"):
                names = [f"d{number:05}" for number in range(others)]
                await flood(names, lambda name: self.cluster.create("modeldeployments", self._deployment(name)))
                await operator.until(lambda now: _revisions(now) / others, what="the deployments", within=60 + others)
                await operator.until(is_idle, what="the end of its work", within=60)
            with self.servers.progress.step(f"promoting {repeats} times"):
                promoted, bare = await self._promote(names[0], repeats)
            with self.servers.progress.step(f"rolling back {repeats} times"):
                rolled_back = await self._roll_back(repeats)
            with self.servers.progress.step("bringing a canary in"):
                writes = await self._steps(operator)
        return [
            Result(
                bench=f"deployments beside {others}",
                figures=(
                    Figure("promotion to the new service, p50", percentile(promoted, 50) * 1000, "ms", at_most(100)),
                    Figure("the same, p99", percentile(promoted, 99) * 1000, "ms"),
                    Figure("in bare PATCHes that a watch sees, p50", _ratio(promoted, bare), "times"),
                    Figure("rollback to the weights, p50", percentile(rolled_back, 50) * 1000, "ms", at_most(1000)),
                    Figure("the same, p99", percentile(rolled_back, 99) * 1000, "ms"),
                ),
                counts=(
                    Count("writes of a step, without statuses", writes["others"], 1, 3),
                    Count("statuses of a step and its pause", writes["modeldeployments"], 1, 4),
                ),
            )
        ]

    async def restart(self, others: int) -> Result:
        """A new life of the operator over the deployments: nothing is written."""
        with self.servers.progress.step(f"starting again with {others + 2:,} deployments"):
            async with self.servers.operator("deployments-restart") as operator:
                await operator.until(
                    lambda now: now.sum("gatehouse_reconciles_total", kind="modeldeployments") / (others + 2),
                    what="the deployments",
                    within=60 + others / 10,
                )
                await operator.until(is_idle, what="the end of its work", within=60)
                seconds, cpu = operator.age, operator.usage.cpu
                written = _written(await operator.samples())
        return Result(
            bench=f"restart with {others + 2} deployments",
            figures=(Figure("until idle", seconds, "s"), Figure("CPU", cpu, "s")),
            counts=tuple(Count.exactly(f"writes of {kind}", written[kind], 0) for kind in _WRITTEN),
        )

    async def _promote(self, name: str, repeats: int) -> tuple[list[float], list[float]]:
        """Seconds until a watch sees the new revision's service, and until a watch sees a bare change of it."""
        promoted, bare = [], []
        path = f"{collection('inferenceservices', self.farm.namespace)}/{name}"
        async with aclosing(self.cluster.watch("inferenceservices", self.farm.namespace)) as changes:
            for number in range(repeats):
                version = (number + 1) % 2
                wanted = self._named(version)
                change = self._change(name, {"spec": {"versionRef": {"name": wanted}}})
                promoted.append(await _seen(changes, lambda body, wanted=wanted: _serves(body, name, wanted), change))
                await self._healthy(name, wanted)
                mark = {"metadata": {"labels": {"bench": str(number)}}}
                touch = self.cluster.send("PATCH", path, mark, content_type=_MERGE)
                bare.append(await _seen(changes, lambda body, mark=mark: _marked(body, name, mark), touch))
        return promoted, bare

    async def _roll_back(self, repeats: int) -> list[float]:
        """Seconds from the request until a watch sees the route's weights; both revisions are warm."""
        strategy = {"type": "BlueGreen", "scaleDownDelay": "1h"}
        await self.cluster.create("modeldeployments", self._deployment("split", strategy=strategy))
        revisions = [(await self._healthy("split", self._named(0)))["stable"]["revision"]]
        await self._change("split", {"spec": {"versionRef": {"name": self._named(1)}}})
        revisions.append((await self._healthy("split", self._named(1)))["stable"]["revision"])
        seconds = []
        async with aclosing(self.cluster.watch("httproutes", self.farm.namespace)) as changes:
            for number in range(repeats):
                target = revisions[number % 2]
                asked = {"to": target, "reason": f"bench {number}", "requested-at": str(number), "by": "admin"}
                notes = {f"gatehouse.dev/rollback-{key}": value for key, value in asked.items()}
                before = await self.cluster.send("GET", f"{collection('httproutes', self.farm.namespace)}/split")
                change = self._change("split", {"metadata": {"annotations": notes}})
                shares = _shares(before)
                seconds.append(await _seen(changes, lambda body, shares=shares: _shares(body) != shares, change))
                await self._until("split", lambda status, target=target: _is_stable(status, target))
        return seconds

    async def _steps(self, operator: Operator) -> Mapping[str, float]:
        """What the operator writes for one step of a canary, from the end of a pause to the next pause."""
        steps = [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]
        body = self._deployment("steps", strategy={"type": "Canary", "steps": steps}, hostname="steps.apps.example")
        await self.cluster.create("modeldeployments", body)
        await self._healthy("steps", self._named(0))
        await self._change("steps", {"spec": {"versionRef": {"name": self._named(1)}}})
        waiting = await self._until("steps", lambda status: _paused(status, 1))
        await operator.until(is_idle, what="the first pause", within=30)
        before = _written(await operator.samples())
        resume = {"gatehouse.dev/resume": f"{waiting['canary']['revision']}/1"}
        await self._change("steps", {"metadata": {"annotations": resume}})
        await self._until("steps", lambda status: _paused(status, 3))
        await operator.until(is_idle, what="the second pause", within=30)
        after = _written(await operator.samples())
        counted = {kind: after[kind] - before[kind] for kind in _WRITTEN}
        return {**counted, "others": sum(counted.values()) - counted["modeldeployments"]}

    def _named(self, number: int) -> str:
        name: str = self.farm.version(number)["metadata"]["name"]
        return name

    def _deployment(self, name: str, **spec: Any) -> dict[str, Any]:
        """A deployment of the first version; one with a strategy has a route."""
        routed = {"hostname": _HOST, "gatewayRef": {"name": "public", "namespace": "gateways"}}
        return {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": self.farm.namespace},
            "spec": {
                "modelRef": {"name": self.farm.model(0)},
                "versionRef": {"name": self._named(0)},
                "servedName": "bench",
                **(routed if "strategy" in spec else {}),
                **spec,
            },
        }

    async def _change(self, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        path = f"{collection('modeldeployments', self.farm.namespace)}/{name}"
        return await self.cluster.send("PATCH", path, patch, content_type=_MERGE)

    async def _healthy(self, name: str, version: str) -> dict[str, Any]:
        return await self._until(
            name,
            lambda status: status.get("phase") == "Healthy" and (status.get("stable") or {}).get("version") == version,
        )

    async def _until(self, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The status as soon as a condition holds. Raises ``TimeoutError``, with the status at the end."""
        path, deadline = f"{collection('modeldeployments', self.farm.namespace)}/{name}", time.monotonic() + _LONGEST
        while True:
            status: dict[str, Any] = (await self.cluster.send("GET", path)).get("status", {})
            if holds(status):
                return status
            if time.monotonic() > deadline:
                raise TimeoutError(f"ModelDeployment {name} stays as it is: {status}")
            await asyncio.sleep(0.02)


async def _seen(changes: AsyncIterator[dict[str, Any]], holds: Callable[[dict[str, Any]], bool], change: Any) -> float:
    """Seconds from the start of a change until the watch has told a body for which the condition holds."""
    started = time.monotonic()
    sent = asyncio.ensure_future(change)

    async def told() -> float:
        async for body in changes:
            if holds(body):
                return time.monotonic() - started
        raise TimeoutError("the watch ended")

    elapsed = await asyncio.wait_for(told(), _LONGEST)
    await sent
    return elapsed


def _serves(body: Mapping[str, Any], name: str, version: str) -> bool:
    said = body["metadata"].get("annotations", {}).get("gatehouse.dev/model-version", "")
    return body["metadata"]["name"] == name and said.rpartition("/")[2] == version


def _marked(body: Mapping[str, Any], name: str, mark: Mapping[str, Any]) -> bool:
    wanted = mark["metadata"]["labels"].items()
    return body["metadata"]["name"] == name and body["metadata"].get("labels", {}).items() >= wanted


def _shares(route: Mapping[str, Any]) -> dict[str, int]:
    return {each["name"]: each["weight"] for each in route["spec"]["rules"][0]["backendRefs"] if each["weight"]}


def _is_stable(status: Mapping[str, Any], revision: str) -> bool:
    return bool((status.get("stable") or {}).get("revision") == revision)


def _paused(status: Mapping[str, Any], step: int) -> bool:
    at = ((status.get("canary") or {}).get("step") or {}).get("index")
    return (status.get("phase"), at) == ("Paused", step)


def _ratio(values: list[float], bare: list[float]) -> float:
    return percentile(values, 50) / percentile(bare, 50)


def _revisions(now: Samples) -> float:
    return now.sum("gatehouse_api_requests_total", verb="create", resource="controllerrevisions", code=("200", "201"))


def _written(now: Samples) -> dict[str, float]:
    """Requests that write, by kind."""
    return {
        kind: now.sum("gatehouse_api_requests_total", verb=_WRITES, resource=kind, code=("200", "201"))
        for kind in _WRITTEN
    }


# What KServe, the controller of Deployments and a gateway would write


@contextlib.asynccontextmanager
async def _pretending(cluster: Cluster, namespace: str) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_follow(cluster, namespace, "inferenceservices", _Serving())),
            group.create_task(_follow(cluster, namespace, "httproutes", _accept)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _follow(cluster: Cluster, namespace: str, plural: str, act: Callable[..., Any]) -> None:
    """Acts on each object as soon as a watch tells it. A change in between is told again."""
    async with aclosing(cluster.watch(plural, namespace)) as changes:
        async for body in changes:
            if body["metadata"].get("deletionTimestamp"):
                continue
            with contextlib.suppress(Refused):
                await act(cluster, body)


class _Serving:
    """Each revision of a service becomes available as soon as the service has it."""

    def __init__(self) -> None:
        self._served: dict[str, str] = {}

    async def __call__(self, cluster: Cluster, service: Mapping[str, Any]) -> None:
        name = service["metadata"]["name"]
        revision = service["metadata"].get("annotations", {}).get(_REVISION, "")
        if revision and self._served.get(name) != revision:
            self._served[name] = revision
            await _serve(cluster, service, revision)


async def _serve(cluster: Cluster, service: Mapping[str, Any], revision: str) -> None:
    metadata = service["metadata"]
    name, namespace = f"{metadata['name']}-predictor", metadata["namespace"]
    where = f"{collection('deployments', namespace)}/{name}"
    made = await cluster.apply("deployments", _deployment_of(service, name, revision))
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), 1)
    counted = {"status": {"observedGeneration": made["metadata"]["generation"], **counts}}
    await cluster.send("PATCH", f"{where}/status", counted, content_type=_MERGE)
    status = {
        "conditions": [
            {"type": "PredictorReady", "status": "True", "reason": "NewReplicaSetAvailable"},
            {"type": "Ready", "status": "True"},
        ],
        "modelStatus": {
            "transitionStatus": "UpToDate",
            "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
            "copies": {"totalCopies": 1, "failedCopies": 0},
        },
    }
    path = f"{collection('inferenceservices', namespace)}/{metadata['name']}/status"
    await cluster.send("PATCH", path, {"status": status}, content_type=_MERGE)


def _deployment_of(service: Mapping[str, Any], name: str, revision: str) -> dict[str, Any]:
    labels = {"app": f"isvc.{name}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": service["metadata"]["namespace"]},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {_REVISION: revision}},
                "spec": {"containers": [{"name": "kserve-container", "image": "vllm"}]},
            },
        },
    }


async def _accept(cluster: Cluster, route: Mapping[str, Any]) -> None:
    metadata = route["metadata"]
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": kind,
            "message": "",
            "observedGeneration": metadata["generation"],
            "lastTransitionTime": _STARTED,
        }
        for kind in ("Accepted", "ResolvedRefs")
    ]
    parents = [
        {"parentRef": parent, "controllerName": "example.com/gateway", "conditions": conditions}
        for parent in route["spec"]["parentRefs"]
    ]
    if route.get("status") == {"parents": parents}:
        return
    path = f"{collection('httproutes', metadata['namespace'])}/{metadata['name']}/status"
    await cluster.send("PATCH", path, {"status": {"parents": parents}}, content_type=_MERGE)
