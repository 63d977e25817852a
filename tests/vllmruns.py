"""What vLLM itself computed for public configurations, what people measured, and what Gatehouse makes of the same.

``python tests/vllmruns.py`` writes the tables of docs/fit.md and its picture anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.cli.fit_output import gib
from gatehouse.cli.fit_picture import picture
from gatehouse.domain.artifact.model_config import parse_config
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.hardware.dimensions import Dimensions, Unmodelled, dimensions_of, limit_named
from gatehouse.domain.hardware.fit import Fit, fit
from gatehouse.domain.hardware.kv_cache import CacheLayout, cache_layout
from gatehouse.domain.hardware.scenarios import Choices, Machine, Scenario, scenarios
from gatehouse.domain.hardware.weights import estimated_bytes, tower_parameters
from gatehouse.domain.runtimes.releases import Release, release_of

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "unit" / "domain" / "hardware" / "vllm"
PAGE = ROOT / "docs" / "fit.md"
GIB = 2**30
PICTURE = ROOT / "docs" / "fit.svg"
CHOSEN = (
    "meta-llama__Meta-Llama-3.1-8B",
    "Qwen__Qwen3-32B",
    "openai__gpt-oss-20b",
    "google__gemma-3-27b-it",
    "mistralai__Mixtral-8x22B-v0.1",
)
"""Models of which the page shows on what they fit."""
DRAWN = "Qwen__Qwen3-32B"


_TIED = (
    "says of the whole that head and embedding are tied and of the language part that they are not: 0.33.0 ties them"
)
OTHER_WEIGHTS: Mapping[tuple[str, str], str] = {
    (
        "Qwen__Qwen2.5-7B-Instruct-GPTQ-Int4",
        "0.11.0",
    ): "0.11.0 does not quantize on a CPU; 0.33.0 does, and is the same",
    ("HuggingFaceTB__SmolLM3-3B", "0.11.0"): (
        "transformers' own classes serve it, which split KV heads beyond one: from 8 accelerators on"
    ),
    ("Qwen__Qwen2-VL-(class default)", "0.33.0"): _TIED,
    ("Qwen__Qwen2.5-VL-72B(class default)", "0.33.0"): _TIED,
    ("mistralai__Mistral-Small-3.1-24B-Instruct-2503", "0.33.0"): _TIED,
    ("openai__gpt-oss-20b", "0.33.0"): (
        "an H100 has kernels for MXFP4 that pad nothing; those of other accelerators do, and the fit is as careful"
    ),
    ("mistralai__Devstral-Small-2-24B-Instruct", "0.33.0"): (
        "0.33.0 quantizes the part that sees images too, though config.json says not to"
    ),
    ("nvidia__Qwen3.6-27B-NVFP4", "0.33.0"): (
        "attention is stored in 8 bits and the rest in 4: which layers have which is not read"
    ),
}
"""Configurations by release whose weights are not within 1 % of vLLM's, and why."""
CLOSE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one release computed for one configuration split over ``size`` accelerators."""

    name: str
    model: Dimensions
    release: Release
    version: str
    size: int
    limit: int | None
    error: str | None
    chunk: int
    weights: int
    cache: Mapping[int, int]
    block: int

    @property
    def is_close(self) -> bool:
        """Whether the weights that Gatehouse computes are within 1 % of vLLM's."""
        found = estimated_bytes(self.model, self.release, tensor_parallel_size=self.size)
        return found is not None and abs(found - self.weights) <= CLOSE * self.weights

    def layout(self) -> CacheLayout | Unmodelled:
        """What Gatehouse makes of it."""
        quantization = self.model.config.quantization
        narrow = self.release.checkpoint_cache and quantization is not None and quantization.kv_cache_bits == 8
        return cache_layout(
            self.model,
            self.release,
            tensor_parallel_size=self.size,
            element_bytes=1 if narrow else 2,
            chunk=self.chunk,
        )


