"""The benches of many versions: ``cold`` and ``restart``. One farm is made once and serves both."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.bare import BareRun, bare_run, list_cpu
from bench.farm import Run, cold_start, populate, restart, sizes
from bench.figures import Count, Figure, Result, at_least, at_most
from bench.load import Cluster
from bench.processes import MIB
from bench.samples import Farm
from bench.servers import servers
from gatehouse.printing.progress import ProgressReporter

__all__ = ["bench_farm"]

FILES = 3
_BARE = 2_000
_LISTS = 5
_SUMMED_UP_EVERY = 30.0
"""Seconds, while versions keep changing."""
_SUMMARIES = ("registeredmodels", "modelregistries", "hardwareprofiles", "governancepolicies")


async def bench_farm(
    count: int, *, benches: frozenset[str], progress: ProgressReporter, profiles: Path | None = None
) -> list[Result]:
    """Makes ``count`` versions and takes the figures of the benches that are asked for."""
    farm = Farm(count)
    results = []
    with servers(progress, profiles=profiles) as running:
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            cold = await cold_start(running, farm, cluster)
            if "restart" in benches:
                bytes_of = await sizes(cluster, farm)
                again = await restart(running, farm, cluster)
                listed = [await list_cpu(cluster, farm) for _ in range(_LISTS)]
                results.append(_restart_result(again, object_bytes=bytes_of["modelversions"], listed=median(listed)))
            if "cold" in benches:
                bare = await bare_run(running, farm, cluster, count=min(count, _BARE))
                results.insert(0, _cold_result(cold, farm, bare=bare))
    return results


def _cold_result(run: Run, farm: Farm, *, bare: BareRun) -> Result:
    count, rate = run.count, run.count / run.seconds
    all_cpu = (run.cpu + sum(run.servers.values())) / count
    return Result(
        bench=f"cold {count:,}",
        figures=(
            Figure("versions a second, from the start of the process", rate, "/s"),
            Figure("bare client making the same writes", bare.rate, "/s"),
            Figure("rate as a share of the bare client's", rate / bare.rate, "", at_least(0.5)),
            Figure("the same by CPU of all that took part", bare.cpu / all_cpu),
            Figure("CPU a version", run.cpu / count * 1000, "ms"),
            *(
                Figure(f"CPU of {name} a version", cpu / count * 1000, "ms")
                for name, cpu in sorted(run.servers.items())
            ),
            Figure("cores busy with something else", run.others),
            Figure("peak memory", run.peak / MIB, "MiB", at_most(400)),
            Figure("all, with the summaries", run.settled, "s"),
        ),
        counts=(
            Count.exactly(
                "rows of versions written",
                run.operator.sum("gatehouse_row_writes_total", table="model_versions"),
                count,
            ),
            Count.exactly(
                "rows of files written",
                run.operator.sum("gatehouse_row_writes_total", table="artifact_files"),
                FILES * count,
            ),
            Count.exactly(
                "rows of history written", run.operator.sum("gatehouse_row_writes_total", table="history"), count
            ),
            Count.exactly("ConfigMaps written", run.writes("configmaps"), count),
            Count.exactly("status writes of versions", run.writes("modelversions", "status"), count),
            Count.exactly("Events of versions", _events(run), count),
            Count.exactly("objects listed and read", _store(run, "list", "read", "head"), (1 + FILES) * count),
            Count("writes of summaries", _summaries(run), 0, _most_summaries(run, farm)),
            Count.exactly("writes refused", run.refused_writes, 0),
        ),
    )


def _events(run: Run) -> float:
    """Those of versions: models, profiles, policies and the registry post one each as they become ready."""
    others = run.operator.sum("gatehouse_cached_objects", kind=_SUMMARIES)
    return run.writes("events") - others


def _store(run: Run, *operations: str) -> float:
    return run.operator.sum("gatehouse_store_requests_total", operation=operations) - _probes(run)


def _probes(run: Run) -> float:
    """The registry lists one name of its store whenever it is reconciled."""
    return run.operator.sum("gatehouse_reconciles_total", kind="modelregistries")


def _summaries(run: Run) -> float:
    return sum(run.writes(resource, "status") for resource in _SUMMARIES)


def _most_summaries(run: Run, farm: Farm) -> float:
    """The first of each; then one every half minute, and a last one, for each whose count changes: models, a registry,
    a profile and a policy.
    """
    counting = farm.models + 3
    rounds = run.settled // _SUMMED_UP_EVERY + 2
    return counting * rounds + run.operator.sum("gatehouse_cached_objects", kind=_SUMMARIES)


def _restart_result(run: Run, *, object_bytes: float, listed: float) -> Result:
    """``listed`` is the CPU in seconds of a client that lists and decodes the same versions."""
    writes = sum(
        run.writes(resource, subresource)
        for resource in ("modelversions", *_SUMMARIES, "configmaps", "events", "secrets")
        for subresource in ("", "status")
    )
    return Result(
        bench=f"restart {run.count:,}",
        figures=(
            Figure("CPU until idle", run.cpu, "s"),
            Figure("bare client that lists and decodes the same versions: CPU", listed, "s"),
            Figure("CPU as a multiple of the bare client's", run.cpu / listed, "", at_most(8.5)),
            Figure("peak memory", run.peak / MIB, "MiB", at_most(250)),
            Figure("until idle", run.seconds, "s"),
            Figure("size of a version as the API server answers it", object_bytes, "bytes"),
        ),
        counts=(
            Count.exactly("writes to the API server", writes, 0),
            Count.exactly("rows written", run.operator.sum("gatehouse_row_writes_total"), 0),
            Count.exactly("objects read", _store(run, "read", "head", "list"), 0),
            Count.exactly(
                "reconciles of versions",
                run.operator.sum("gatehouse_reconciles_total", kind="modelversions"),
                run.count,
            ),
            Count.exactly("writes refused", run.refused_writes, 0),
        ),
    )
