"""The command line of the benches."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from bench.audit import bench_audit
from bench.deployments import bench_deployments
from bench.farms import bench_farm
from bench.figures import Result, details_table, table, to_json
from bench.flux import bench_flux
from bench.gate import bench_gate
from bench.granite_bench import bench_granite
from bench.hostility import bench_hostility
from bench.idle import bench_idle
from bench.kubeflow import bench_kubeflow
from bench.latency import bench_latency
from bench.policies import bench_policies
from bench.rest import ReadScale, bench_rest
from bench.rest_governed import bench_governed
from bench.vllm_fit import VLLM_NEEDED, bench_fit
from gatehouse.printing.progress import ConsoleProgress, ProgressReporter
from gatehouse_local.errors import LocalClusterError
from interrupts import unwind_on_sigterm

__all__ = ["main"]

_NAMES = (
    "idle",
    "gate",
    "audit",
    "policies",
    "cold",
    "restart",
    "latency",
    "deployments",
    "hostility",
    "rest",
    "flux",
    "granite",
)
_ASKED = ("fit", "kubeflow")
"""Only with what they need: vLLM takes gigabytes, and the server of Kubeflow is built from Go."""
_RESULTS = Path(__file__).resolve().parents[2] / "bench-results"
_FLUX_COUNT = 1_000
_STOPPED = 130
_KUBEFLOW_NEEDED = (
    "The bench `kubeflow` needs --kubeflow DIR: a checkout of kubeflow/model-registry in which "
    "`go build -o model-registry .` was run"
)

Bench = Callable[[], Coroutine[Any, Any, list[Result]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for.

    0 when every count is as it must be, 1 when one is not, 2 when a bench did not end, 130 when it was stopped.
    """
    options = _parser().parse_args(arguments)
    unwind_on_sigterm()
    console = Console(width=max(Console().width, 120))
    if "fit" in (options.only or ()) and options.vllm is None:
        console.print(VLLM_NEEDED, highlight=False, markup=False)
        return 2
    if "kubeflow" in (options.only or ()) and options.kubeflow is None:
        console.print(_KUBEFLOW_NEEDED, highlight=False, markup=False)
        return 2
    results: list[Result] = []
    started = datetime.now(UTC)
    failure: Exception | None = None
    try:
        with ConsoleProgress() as progress:
            for bench in _plan(options, progress):
                results += uvloop.run(bench())
    except KeyboardInterrupt:
        console.print("stopped; every server too")
        return _STOPPED
    except (LocalClusterError, TimeoutError, OSError, ValueError, ExceptionGroup) as error:
        failure = error
    console.print(table(results))
    for result in results:
        if result.details:
            console.print(details_table(result))
        for note in result.notes:
            console.print(f"{result.bench}: {note}", highlight=False)
    _write(results, started, console)
    if failure is not None:
        console.print(f"[red]A bench did not end:[/] {failure!r}", highlight=False)
        return 2
    wrong = [
        f"{result.bench}: {count.name}: found {count.found:g}, expected {count.wanted}"
        for result in results
        for count in result.wrong
    ]
    for line in wrong:
        console.print(f"[red]{line}[/]", highlight=False)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS='...'", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=(*_NAMES, *_ASKED), help="this bench and no other; may be given again"
    )
    parser.add_argument("--scale", type=int, default=10_000, metavar="N", help="versions of the largest farm (10000)")
    parser.add_argument("--quick", action="store_true", help="one farm of 300 and ten repeats: does it work?")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="run the operator under cProfile, results to DIR")
    parser.add_argument(
        "--flux",
        type=Path,
        metavar="DIR",
        help="a checkout of fluxcd/source-controller with its `manager` built, to be measured in the same run",
    )
    parser.add_argument(
        "--kubeflow",
        type=Path,
        metavar="DIR",
        help="a checkout of kubeflow/model-registry with its `model-registry` built, to be measured in the same run",
    )
    parser.add_argument(
        "--vllm",
        type=Path,
        metavar="VENV",
        help="a virtual environment with vLLM, for the bench `fit`; no GPU is needed",
    )
    return parser


