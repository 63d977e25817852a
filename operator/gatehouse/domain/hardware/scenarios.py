"""The choices for one model: hardware profiles, tensor parallel sizes, sequences at once, lengths.

:mod:`gatehouse.domain.hardware.fit` judges each choice, so that a row of the table is the verdict that the operator
would give for a version on such a profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.api.model_version import Verdict
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.hardware.fit import SHIPPED_IMAGE, Fit, fit, fit_config

__all__ = ["MOST_ACCELERATORS", "MOST_ROWS", "Choices", "Machine", "Scenario", "scenarios"]

MOST_ACCELERATORS: Final = 16
"""The largest tensor parallel size that is tried: the most accelerators of one machine."""

MOST_ROWS: Final = 1_000
"""The most rows of a table."""

_GROWN: Final = 8
"""The most accelerators up to which the size grows by itself where the model does not fit."""

_OF_MEMORY: Final = frozenset({"WeightsTooLarge", "ContextTooLong"})
"""Reasons that more accelerators can resolve."""

_FITTING: Final[frozenset[Verdict]] = frozenset({"Fits", "Tight"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A hardware profile by its name."""

    name: str
    spec: HardwareProfileSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The requested values; the fit chooses where a field is empty.

    ``sizes`` are tensor parallel sizes: without any, the profile's own number of accelerators, doubled up to 8 where
    memory is too small. ``lengths`` are tokens as in ``spec.serving.maxModelLen``, ``sequences`` are vLLM's
    ``--max-num-seqs``. ``arguments`` are other arguments of vLLM, as in ``spec.serving.extraArgs``.
    """

    lengths: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    sequences: tuple[int, ...] = ()
    vllm_image: str = SHIPPED_IMAGE
    arguments: tuple[str, ...] = ()

    @property
    def rows_a_machine(self) -> int:
        """The most rows of one profile."""
        return max(1, len(self.lengths)) * max(1, len(self.sequences)) * (len(self.sizes) or 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row: a profile, ``size`` of its accelerators, the requested values, and the fit."""

    machine: Machine
    size: int
    requested: int | None
    found: Fit

    @property
    def fits(self) -> bool:
        """Whether vLLM starts."""
        return self.found.verdict in _FITTING

    @property
    def cache_bytes(self) -> int | None:
        """The bytes that the cache of one sequence takes of an accelerator."""
        return self.found.kv_cache_bytes

    @property
    def free_bytes(self) -> int | None:
        """The bytes left for the cache of other sequences, negative where the model does not fit; None if unknown."""
        found = self.found
        known = (found.usable_bytes, found.weights_bytes, found.overhead_bytes, found.kv_cache_bytes)
        usable, weights, overhead, cache = known
        if usable is None or weights is None or overhead is None or cache is None:
            return None
        return usable - weights - overhead - found.graph_bytes[1] - cache

    def wire(self) -> Mapping[str, Any]:
        """The form that ``-o json`` prints; sizes are bytes on one accelerator."""
        found = self.found
        return {
            "profile": self.machine.name,
            "accelerator": f"{self.machine.spec.accelerator.vendor} {self.machine.spec.accelerator.model}",
            "tensorParallelSize": self.size,
            "maxNumSeqs": found.sequences,
            "maxModelLenAsked": self.requested,
            "verdict": found.verdict,
            "reason": found.finding.reason,
            "found": found.finding.found,
            "wanted": found.finding.expected,
            "remedy": found.finding.remedy or None,
            "maxModelLen": found.max_model_len,
            "longestWithMargin": found.safe_max_model_len,
            "longest": found.largest_max_model_len,
            "usableBytes": found.usable_bytes,
            "weightsBytes": found.weights_bytes,
            "overheadBytes": found.overhead_bytes,
            "cudaGraphBytes": {"least": found.graph_bytes[0], "most": found.graph_bytes[1]},
            "kvCacheTokens": found.kv_cache_tokens,
            "kvCacheBytes": found.kv_cache_bytes,
            "kvCacheBytesPerToken": found.kv_cache_bytes_per_token,
            "freeBytes": self.free_bytes,
            "dtype": found.dtype,
            "warnings": list(found.warnings),
        }


def scenarios(
    model: ArtifactSummary | ModelConfig, machines: Sequence[Machine], choices: Choices
) -> tuple[Scenario, ...]:
    """Every row, profile by profile. The weights of a :class:`ModelConfig` are estimated.

    Raises ValueError for more than ``MOST_ROWS``.
    """
    most = len(machines) * choices.rows_a_machine
    if most > MOST_ROWS:
        raise ValueError(f"{most:,} rows; expected: at most {MOST_ROWS:,}, so ask for fewer profiles, lengths or sizes")
    return tuple(row for machine in machines for row in _of_machine(model, machine, choices))


def _of_machine(model: ArtifactSummary | ModelConfig, machine: Machine, choices: Choices) -> Iterator[Scenario]:
    for requested in choices.lengths or (None,):
        for sequences in choices.sequences or (None,):
            for size in choices.sizes or _grown(machine):
                row = _judged(model, machine, choices, size=size, requested=requested, sequences=sequences)
                grown = not choices.sizes and size > machine.spec.accelerator.count
                if grown and row.found.tensor_parallel_size < size:
                    break  # more accelerators would not be used
                yield row
                if not choices.sizes and row.found.finding.reason not in _OF_MEMORY:
                    break  # more accelerators would change nothing


def _grown(machine: Machine) -> tuple[int, ...]:
    own = machine.spec.accelerator.count
    return (own, *(size for size in (2, 4, _GROWN) if size > own))


def _judged(
    model: ArtifactSummary | ModelConfig,
    machine: Machine,
    choices: Choices,
    *,
    size: int,
    requested: int | None,
    sequences: int | None,
) -> Scenario:
    spec = machine.spec.model_copy(update={"accelerator": machine.spec.accelerator.model_copy(update={"count": size})})
    arguments = choices.arguments if sequences is None else (*choices.arguments, f"--max-num-seqs={sequences}")
    if isinstance(model, ModelConfig):
        found = fit_config(
            model,
            spec,
            vllm_image=choices.vllm_image,
            requested_max_model_len=requested,
            arguments=arguments,
        )
    else:
        found = fit(
            model,
            spec,
            vllm_image=choices.vllm_image,
            requested_max_model_len=requested,
            arguments=arguments,
        )
    if choices.sizes and found.verdict in _FITTING and found.tensor_parallel_size < size:
        found = _not_split(found, size)
    return Scenario(machine=machine, size=size, requested=requested, found=found)


def _not_split(found: Fit, size: int) -> Fit:
    """vLLM does not start with a tensor parallel size that does not divide the model."""
    most = found.tensor_parallel_size
    return replace(
        found,
        verdict="DoesNotFit",
        finding=Finding(
            reason="NotSplit",
            found=f"vLLM does not split the model over {size} accelerators; over {most} it does",
            expected="a tensor parallel size that divides heads, layers and experts",
            remedy=f"use --tensor-parallel-size {most}",
        ),
        max_model_len=None,
        safe_max_model_len=None,
        largest_max_model_len=None,
        kv_cache_tokens=None,
        kv_cache_bytes=None,
    )
