"""The fit held against a vLLM that computes here and now, without a GPU: limits, weights and caches of known models.

``tests/bench/vllm_records.py`` runs inside the virtual environment that ``--vllm`` names, and answers with records like
those of ``tests/unit/domain/hardware/vllm/runs.jsonl``, whose configurations it is given.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.figures import Count, Figure, Result
from gatehouse.domain.hardware.dimensions import limit_named
from gatehouse.domain.hardware.kv_cache import CacheLayout
from gatehouse.domain.hardware.weights import estimated_bytes
from gatehouse.printing.progress import ProgressReporter
from vllmruns import DATA, Run, configurations, run_of

__all__ = ["VLLM_NEEDED", "Difference", "bench_fit", "differences", "requests", "result_of"]

VLLM_NEEDED: Final = """\
--only fit needs --vllm VENV, a virtual environment with vLLM on any machine with Linux and a C compiler, without a GPU:
    python3 -m venv VENV && VENV/bin/pip install vllm==0.33.0
or, as most of what vLLM asks for is not imported, about 7 GB instead of 12:
    VENV/bin/pip install torch==2.14.0 && VENV/bin/pip install --no-deps torchvision==0.29.0 vllm==0.33.0
and then the packages that `VENV/bin/python tests/bench/vllm_records.py < /dev/null` and its records name as missing"""

_SCRIPT: Final = Path(__file__).with_name("vllm_records.py")
_QUICK: Final = ("meta-llama__Llama-3.2-1B", "ai21labs__Jamba-v0.1", "google__gemma-2-9b-it", "openai__gpt-oss-20b")
_WITHIN: Final = 900.0
"""Seconds for one record; the first also imports vLLM and all that it needs."""
_LONGEST_LINE: Final = 2**20
_CLOSE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing of one run that is not the same: ``vllm`` and ``gatehouse`` as numbers, or what was said instead."""

    configuration: str
    size: int
    what: str
    vllm: int | str | None
    gatehouse: int | str | None

    @property
    def percent(self) -> float | None:
        """What Gatehouse is above vLLM; less than nothing where it is below."""
        if isinstance(self.vllm, int) and isinstance(self.gatehouse, int) and self.vllm:
            return round(100 * (self.gatehouse - self.vllm) / self.vllm, 2)
        return None

    def row(self) -> dict[str, Any]:
        """As printed, and as JSON has it."""
        return {
            "configuration": self.configuration,
            "GPUs": self.size,
            "what": self.what,
            "vLLM": self.vllm,
            "Gatehouse": self.gatehouse,
            "percent": self.percent,
        }


async def bench_fit(venv: Path | None, *, quick: bool, progress: ProgressReporter) -> list[Result]:
    """Asks the vLLM of ``venv`` for every configuration, or with ``quick`` for a few.

    Raises ValueError without a virtual environment, OSError where its script ends early, TimeoutError where one record
    takes too long.
    """
    if venv is None:
        raise ValueError(VLLM_NEEDED)
    python = venv / "bin" / "python"
    if not python.exists():
        raise ValueError(f"{python} is not there; {VLLM_NEEDED}")
    asked = list(requests(_QUICK if quick else tuple(configurations())))
    records = []
    async for record in _answers(python, asked):
        records.append(record)
        progress.say(f"{len(records)} of {len(asked)}: {record['name']}")
    return [result_of(records)]