def _plan(options: argparse.Namespace, progress: ProgressReporter) -> list[Bench]:
    """The benches in order; the largest farm last but two, so that one sees early whether all is well."""
    asked = {"fit": options.vllm, "kubeflow": options.kubeflow}
    names = frozenset(options.only or (*_NAMES, *(name for name in _ASKED if asked[name])))
    quick, profiles = options.quick, options.profile
    scale = 300 if quick else options.scale
    if scale < 1:
        raise ValueError(f"--scale is {scale}, expected at least 1")
    versions, records = (300, 20_000) if quick else (2_000, 1_000_000)
    flux = partial(bench_flux, min(_FLUX_COUNT, scale), checkout=options.flux, progress=progress, profiles=profiles)
    small: dict[str, Bench] = {
        "idle": partial(bench_idle, versions=100, seconds=10 if quick else 60, progress=progress),
        "gate": partial(bench_gate, artifacts=scale, repeats=50 if quick else 500, progress=progress),
        "audit": partial(bench_audit, versions=versions, records=records, progress=progress),
        "latency": partial(bench_latency, others=200, repeats=10 if quick else 60, progress=progress),
        "deployments": partial(
            bench_deployments, others=100 if quick else 1_000, repeats=10 if quick else 60, progress=progress
        ),
        "hostility": partial(bench_hostility, others=200, repeats=1 if quick else 5, progress=progress),
        "rest": partial(_bench_rest, quick=quick, progress=progress),
        "flux": flux,
        "kubeflow": partial(bench_kubeflow, checkout=options.kubeflow, progress=progress),
        "fit": partial(bench_fit, options.vllm, quick=quick, progress=progress),
    }
    large: dict[str, Bench] = {
        "policies": partial(bench_policies, versions=scale, progress=progress, profiles=profiles),
        "granite": partial(bench_granite, whole=not quick, progress=progress),
    }
    farms = [
        partial(bench_farm, count, benches=benches, progress=progress, profiles=profiles)
        for count, benches in sorted(_farms(names, scale, quick=quick).items())
    ]
    return [*_chosen(small, names), *farms, *_chosen(large, names)]


async def _bench_rest(*, quick: bool, progress: ProgressReporter) -> list[Result]:
    """Reads on a database server and on SQLite, and registrations."""
    scale = (
        ReadScale(versions=2_000, repeats=20, requests=600)
        if quick
        else ReadScale(versions=100_000, repeats=300, requests=100_000)
    )
    small = ReadScale(versions=min(scale.versions, 10_000), repeats=scale.repeats, requests=scale.requests // 20)
    return [
        *await bench_rest(database="MariaDB", scale=scale, progress=progress),
        *await bench_rest(database="SQLite", scale=small, progress=progress),
        *await bench_governed(others=200, repeats=10 if quick else 60, progress=progress),
    ]


def _farms(names: Collection[str], scale: int, *, quick: bool) -> dict[int, frozenset[str]]:
    """What is measured on a farm of each size."""
    cold = {scale} if quick else {max(1, scale // 10), max(1, 3 * scale // 10), scale}
    sizes = {"cold": cold, "restart": {scale}}
    wanted = {name: sizes[name] for name in sizes.keys() & names}
    return {
        count: frozenset(name for name in wanted if count in wanted[name]) for count in set().union(*wanted.values())
    }


def _chosen(benches: Mapping[str, Bench], names: Collection[str]) -> list[Bench]:
    return [bench for name, bench in benches.items() if name in names]


def _write(results: Sequence[Result], started: datetime, console: Console) -> None:
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{started:%Y%m%dT%H%M%SZ}.json"
    document = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "machine": {
            "cores": os.cpu_count(),
            "kind": platform.machine(),
            "system": platform.system(),
            "load": os.getloadavg(),
        },
        "python": platform.python_version(),
        "arguments": sys.argv[1:],
        "results": to_json(results),
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    console.print(
        f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}", highlight=False
    )
