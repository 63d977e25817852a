"""A registration through the server: from the POST of an artifact to the answer, with the objects written."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import orjson

from bench.farm import cold_start, populate
from bench.figures import Count, Figure, Result, at_most, percentile
from bench.load import Cluster, upload
from bench.rest_client import Door, RestClient, request_bytes
from bench.samples import BUCKET, Farm, artifact, prefix
from bench.servers import servers
from gatehouse.printing.progress import ProgressReporter
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.net import LOOPBACK

__all__ = ["bench_governed"]

_PREFIX: Final = "/api/model_registry/v1alpha3"
_CREATED: Final = 201


async def bench_governed(*, others: int, repeats: int, progress: ProgressReporter) -> list[Result]:
    """Registers ``repeats`` versions one after the other through the server, beside ``others`` and the operator."""
    farm = Farm(others)
    numbers = range(others, others + repeats)
    with servers(progress) as running:
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            await cold_start(running, farm, cluster)
            await upload(running.store.url, BUCKET, ((prefix(number), artifact(number)) for number in numbers))
            async with running.operator("governed") as operator, running.rest_server("governed") as server:
                await operator.until(
                    lambda now: now.sum("gatehouse_reconciles_total", kind="modelversions") / others,
                    what="the others",
                    within=60,
                )
                await server.until(lambda now: float(bool(now.values)), what="the server", within=60)
                door = Door(host=LOOPBACK, port=server.port, token=running.plane.tokens[ADMIN])
                with progress.step(f"registering {repeats} versions"):
                    whole, last = await asyncio.to_thread(_register, door, farm.namespace, numbers)
            made = [body async for body in cluster.objects("modelversions", farm.namespace)]
    return [
        Result(
            bench=f"registration through REST beside {others}",
            figures=(
                Figure("POST that makes a version governed, p50", percentile(last, 50) * 1000, "ms", at_most(150)),
                Figure("the same, p99", percentile(last, 99) * 1000, "ms"),
                Figure("the three POSTs of a client, p50", percentile(whole, 50) * 1000, "ms"),
            ),
            counts=(Count.exactly("ModelVersions", len(made), others + repeats),),
        )
    ]


def _register(door: Door, namespace: str, numbers: range) -> tuple[list[float], list[float]]:
    """Seconds of all three POSTs of each version, and of the one that writes the objects."""
    whole, last = [], []
    with RestClient(door) as client:
        for number in numbers:
            started = time.perf_counter()
            model = _post(client, door, f"/registered_models?namespace={namespace}", {"name": f"REST model {number}"})
            version = _post(
                client,
                door,
                f"/registered_models/{model['id']}/versions",
                {"name": f"1.0.{number}, by REST", "registeredModelId": model["id"]},
            )
            before = time.perf_counter()
            uri = f"s3://{BUCKET}/{prefix(number)}"
            _post(
                client,
                door,
                f"/model_versions/{version['id']}/artifacts",
                {"artifactType": "model-artifact", "uri": uri, "modelFormatName": "safetensors"},
            )
            ended = time.perf_counter()
            whole.append(ended - started)
            last.append(ended - before)
    return whole, last


def _post(client: RestClient, door: Door, path: str, body: dict[str, str]) -> dict[str, Any]:
    answer = client.send(request_bytes(door, "POST", _PREFIX + path, orjson.dumps(body)))
    if answer.status != _CREATED:
        raise ValueError(f"POST {path}: status {answer.status}, expected 201: {answer.body[:300]!r}")
    made: dict[str, Any] = orjson.loads(answer.body)
    return made