def requests(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each configuration as it was published, on as many accelerators as the project's own data has it on."""
    known = configurations()
    for line in (DATA / "configs.jsonl").read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        if said["name"] in names:
            for size in sorted({run.size for run in known[said["name"]][2]}):
                yield {"name": said["name"], "config": said["config"], "tp": size}


async def _answers(python: Path, asked: Sequence[Mapping[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(_SCRIPT),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LONGEST_LINE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for request in asked:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), _WITHIN)
            if not line:
                raise OSError(f"{python} {_SCRIPT.name} ended before it had answered; run it by hand to see why")
            yield json.loads(line)
    finally:
        process.stdin.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


def differences(records: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    """Where Gatehouse and the records are not of one mind: weights by more than 1 %, the others at all."""
    for record in records:
        name, size = record["name"], record["tp"]
        run = run_of(name, configurations()[name][1], record)
        if run.error is not None:
            if any(known.error is None and known.version == run.version for known in _known(name, size)):
                yield Difference(
                    configuration=name, size=size, what="refused", vllm=run.error, gatehouse="loaded before"
                )
            continue
        yield from _of(run)


def _known(name: str, size: int) -> Iterator[Run]:
    return (run for run in configurations()[name][2] if run.size == size)


def _of(run: Run) -> Iterator[Difference]:
    limit = limit_named(run.model)[0]
    if limit != run.limit:
        yield Difference(configuration=run.name, size=run.size, what="limit", vllm=run.limit, gatehouse=limit)
    weights = estimated_bytes(run.model, run.release, tensor_parallel_size=run.size)
    if weights is None or abs(weights - run.weights) > _CLOSE * run.weights:
        yield Difference(configuration=run.name, size=run.size, what="weights", vllm=run.weights, gatehouse=weights)
    layout = run.layout()
    if not isinstance(layout, CacheLayout):
        yield Difference(configuration=run.name, size=run.size, what="cache", vllm=None, gatehouse=layout.reason)
        return
    for tokens, need in run.cache.items():
        if layout.cost(tokens) != need:
            what = f"cache of {tokens:,} tokens"
            yield Difference(configuration=run.name, size=run.size, what=what, vllm=need, gatehouse=layout.cost(tokens))


def result_of(records: Sequence[Mapping[str, Any]]) -> Result:
    """Figures, the one count that must hold, and the differences as a table."""
    found = list(differences(records))
    computed = [record for record in records if "error" not in record]
    version = records[0]["vllm"] if records else "none"

    def differing(what: str) -> int:
        return len({(each.configuration, each.size) for each in found if each.what.startswith(what)})

    below = [
        each for each in found if each.what.startswith("cache") and isinstance(each.percent, float) and each.percent < 0
    ]
    told = {(each.configuration, each.size) for each in found}
    refused = [
        f"{record['name']} on {record['tp']}: {record['error']}"
        for record in records
        if "error" in record and (record["name"], record["tp"]) not in told
    ]
    return Result(
        bench=f"fit, vLLM {version}",
        figures=(
            Figure("runs that vLLM computes", len(computed)),
            Figure("runs that vLLM refuses", len(records) - len(computed)),
            Figure("limits that differ", differing("limit")),
            Figure("weights that differ by more than 1 %, or are not told", differing("weights")),
            Figure("caches that differ", differing("cache")),
            Figure("runs that this release computed before and refuses now", differing("refused")),
        ),
        counts=(
            Count.exactly("caches that are less than vLLM needs, by more than a block", _short(below, computed), 0),
            Count.exactly("runs for which the environment lacks a package", _incomplete(records), 0),
        ),
        notes=tuple(f"refused: {each}" for each in refused),
        details=tuple(each.row() for each in found),
    )


def _incomplete(records: Sequence[Mapping[str, Any]]) -> int:
    """A package that is not installed makes vLLM refuse a model that it serves elsewhere."""
    return sum("error" in record and record["error"].startswith("ModuleNotFoundError") for record in records)


def _short(below: Sequence[Difference], computed: Sequence[Mapping[str, Any]]) -> int:
    """Of a window that is not full a block more may be needed than Gatehouse says: as its tests have it."""
    short = 0
    for each in below:
        record = next(one for one in computed if (one["name"], one["tp"]) == (each.configuration, each.size))
        layout = run_of(each.configuration, configurations()[each.configuration][1], record).layout()
        block = sum(term.bytes for term in layout.terms) if isinstance(layout, CacheLayout) else 0
        assert isinstance(each.vllm, int)
        assert isinstance(each.gatehouse, int)
        short += each.vllm - each.gatehouse > block
    return short
