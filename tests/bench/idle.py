"""What the operator costs when nothing happens."""

from __future__ import annotations

import asyncio

from bench.farm import cold_start, populate
from bench.figures import Count, Figure, Result, at_most
from bench.load import Cluster
from bench.processes import MIB, Operator, is_idle
from bench.samples import Farm
from bench.servers import servers
from gatehouse.printing.progress import ProgressReporter

__all__ = ["bench_idle"]

_SETTLED = 5.0
"""Seconds in which what the start has put off is done."""


async def bench_idle(*, versions: int, seconds: float, progress: ProgressReporter) -> list[Result]:
    """Watches an operator with ``versions`` converged versions for ``seconds``."""
    farm = Farm(versions)
    with servers(progress) as running:
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            await cold_start(running, farm, cluster)
            async with running.operator("idle") as operator:
                await operator.until(
                    lambda now: now.sum("gatehouse_reconciles_total", kind="modelversions") / versions,
                    what="the versions",
                    within=60,
                )
                await operator.until(is_idle, what="the end of its work", within=60)
                with progress.step(f"watching it do nothing for {seconds:g} s"):
                    return [await _watch(operator, versions=versions, seconds=seconds)]


async def _watch(operator: Operator, *, versions: int, seconds: float) -> Result:
    await asyncio.sleep(_SETTLED)
    before, before_counters = operator.usage, await operator.samples()
    await asyncio.sleep(seconds)
    after, counters = operator.usage, await operator.samples()
    written = counters.sum("gatehouse_row_writes_total") - before_counters.sum("gatehouse_row_writes_total")
    return Result(
        bench=f"idle with {versions}",
        figures=(
            Figure("share of a core", (after.cpu - before.cpu) / seconds * 100, "%", at_most(1)),
            Figure("resident memory", after.resident / MIB, "MiB", at_most(120)),
            Figure("peak memory", after.peak / MIB, "MiB"),
        ),
        counts=(Count.exactly("rows written", written, 0),),
    )