@lru_cache(maxsize=1)
def configurations() -> Mapping[str, tuple[str, Dimensions, Sequence[Run]]]:
    """By name: where it is from, its dimensions, its runs."""
    found = {}
    for line in (DATA / "runs.jsonl").read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        model = dimensions_of(parse_config(json.dumps(said["config"]).encode()))
        runs = [run_of(said["name"], model, each) for each in said["runs"]]
        found[said["name"]] = (said["source"], model, runs)
    return found


def run_of(name: str, model: Dimensions, said: Mapping[str, Any]) -> Run:
    """A record of vLLM as a run."""
    return Run(
        name=name,
        model=model,
        release=release_of(f"vllm/vllm-openai:v{said['vllm']}")[0],
        version=said["vllm"],
        size=said["tp"],
        limit=said.get("limit"),
        error=said.get("error"),
        chunk=said.get("chunk", 0),
        weights=said.get("weights", 0),
        cache={int(tokens): need for tokens, need in said.get("cache", {}).items()},
        block=said.get("block", 16),
    )


def runs() -> Iterator[Run]:
    """All of them."""
    for _, _, each in configurations().values():
        yield from each


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run on real accelerators: GiB that vLLM had for its cache, whether it started with the length asked for."""

    name: str
    source: str
    version: str
    found: Fit
    available: float | None
    computed: float
    asked: int | None
    starts: bool
    note: str


@lru_cache(maxsize=1)
def reports() -> Sequence[Report]:
    """All of them, with what Gatehouse makes of the same."""
    return [_report(said) for said in json.loads((DATA / "reports.json").read_text(encoding="utf-8"))]


def _report(said: Mapping[str, Any]) -> Report:
    config = said["config"]
    model = configurations()[config][1].config if isinstance(config, str) else parse_config(json.dumps(config).encode())
    summary = ArtifactSummary(
        format="safetensors",
        files=1,
        total_bytes=int(said["weights"] * GIB),
        weights_bytes=int(said["weights"] * GIB),
        dtypes={"BF16": 1},
        config=model,
    )
    spec = profile(said["profile"], count=said["count"], utilization=said["utilization"])
    arguments = [*said.get("arguments", []), f"--max-num-seqs={_usual(spec)}"]
    image = f"vllm/vllm-openai:v{said['vllm']}"
    found = fit(summary, spec, vllm_image=image, requested_max_model_len=said["asked"], arguments=arguments)
    usable = (_visible(spec.accelerator.memory) * float(said["utilization"])) / GIB
    computed = usable - ((found.weights_bytes or 0) + (found.overhead_bytes or 0)) / GIB
    return Report(
        name=said["id"],
        source=said["source"],
        version=said["vllm"],
        found=found,
        available=said["available"],
        computed=computed,
        asked=said["asked"],
        starts=said["starts"],
        note=said.get("note", ""),
    )


def _usual(spec: HardwareProfileSpec) -> int:
    large = int(spec.accelerator.memory[:-2]) >= 70 * 1024 and "A100" not in spec.accelerator.model
    return 1024 if large else 256


def _visible(memory: str) -> int:
    shown = int(memory[:-2]) * 2**20
    return shown - min(shown * 2 // 100, 768 * 2**20)


def profile(machine: str | Mapping[str, Any], *, count: int, utilization: str) -> HardwareProfileSpec:
    """A shipped profile by name, or one of an accelerator, with another count and utilization."""
    if isinstance(machine, str):
        path = ROOT / "manifests" / "hardware" / f"{machine}.yaml"
        accelerator = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["accelerator"]
    else:
        accelerator = dict(machine)
    return HardwareProfileSpec.model_validate(
        {"accelerator": accelerator | {"count": count}, "serving": {"gpuMemoryUtilization": utilization}}
    )


def table() -> str:
    """The tables of docs/fit.md."""
    return "\n".join((*_computed(), "", *_measured()))


def _computed() -> Iterator[str]:
    yield "| configuration | vLLM | limit | Gatehouse | cache of a sequence | Gatehouse | weights | Gatehouse |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, (_, model, each) in configurations().items():
        for run in each:
            if run.size == 1 and run.error is None:
                yield _row(name, model, run)


def _row(name: str, model: Dimensions, run: Run) -> str:
    tokens = max(run.cache)
    layout, weights = run.layout(), estimated_bytes(model, run.release, tensor_parallel_size=1)
    assert isinstance(layout, CacheLayout)
    limit, own = run.limit or 0, limit_named(model)[0]
    needed, cost = run.cache[tokens], layout.cost(tokens)
    share = "-" if weights is None else _percent(weights, run.weights)
    part = " (its language part)" if weights is not None and tower_parameters(model) is None else ""
    cells = (
        name.replace("__", "/"),
        run.version,
        f"{limit:,}",
        "none said" if own is None else "the same" if own == limit else f"{own:,}",
        f"{needed / GIB:.3f} GiB for {tokens:,} tokens" if needed else "none",
        "the same" if cost == needed else _percent(cost, needed),
        f"{run.weights / GIB:.2f} GiB",
        share + part,
    )
    return f"| {' | '.join(cells)} |"


def _percent(found: int, other: int) -> str:
    return f"{100 * (found - other) / other:+.1f} %"


def _measured() -> Iterator[str]:
    yield "| run | vLLM | measured for the cache | Gatehouse | length asked for | it started | Gatehouse | note |"
    yield "|---|---|---|---|---|---|---|---|"
    for report in reports():
        cells = (
            f"{report.name}: {report.source}",
            report.version,
            "-" if report.available is None else f"{report.available:.2f} GiB",
            f"{report.computed:.2f} GiB",
            "-" if report.asked is None else f"{report.asked:,}",
            "yes" if report.starts else "no",
            report.found.verdict,
            report.note,
        )
        yield f"| {' | '.join(cells)} |"


@lru_cache(maxsize=8)
def choices(name: str) -> Sequence[Scenario]:
    """What ``gatehouse fit`` says of a configuration: every shipped profile, the shipped image."""
    machines = [
        Machine(name=path.stem, spec=HardwareProfileSpec.model_validate(yaml.safe_load(path.read_text())["spec"]))
        for path in sorted((ROOT / "manifests" / "hardware").glob("*.yaml"))
        if path.stem != "kustomization"
    ]
    return scenarios(configurations()[name][1].config, machines, Choices())


def exceptions_table() -> str:
    """The runs whose weights are not the same, and why."""
    return "\n".join(
        (
            "| configuration | vLLM | why the weights differ |",
            "|---|---|---|",
            *(f"| {name.replace('__', '/')} | {version} | {why} |" for (name, version), why in OTHER_WEIGHTS.items()),
        )
    )


def choices_table() -> str:
    """The last row of each profile: where the model fits, or the most that was tried."""
    return "\n".join(_choices())


def _choices() -> Iterator[str]:
    header = (
        "| configuration | profile | GPUs | verdict | tokens | sequences | weights | overhead | cache | free | usable"
    )
    yield f"{header} |"
    yield "---".join("|" * (header.count("|") + 1))
    for name in CHOSEN:
        last = {row.machine.name: row for row in choices(name)}
        for row in last.values():
            found = row.found
            tokens = found.kv_cache_tokens
            figures = (
                "-" if tokens is None else f"{tokens:,}",
                "-" if found.sequences is None else f"{found.sequences:,}",
                gib(found.weights_bytes),
                gib(found.overhead_bytes),
                gib(row.cache_bytes),
                gib(row.free_bytes),
                gib(found.usable_bytes),
            )
            cells = (name.replace("__", "/"), row.machine.name, str(row.size), found.verdict, *figures)
            yield f"| {' | '.join(cells)} |"


def drawing() -> str:
    """The picture of the page."""
    return picture(choices(DRAWN), title=DRAWN.replace("__", "/"))


def page_with_table(page: str) -> str:
    """The page with its tables written anew."""
    page = _with(page, "exceptions", exceptions_table())
    return _with(_with(page, "choices", choices_table()), "table", table())


def _with(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
