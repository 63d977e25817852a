"""``gatehouse fit``: on which hardware a model fits, before anybody uploads it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer

from gatehouse.api.model_version import ArtifactFormat
from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, fail
from gatehouse.cli.fit_output import Answer, print_answer
from gatehouse.cli.fit_picture import picture
from gatehouse.cli.fit_target import Known, known_model, machines_named
from gatehouse.cli.options import DatabaseCaOption, NamespaceOption, RowsOption, WrittenOutputOption, print_data, say
from gatehouse.domain.hardware.calibration import (
    MOST_BYTES,
    MemoryTerm,
    StartLog,
    differing_start,
    held_against,
    parse_start_log,
)
from gatehouse.domain.hardware.fit import SHIPPED_IMAGE
from gatehouse.domain.hardware.scenarios import MOST_ACCELERATORS, Choices, Machine, Scenario, scenarios
from gatehouse.domain.runtimes.releases import release_of
from gatehouse.printing import stdout

__all__ = ["fit"]

_RELEASE: Final = re.compile(r"v?0\.[0-9]{1,3}(\.[0-9]{1,3})?")
_TAG: Final = re.compile(r":v?(0\.[0-9]{1,3}\.[0-9]{1,3})(?:@|$)")
_LONGEST: Final = 2**31 - 1
_STDIN: Final = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    said: StartLog
    machine: Machine
    choices: Choices


def fit(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|DIR|CONFIG",
            help="A ModelVersion as NAME or NAMESPACE/NAME, the folder of a model, or a config.json.",
        ),
    ],
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="HardwareProfile, shipped or of the cluster; may be repeated. Every shipped one when absent.",
        ),
    ] = None,
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--max-model-len",
            min=1,
            max=_LONGEST,
            help="Tokens of the longest sequence; may be repeated. The longest that fits when absent.",
        ),
    ] = None,
    sequences: Annotated[
        list[int] | None,
        typer.Option(
            "--max-num-seqs",
            min=1,
            max=100_000,
            help="Sequences that vLLM serves at once; may be repeated. What the template has when absent.",
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            "--tensor-parallel-size",
            min=1,
            max=MOST_ACCELERATORS,
            help="Accelerators that one replica spans; may be repeated. The profile's, and more where the model does "
            "not fit, when absent.",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option("--release", help="Release of vLLM, as in 0.11.0; that of the image that is served when absent."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="LOG",
            help="What vLLM printed when it started, - for stdin: say how far off each term of the fit was.",
        ),
    ] = None,
    picture_file: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE.svg", help="Draw what lies on the memory of each row."),
    ] = None,
    artifact_format: Annotated[
        ArtifactFormat | None,
        typer.Option("--format", help="Format of a folder's weights; from the names when absent."),
    ] = None,
    namespace: NamespaceOption = None,
    database: RowsOption = None,
    database_ca: DatabaseCaOption = None,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Say on which hardware a model fits, with which length, and what lies on the memory: before anybody uploads it.

    Of a folder the headers of its files are read, as upload and the operator read them; of a config.json alone the
    weights are estimated. Neither needs a cluster. Of a ModelVersion the registry's row is read with --database;
    without, its status tells of its own profile, and of others by --profile no more than whether the weights are too
    large.

    With --calibrate, how vLLM was started is taken from its log: release, length, sequences, tensor parallel size and
    utilization of memory. At most 64 MiB of the log are read.

    Exit codes: 0 it fits in at least one row (or the log was held against the fit), 1 in none, or the folder is
    refused, 2 an error.

    Examples:

      gatehouse fit ./Llama-3.1-8B-Instruct

      gatehouse fit config.json --profile nvidia-l4 --profile nvidia-t4 --max-model-len 8192 --max-model-len 32768

      gatehouse fit ./gpt-oss-120b --profile nvidia-h100-80gb --tensor-parallel-size 2 --picture fit.svg

      kubectl logs deploy/granite-predictor | gatehouse fit ./granite --profile nvidia-l4 --calibrate -
    """
    if picture_file is not None and picture_file.suffix.lower() != ".svg":
        fail(f"--picture {picture_file}: wanted: a file whose name ends with .svg")
    if release is not None and not _RELEASE.fullmatch(release):
        fail(f"--release {release}: wanted: a release of vLLM, as in 0.11.0")
    names, log = profile or (), None if calibrate is None else _read_log(calibrate)
    known = known_model(target, artifact_format=artifact_format)
    asked = bool(length or sequences or size or log)
    if known is None:
        from gatehouse.cli.fit_version import known_version  # noqa: PLC0415 - most need no cluster and no database

        known = known_version(
            target,
            namespace=namespace,
            database=database,
            database_ca=database_ca,
            profiles=names,
            asked=asked,
            kubeconfig=kubeconfig,
            context=context,
        )
    machines = known.machines or machines_named(names, kubeconfig=kubeconfig, context=context)
    choices = Choices(
        lengths=tuple(dict.fromkeys(length or known.lengths)),
        sizes=tuple(dict.fromkeys(size or ())),
        sequences=tuple(dict.fromkeys(sequences or ())),
        vllm_image=_image(release, log) or known.vllm_image or SHIPPED_IMAGE,
        arguments=known.arguments,
    )
    answer = _calibrated(known, machines, choices, log) if log else _answered(known, machines, choices)
    if picture_file is not None:
        try:
            picture_file.write_text(
                picture(answer.rows, title=f"{answer.model}, vLLM {answer.release}"), encoding="utf-8"
            )
        except OSError as error:
            fail(f"{picture_file} cannot be written: {error.strerror}")
    if output == "json":
        print_data(answer.wire())
    else:
        print_answer(stdout(), answer)
        say(answer.notes)
    if log is None and not answer.fits:
        raise typer.Exit(NOT_READY)


