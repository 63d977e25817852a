"""From the apply of one version to Ready to Deploy, as a watcher sees it, on a system that is idle otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from bench.farm import cold_start, populate
from bench.figures import Count, Figure, Result, at_most, percentile
from bench.load import Cluster, upload
from bench.samples import BUCKET, Farm, artifact, prefix
from bench.servers import Servers, servers
from gatehouse.printing.progress import ProgressReporter

__all__ = ["LONGEST", "PAUSE", "apply_one", "bench_latency"]

PAUSE = 1.3
"""Seconds between two: the model, the profile and the registry have counted the last one by then."""
LONGEST = 30.0
"""Seconds that one may take before the bench gives up."""


async def bench_latency(*, others: int, repeats: int, progress: ProgressReporter) -> list[Result]:
    """Applies ``repeats`` versions one after the other beside ``others``."""
    farm = Farm(others)
    with servers(progress) as running:
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            await cold_start(running, farm, cluster)
            seconds, seen = await _repeat(running, farm, cluster, repeats)
    return [_result(seconds, seen, others=others)]


async def _repeat(running: Servers, farm: Farm, cluster: Cluster, repeats: int) -> tuple[list[float], list[int]]:
    numbers = range(farm.count, farm.count + repeats)
    await upload(running.store.url, BUCKET, ((prefix(number), artifact(number)) for number in numbers))
    seconds, seen = [], []
    async with (
        running.operator("latency") as operator,
        aclosing(cluster.watch("modelversions", farm.namespace)) as changes,
    ):
        await operator.until(
            lambda now: now.sum("gatehouse_reconciles_total", kind="modelversions") / farm.count,
            what="the others",
            within=60,
        )
        with running.progress.step(f"applying {repeats} versions, one at a time"):
            for number in numbers:
                await asyncio.sleep(PAUSE)
                elapsed, statuses = await asyncio.wait_for(apply_one(cluster, farm.version(number), changes), LONGEST)
                seconds.append(elapsed)
                seen.append(statuses)
    return seconds, seen


async def apply_one(
    cluster: Cluster, version: dict[str, Any], changes: AsyncIterator[dict[str, Any]]
) -> tuple[float, int]:
    """Seconds until a version is ready, and how many statuses the watcher saw on the way."""
    started = time.monotonic()
    applied = asyncio.create_task(cluster.apply("modelversions", version))
    statuses = 0
    async for body in changes:
        if body["metadata"]["name"] != version["metadata"]["name"] or "phase" not in body.get("status", {}):
            continue
        statuses += 1
        if body["status"]["phase"] == "Ready to Deploy":
            break
    elapsed = time.monotonic() - started
    await applied
    return elapsed, statuses


def _result(seconds: list[float], seen: list[int], *, others: int) -> Result:
    return Result(
        bench=f"latency beside {others}",
        figures=(
            Figure("p50 (Flux: 60 ms at its best, 799 by default)", percentile(seconds, 50) * 1000, "ms", at_most(150)),
            Figure("p99", percentile(seconds, 99) * 1000, "ms", at_most(500)),
            Figure("shortest", min(seconds) * 1000, "ms"),
            Figure("repeats", len(seconds)),
        ),
        counts=(Count.exactly("statuses until ready, each", max(seen), 1),),
    )
