"""The answer of a fit: one row for each choice, or the error of each term against a log of vLLM."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gatehouse.actions.fit_models import KnownModel
from gatehouse.domain.hardware.calibration import MOST_BYTES, MemoryTerm, StartLog, differing_start, held_against
from gatehouse.domain.hardware.fit import SHIPPED_IMAGE
from gatehouse.domain.hardware.scenarios import MOST_ACCELERATORS, Choices, Machine, Scenario, scenarios
from gatehouse.domain.runtimes.releases import release_of
from gatehouse.errors import ConditionNotMet, InputInvalid

__all__ = ["FitAnswer", "FitQuestion", "calibrated", "fit_answer"]

_TAG: Final = re.compile(r":v?(0\.[0-9]{1,3}\.[0-9]{1,3})(?:@|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitQuestion:
    """A model, the machines, and what a person chose: empty and None leave the choice to the model and to the fit."""

    known: KnownModel
    machines: tuple[Machine, ...]
    lengths: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    sequences: tuple[int, ...] = ()
    release: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitAnswer:
    """The rows, and after a calibration the terms that were compared with the log."""

    model: str
    weights: str
    release: str
    rows: tuple[Scenario, ...]
    terms: tuple[MemoryTerm, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the model fits in any row."""
        return any(row.fits for row in self.rows)

    def wire(self) -> Mapping[str, Any]:
        """What ``-o json`` prints."""
        return {
            "model": self.model,
            "weights": self.weights,
            "vllm": self.release,
            "fits": self.fits,
            "rows": [row.wire() for row in self.rows],
            "calibration": [term.wire() for term in self.terms],
            "notes": list(self.notes),
        }


def fit_answer(question: FitQuestion) -> FitAnswer:
    """The fit for every choice. Raises InputInvalid for more rows than a table may have."""
    known, choices = question.known, _choices(question, question.release)
    return _answer(known, known.status_rows or _rows(known, question.machines, choices), choices)


def calibrated(question: FitQuestion, log: StartLog) -> FitAnswer:
    """The fit with the choices of a log, and how far each term of the fit is from the log.

    Raises ConditionNotMet for a log that has nothing to compare, and InputInvalid for a question with several rows.
    """
    if not log.tells:
        raise ConditionNotMet(
            "the log has none of the lines that vLLM prints when it starts; expected: Model loading took, Available KV "
            "cache memory, GPU KV cache size"
        )
    if len(question.machines) != 1:
        raise InputInvalid(
            f"--calibrate with {len(question.machines)} profiles; expected: the one on which vLLM started, by --profile"
        )
    if (log.tensor_parallel_size or 1) > MOST_ACCELERATORS:
        raise InputInvalid(
            f"the log has tensor_parallel_size {log.tensor_parallel_size}; expected: at most {MOST_ACCELERATORS}"
        )
    machine = _as_started(question.machines[0], log)
    choices, row = _started_row(question, machine, log)
    terms = held_against(row.found, log)
    if not terms:
        raise ConditionNotMet(
            f"the log holds no value to compare with the fit, which is {row.found.verdict}: {row.found.finding.found}"
        )
    utilization = machine.spec.serving.gpu_memory_utilization
    notes = [*differing_start(row.found, log, length=row.requested, utilization=utilization)]
    if (log.pipeline_parallel_size or 1) > 1:
        notes.append("vLLM was started with pipeline parallelism, which the fit does not compute: the terms say little")
    if log.truncated:
        notes.append(f"only the first {MOST_BYTES // 2**20} MiB of the log were read")
    return _answer(question.known, (row,), choices, terms=terms, notes=notes)


def _choices(question: FitQuestion, release: str | None) -> Choices:
    known = question.known
    image = None if release is None else f"vllm/vllm-openai:v{release.removeprefix('v')}"
    return Choices(
        lengths=tuple(dict.fromkeys(question.lengths or known.lengths)),
        sizes=tuple(dict.fromkeys(question.sizes)),
        sequences=tuple(dict.fromkeys(question.sequences)),
        vllm_image=image or known.vllm_image or SHIPPED_IMAGE,
        arguments=known.arguments,
    )


def _started_row(question: FitQuestion, machine: Machine, log: StartLog) -> tuple[Choices, Scenario]:
    """The one row with which vLLM was started."""
    choices = _choices(question, question.release or log.release)
    choices = replace(
        choices,
        lengths=choices.lengths or _some(log.max_model_len),
        sizes=choices.sizes or _some(log.tensor_parallel_size) or (machine.spec.accelerator.count,),
        sequences=choices.sequences or _some(log.max_num_seqs),
        arguments=(*choices.arguments, *_arguments(log)),
    )
    rows = _rows(question.known, (machine,), choices)
    usual = rows[0].found.usual_sequences
    if not choices.sequences and usual is not None:
        # The log names no number, so vLLM took its own, where the template would set a smaller one.
        choices = replace(choices, sequences=(usual,))
        rows = _rows(question.known, (machine,), choices)
    if len(rows) != 1:
        raise InputInvalid(
            f"--calibrate with {len(rows)} rows; expected: one length, one --max-num-seqs, one --tensor-parallel-size"
        )
    return choices, rows[0]


def _rows(known: KnownModel, machines: Sequence[Machine], choices: Choices) -> tuple[Scenario, ...]:
    assert known.model is not None  # noqa: S101 - a version without a model has rows of its status
    try:
        return scenarios(known.model, machines, choices)
    except ValueError as error:
        raise InputInvalid(str(error)) from error


def _answer(
    known: KnownModel,
    rows: tuple[Scenario, ...],
    choices: Choices,
    *,
    terms: tuple[MemoryTerm, ...] = (),
    notes: Sequence[str] = (),
) -> FitAnswer:
    warnings = dict.fromkeys(warning for row in rows for warning in row.found.warnings)
    return FitAnswer(
        model=known.name,
        weights=known.weights,
        release=_release_of(choices.vllm_image),
        rows=rows,
        terms=terms,
        notes=tuple(dict.fromkeys((*known.notes, *notes, *warnings))),
    )


def _release_of(image: str) -> str:
    """The release in the tag of the image, or the release whose figures the fit uses."""
    tag = _TAG.search(image)
    return tag[1] if tag else release_of(image)[0].name.removeprefix("vLLM ")


def _some(value: int | None) -> tuple[int, ...]:
    return () if value is None else (value,)


def _arguments(log: StartLog) -> Sequence[str]:
    chunk = () if log.max_num_batched_tokens is None else (f"--max-num-batched-tokens={log.max_num_batched_tokens}",)
    return (*chunk, *(("--enforce-eager",) if log.enforce_eager else ()))


def _as_started(machine: Machine, log: StartLog) -> Machine:
    """The profile with the memory utilization and the data type of the cache with which vLLM was started."""
    values = {"gpu_memory_utilization": log.gpu_memory_utilization, "kv_cache_dtype": log.kv_cache_dtype}
    update = {name: value for name, value in values.items() if value is not None}
    serving = machine.spec.serving.model_copy(update=update)
    return replace(machine, spec=machine.spec.model_copy(update={"serving": serving}))