def _image(release: str | None, log: StartLog | None) -> str | None:
    said = release or (log.release if log else None)
    return None if said is None else f"vllm/vllm-openai:v{said.removeprefix('v')}"


def _release_of(image: str) -> str:
    """As the image's tag says, or else the release with whose figures is computed."""
    said = _TAG.search(image)
    return said[1] if said else release_of(image)[0].name.removeprefix("vLLM ")


def _answered(known: Known, machines: Sequence[Machine], choices: Choices) -> Answer:
    if known.status_rows:
        return _answer(known, known.status_rows, choices)
    return _answer(known, _rows(known, machines, choices), choices)


def _rows(known: Known, machines: Sequence[Machine], choices: Choices) -> tuple[Scenario, ...]:
    assert known.model is not None  # noqa: S101 - what has no model has its status alone
    try:
        return scenarios(known.model, machines, choices)
    except ValueError as error:
        fail(str(error))


def _answer(
    known: Known,
    rows: tuple[Scenario, ...],
    choices: Choices,
    *,
    terms: tuple[MemoryTerm, ...] = (),
    notes: Sequence[str] = (),
) -> Answer:
    warnings = dict.fromkeys(warning for row in rows for warning in row.found.warnings)
    return Answer(
        model=known.name,
        weights=known.weights,
        release=_release_of(choices.vllm_image),
        rows=rows,
        terms=terms,
        notes=tuple(dict.fromkeys((*known.notes, *notes, *warnings))),
    )


def _read_log(path: Path) -> StartLog:
    try:
        if path == _STDIN:
            return parse_start_log(sys.stdin.buffer)
        with path.open("rb") as opened:
            return parse_start_log(opened)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")


def _calibrated(known: Known, machines: Sequence[Machine], choices: Choices, log: StartLog) -> Answer:
    if not log.tells:
        fail(
            "the log has none of the lines that vLLM prints when it starts; wanted: Model loading took, Available KV "
            "cache memory, GPU KV cache size",
            code=NOT_READY,
        )
    if len(machines) != 1:
        fail(f"--calibrate with {len(machines)} profiles; wanted: the one on which vLLM started, by --profile")
    if (log.tensor_parallel_size or 1) > MOST_ACCELERATORS:
        fail(f"the log has tensor_parallel_size {log.tensor_parallel_size}; wanted: at most {MOST_ACCELERATORS}")
    machine = _as_started(machines[0], log)
    choices = replace(
        choices,
        lengths=choices.lengths or _some(log.max_model_len),
        sizes=choices.sizes or _some(log.tensor_parallel_size) or (machine.spec.accelerator.count,),
        sequences=choices.sequences or _some(log.max_num_seqs),
        arguments=(*choices.arguments, *_arguments(log)),
    )
    rows = _rows(known, (machine,), choices)
    usual = rows[0].found.usual_sequences
    if not choices.sequences and usual is not None:
        # vLLM was not told a number, so it took its own, where the template would set a smaller one.
        choices = replace(choices, sequences=(usual,))
        rows = _rows(known, (machine,), choices)
    if len(rows) != 1:
        fail(f"--calibrate with {len(rows)} rows; wanted: one length, one --max-num-seqs, one --tensor-parallel-size")
    found, spec = rows[0].found, machine.spec
    terms = held_against(found, log)
    utilization = spec.serving.gpu_memory_utilization
    notes = [*differing_start(found, log, length=rows[0].requested, utilization=utilization)]
    if (log.pipeline_parallel_size or 1) > 1:
        notes.append("vLLM was started with pipeline parallelism, which is not computed: the terms say little")
    if log.truncated:
        notes.append(f"only the first {MOST_BYTES // 2**20} MiB of the log were read")
    if not terms:
        fail(
            f"nothing of the log can be held against the fit, which is {found.verdict}: {found.finding.found}",
            code=NOT_READY,
        )
    return _answer(known, rows, choices, terms=terms, notes=notes)


def _some(value: int | None) -> tuple[int, ...]:
    return () if value is None else (value,)


def _arguments(log: StartLog) -> Sequence[str]:
    chunk = () if log.max_num_batched_tokens is None else (f"--max-num-batched-tokens={log.max_num_batched_tokens}",)
    return (*chunk, *(("--enforce-eager",) if log.enforce_eager else ()))


def _as_started(machine: Machine, log: StartLog) -> Machine:
    """The profile with the utilization of memory and the data type of the cache that vLLM was started with."""
    said = {"gpu_memory_utilization": log.gpu_memory_utilization, "kv_cache_dtype": log.kv_cache_dtype}
    update = {name: value for name, value in said.items() if value is not None}
    serving = machine.spec.serving.model_copy(update=update)
    return replace(machine, spec=machine.spec.model_copy(update={"serving": serving}))
