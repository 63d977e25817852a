"""What hostile files cost everybody else: the latency of good versions beside each, as a multiple of that in calm."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from bench.farm import cold_start, populate
from bench.figures import Count, Figure, Result, at_most, percentile
from bench.latency import LONGEST, PAUSE, apply_one
from bench.load import Cluster, collection, upload
from bench.processes import MIB, Operator
from bench.samples import BUCKET, Farm, artifact, prefix
from bench.servers import Servers, servers
from gatehouse.printing.progress import ProgressReporter
from hostileartifacts import hostile_artifacts

__all__ = ["bench_hostility"]


async def bench_hostility(*, others: int, repeats: int, progress: ProgressReporter) -> list[Result]:
    """Applies each hostile artifact ``repeats`` times beside ``others``, and a good version right after each."""
    farm = Farm(others)
    with servers(progress) as running:
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            await cold_start(running, farm, cluster)
            async with running.operator("hostility") as operator:
                await operator.until(
                    lambda now: now.sum("gatehouse_reconciles_total", kind="modelversions") / farm.count,
                    what="the others",
                    within=60,
                )
                return [await _measure(running, farm, cluster, operator, repeats=repeats)]


async def _measure(running: Servers, farm: Farm, cluster: Cluster, operator: Operator, *, repeats: int) -> Result:
    rounds = [each for each in hostile_artifacts(artifact(0)).items() for _ in range(repeats)]
    numbers = itertools.count(farm.count)
    calm, beside = [], []
    async with aclosing(cluster.watch("modelversions", farm.namespace)) as changes:

        async def good(*, after: Mapping[str, Any] | None = None) -> float:
            """Seconds until a new version is ready that is applied right after the one given."""
            number = next(numbers)
            await upload(running.store.url, BUCKET, [(prefix(number), artifact(number))])
            await asyncio.sleep(PAUSE)
            if after is not None:
                await cluster.apply("modelversions", after)
            elapsed, _ = await asyncio.wait_for(apply_one(cluster, farm.version(number), changes), LONGEST)
            return elapsed

        with running.progress.step(f"applying {len(rounds)} hostile versions, a good one beside each"):
            for name, (artifact_format, files) in rounds:
                hostile = _version(farm, next(numbers), name, artifact_format)
                await upload(running.store.url, BUCKET, [(hostile["spec"]["artifact"]["uri"].split("/", 3)[3], files)])
                calm.append(await good())
                beside.append(await good(after=hostile))
                await asyncio.wait_for(_decided(cluster, hostile), LONGEST)
    samples = await operator.samples()
    return Result(
        bench=f"hostile files beside {farm.count}",
        figures=(
            Figure("p50 beside one, of that in calm", percentile(beside, 50) / percentile(calm, 50), "", at_most(2)),
            Figure("p90 beside one, of that in calm", percentile(beside, 90) / percentile(calm, 90), "", at_most(2)),
            Figure("p50 in calm", percentile(calm, 50) * 1000, "ms"),
            Figure("p50 beside one", percentile(beside, 50) * 1000, "ms"),
            Figure("longest beside one", max(beside) * 1000, "ms"),
            Figure("peak memory", operator.usage.peak / MIB, "MiB"),
        ),
        counts=(
            Count.exactly("operators that lead", samples.sum("gatehouse_leader"), 1),
            Count.exactly("parsers that had to be ended", samples.sum("gatehouse_parser_ends_total"), 0),
        ),
    )


def _version(farm: Farm, number: int, name: str, artifact_format: str) -> dict[str, Any]:
    made = farm.version(number)
    made["metadata"]["name"] = f"hostile-{number}-{name}"
    made["spec"]["artifact"] = {"uri": f"s3://{BUCKET}/hostile-{number}/", "format": artifact_format}
    return made


async def _decided(cluster: Cluster, version: Mapping[str, Any]) -> None:
    """Returns when something has come of a version."""
    metadata = version["metadata"]
    path = f"{collection('modelversions', metadata['namespace'])}/{metadata['name']}"
    while (await cluster.send("GET", path)).get("status", {}).get("phase") in (None, "Verifying"):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
