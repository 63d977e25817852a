"""What a policy's edit costs when it applies to many versions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from bench.farm import cold_start, populate
from bench.figures import Count, Figure, Result, at_most
from bench.load import Cluster
from bench.processes import MIB, Operator, is_idle
from bench.samples import Farm
from bench.scrape import Samples
from bench.servers import servers
from gatehouse.printing.progress import ProgressReporter

__all__ = ["bench_policies"]

_POLICIES: Final = "/apis/gatehouse.dev/v1alpha1/governancepolicies"
_SPECS: Final[dict[str, dict[str, Any]]] = {
    "artifact": {"artifact": {"formats": ["safetensors"], "remoteCode": "Deny"}, "licenses": ["Apache-2.0", "MIT"]},
    "lineage": {
        "lineage": {"required": ["baseModel", "trainingData", "code.commit"]},
        "rules": [{"name": "small", "expression": "artifact.parameters < 10000000000", "message": "at most 10B"}],
    },
    "edited": {
        "rules": [{"name": "named", "expression": "version.version.startsWith('1.')", "message": "a first one"}]
    },
}
_EDIT: Final = {"rules": [{"name": "named", "expression": "!version.version.endsWith('7')", "message": "no seventh"}]}
"""Denies every tenth version."""


async def bench_policies(*, versions: int, progress: ProgressReporter, profiles: Path | None = None) -> list[Result]:
    """Edits one of three policies that apply to ``versions`` converged versions."""
    farm = Farm(versions)
    with servers(progress, profiles=profiles) as running:
        async with Cluster(running.plane) as cluster:
            await populate(running, farm, cluster)
            for name, spec in _SPECS.items():
                policy = {
                    "apiVersion": "gatehouse.dev/v1alpha1",
                    "kind": "GovernancePolicy",
                    "metadata": {"name": name},
                }
                await cluster.send("POST", _POLICIES, {**policy, "spec": spec})
            await cold_start(running, farm, cluster)
            async with running.operator("policies") as operator:
                await operator.until(lambda now: _reconciles(now) / versions, what="the versions", within=300)
                await operator.until(is_idle, what="the end of its work", within=60)
                with progress.step(f"editing a policy of {versions:,} versions"):
                    return [await _edit(operator, cluster, versions=versions)]


async def _edit(operator: Operator, cluster: Cluster, *, versions: int) -> Result:
    before, used, started = await operator.samples(), operator.usage, operator.age
    patch = {"spec": _EDIT}
    path = f"{_POLICIES}/edited?fieldManager=bench"
    await cluster.send("PATCH", path, patch, content_type="application/merge-patch+json")
    wanted = _reconciles(before) + versions
    await operator.until(lambda now: _reconciles(now) / wanted, what="every version again", within=300)
    await operator.until(is_idle, what="the end of its work", within=60)
    seconds, cpu = operator.age - started, operator.usage.cpu - used.cpu
    await asyncio.sleep(3.0)  # Late writes are counted too.
    after = (await operator.samples()).since(before)
    denied = sum(str(number).endswith("7") for number in range(versions))
    return Result(
        bench=f"policy edit {versions:,}",
        figures=(
            Figure("until every version is judged again and written", seconds, "s", at_most(30)),
            Figure("CPU a version", cpu / versions * 1000, "ms"),
            Figure("peak memory", operator.usage.peak / MIB, "MiB"),
        ),
        counts=(
            Count.exactly("status writes of versions", _writes(after, "patch", "modelversions"), denied),
            Count.exactly(
                "rows of versions written", after.sum("gatehouse_row_writes_total", table="model_versions"), denied
            ),
        ),
    )


def _reconciles(now: Samples) -> float:
    return now.sum("gatehouse_reconciles_total", kind="modelversions")


def _writes(now: Samples, verb: str, resource: str) -> float:
    return now.sum("gatehouse_api_requests_total", verb=verb, resource=resource, code=("200", "201"))
