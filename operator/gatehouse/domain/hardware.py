"""Whether a model fits the accelerators of a hardware profile, before anybody waits ten minutes for vLLM to say no.

On each of TP accelerators (TP: the tensor parallel size) vLLM holds the weights, its own overhead, and a KV cache that
must take one sequence of the longest length; otherwise it does not start::

    weights = bytes of the tensors / TP
    usable  = (memory - what the driver keeps) * gpu_memory_utilization
    budget  = usable - weights - overhead
    fits    = cost of the cache for max_model_len tokens <= budget     (gatehouse.domain.kv_cache)

Two overheads make three verdicts. ``Fits`` holds with the careful one: 2.3 GiB and 5 % of the weights (KAITO's node
estimator: ``baseOverheadGiB`` and ``overheadWeightFactor``). ``Tight`` holds only with the small one: 0.6 GiB. With
``DoesNotFit`` neither does. The small one is fitted to published runs of Granite 3.1 8B FP8 on one L4: 4.6 sequences of
16,384 tokens at 0.90, and 9.5 at 0.92 with an FP8 cache; the formula gives 4.58 and 9.50.

That model (7.80 GiB, 160 KiB a token in BF16) on nvidia-l4 at 0.90: 61,184 tokens fit carefully, so the verdict is
``Fits`` and the template starts with them; up to 74,752 are ``Tight``; the 131,072 of its configuration do not fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from typing import Final, Literal

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.api.model_version import Verdict
from gatehouse.domain.artifact import ArtifactSummary
from gatehouse.domain.kv_cache import CacheLayout, Family, Unmodelled, cache_layout, family_of
from gatehouse.domain.model_config import ModelConfig
from gatehouse.domain.model_limits import length_limit, tensor_parallel_size
from gatehouse.domain.precision import Precision, check_precision
from gatehouse.domain.quantity import bytes_of
from gatehouse.domain.sizes import human_bytes

__all__ = ["SHORTEST_USEFUL", "UNKNOWN_MAX_MODEL_LEN", "Fit", "fit"]

_GIB: Final = 2**30
_DRIVER_PERCENT: Final = 2
_DRIVER_MOST: Final = 768 * 2**20
"""Of the memory that nvidia-smi shows a program sees less: L4 23034 and 22580 MiB, T4 15360 and 15102, A100 40960 and
40339, H100 81559 and 81008, B200 183359 and 182630 (deviceQuery and torch's total_memory)."""

_SMALL_OVERHEAD: Final = 6 * _GIB // 10
_CAREFUL_BASE: Final = 23 * _GIB // 10
_CAREFUL_PERCENT: Final = 5

SHORTEST_USEFUL: Final = 2048
"""The length that must fit when a version asks for none: vLLM's smallest default batch, in tokens."""

UNKNOWN_MAX_MODEL_LEN: Final = 4096
"""What a template starts with when the longest length that fits is not known and none is asked for."""

_MORE_MEMORY: Final = "choose a profile with more memory or more accelerators"

_ELEMENT_BYTES: Final = {"auto": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The verdict and its figures.

    ``weights_bytes`` and ``kv_cache_bytes_per_token`` are those of one accelerator. ``max_model_len`` is what the
    template starts with: the length asked for, or the longest that fits with the overhead of the verdict, rounded down
    to 256 tokens (whole blocks for every block size of vLLM) unless it is the model's own limit. When the verdict is
    DoesNotFit it is the largest that would fit, None when none does. ``safe_max_model_len`` holds with the careful
    overhead, ``largest_max_model_len`` with the small one; None is unknown. ``dtype`` is vLLM's ``--dtype``.
    """

    verdict: Verdict
    reason: str
    found: str
    wanted: str
    remedy: str | None = None
    weights_bytes: int | None = None
    kv_cache_bytes_per_token: int | None = None
    max_model_len: int | None = None
    safe_max_model_len: int | None = None
    largest_max_model_len: int | None = None
    tensor_parallel_size: int = 1
    dtype: Literal["auto", "half"] = "auto"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lengths:
    """The longest sequences in tokens, with the careful overhead and with the small one."""

    bytes_per_token: int
    safe: int
    largest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What is known before the cache is looked at. ``usable`` is the memory vLLM may take of one accelerator."""

    machine: str
    usable: int
    weights: int
    tensor_parallel_size: int
    requested: int | None
    precision: Precision
    warnings: tuple[str, ...]

    @property
    def small_budget(self) -> int:
        return self.usable - self.weights - _SMALL_OVERHEAD

    @property
    def careful_budget(self) -> int:
        return self.usable - self.weights - _CAREFUL_BASE - self.weights * _CAREFUL_PERCENT // 100

    @property
    def wanted(self) -> str:
        return f"weights, overhead and the cache of one sequence within {human_bytes(self.usable)} on {self.machine}"

    def outcome(
        self,
        verdict: Verdict,
        reason: str,
        found: str,
        *,
        wanted: str | None = None,
        remedy: str | None = None,
        max_model_len: int | None = None,
        lengths: _Lengths | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Fit:
        return Fit(
            verdict=verdict,
            reason=reason,
            found=found,
            wanted=self.wanted if wanted is None else wanted,
            remedy=remedy,
            weights_bytes=self.weights,
            kv_cache_bytes_per_token=lengths.bytes_per_token if lengths else None,
            max_model_len=max_model_len,
            safe_max_model_len=lengths.safe if lengths else None,
            largest_max_model_len=lengths.largest if lengths else None,
            tensor_parallel_size=self.tensor_parallel_size,
            dtype=self.precision.dtype,
            warnings=self.warnings + warnings,
        )


def fit(summary: ArtifactSummary, profile: HardwareProfileSpec, *, requested_max_model_len: int | None = None) -> Fit:
    """Whether the artifact fits the profile, with ``spec.serving.maxModelLen`` of the version or without.

    Unknown, with the reason and a warning, is everything that is not computed: formats other than safetensors,
    architectures that :mod:`gatehouse.domain.kv_cache` does not know, numbers missing in config.json. Weights that
    are larger than the memory, or of a data type the accelerator does not run, do not fit whatever the architecture.
    """
    config = summary.config or ModelConfig()
    limit = length_limit(config)
    if summary.format != "safetensors" or summary.weights_bytes is None:
        known = summary.format == "safetensors"
        detail = "the size of the weights is not known" if known else f"the fit of {summary.format} is not computed"
        return _unknown(None, Unmodelled("FormatNotComputed", detail), limit, requested_max_model_len)
    case = _case(summary, config, profile, requested_max_model_len)
    refusal = _refusal(case)
    if refusal is not None:
        return refusal
    family = family_of(config) if summary.config else Unmodelled("ConfigMissing", "there is no config.json")
    if isinstance(family, Unmodelled):
        return _unknown(case, family, limit, requested_max_model_len)
    layout = cache_layout(
        config,
        family,
        tensor_parallel_size=case.tensor_parallel_size,
        element_bytes=_ELEMENT_BYTES[profile.serving.kv_cache_dtype],
    )
    if isinstance(layout, Unmodelled):
        return _unknown(case, layout, limit, requested_max_model_len)
    limit = limit or family.max_position_embeddings
    if limit is None:
        incomplete = Unmodelled("ConfigIncomplete", "config.json does not say max_position_embeddings")
        return _unknown(case, incomplete, limit, requested_max_model_len)
    return _judge(case, layout, limit, warnings=_family_warnings(family))


def _case(summary: ArtifactSummary, config: ModelConfig, profile: HardwareProfileSpec, requested: int | None) -> _Case:
    accelerator = profile.accelerator
    parallel = tensor_parallel_size(config, accelerator.count)
    name = f"{accelerator.vendor} {accelerator.model}"
    precision = check_precision(summary, profile)
    idle = accelerator.count - parallel
    heads = config.num_attention_heads
    idle_warning = f"{idle} of {accelerator.count} accelerators are not used: {heads or 'unknown'} attention heads"
    return _Case(
        machine=name if parallel == 1 else f"each of {parallel} {name}",
        usable=_usable(accelerator.memory, profile.serving.gpu_memory_utilization),
        weights=-(-_loaded_bytes(summary) // parallel),
        tensor_parallel_size=parallel,
        requested=requested,
        precision=precision,
        warnings=precision.warnings + ((f"{idle_warning} split over {parallel}",) if idle else ()),
    )


@lru_cache(maxsize=64)
def _usable(memory: str, utilization: str) -> int:
    """Bytes; thousands of versions share a few profiles, and fractions are slow."""
    shown = bytes_of(memory)
    visible = shown - min(shown * _DRIVER_PERCENT // 100, _DRIVER_MOST)
    return int(visible * Fraction(utilization))


def _loaded_bytes(summary: ArtifactSummary) -> int:
    """Bytes of the weights in memory: vLLM's ``--dtype=auto`` loads FP32 models in half precision."""
    stored = summary.weights_bytes or 0
    if summary.config is not None and summary.config.quantization is not None:
        return stored
    return max(0, stored - 2 * summary.dtypes.get("F32", 0))


def _refusal(case: _Case) -> Fit | None:
    """What does not fit whatever the cache is."""
    problem = case.precision.problem
    if problem:
        return case.outcome("DoesNotFit", problem.rule, problem.found, wanted=problem.wanted, remedy=problem.remedy)
    if case.small_budget < 0:
        found = f"{human_bytes(case.weights)} of weights on {case.machine}; {human_bytes(case.usable)} can be used"
        return case.outcome("DoesNotFit", "WeightsTooLarge", found, remedy=f"{_MORE_MEMORY}, or quantize the model")
    return None


def _judge(case: _Case, layout: CacheLayout, limit: int, *, warnings: tuple[str, ...]) -> Fit:
    lengths = _Lengths(
        bytes_per_token=layout.bytes_per_token,
        safe=_rounded(layout.longest(case.careful_budget, limit=limit), limit),
        largest=_rounded(layout.longest(case.small_budget, limit=limit), limit),
    )
    asked = case.requested or min(SHORTEST_USEFUL, limit)
    if asked > limit:
        return _beyond_limit(case, limit, asked, lengths=lengths, warnings=warnings)
    found = (
        f"{human_bytes(case.weights)} of weights and {human_bytes(lengths.bytes_per_token)} of KV cache a token on "
        f"{case.machine}: {lengths.safe:,} tokens fit with a margin, {lengths.largest:,} at most"
    )
    need = layout.cost(asked)
    known = partial(case.outcome, lengths=lengths, warnings=warnings)
    if need <= case.careful_budget:
        return known("Fits", "FitsWithMargin", found, max_model_len=case.requested or lengths.safe)
    if need <= case.small_budget:
        lower = f"lower spec.serving.maxModelLen: {lengths.safe:,} fits with a margin"
        return known(
            "Tight",
            "FitsWithoutMargin",
            found,
            remedy=f"should vLLM not start, {lower if lengths.safe else _MORE_MEMORY}",
            max_model_len=case.requested or lengths.largest,
        )
    shorter = _shorter(lengths)
    return known(
        "DoesNotFit",
        "ContextTooLong",
        f"{asked:,} tokens wanted; {found}",
        remedy=f"{shorter}, or {_MORE_MEMORY}" if shorter else _MORE_MEMORY,
        max_model_len=lengths.largest or None,
    )


def _beyond_limit(
    case: _Case, limit: int, requested: int, *, lengths: _Lengths | None = None, warnings: tuple[str, ...] = ()
) -> Fit:
    """``lengths`` are None when only the model's own limit is known."""
    within = f"set spec.serving.maxModelLen to at most {limit:,}"
    return case.outcome(
        "DoesNotFit",
        "MaxModelLenTooLong",
        f"maxModelLen {requested:,}; the model's limit is {limit:,} tokens (max_position_embeddings)",
        wanted=f"a maxModelLen of at most {limit:,}",
        remedy=within if lengths is None else _shorter(lengths) or _MORE_MEMORY,
        max_model_len=limit if lengths is None else lengths.largest or None,
        lengths=lengths,
        warnings=warnings,
    )


def _shorter(lengths: _Lengths) -> str | None:
    if not lengths.largest:
        return None
    return f"set spec.serving.maxModelLen to at most {lengths.largest:,} ({lengths.safe:,} fits with a margin)"


def _rounded(tokens: int, limit: int) -> int:
    step = 256 if tokens >= 256 else 16
    return tokens if tokens == limit else tokens // step * step


def _unknown(case: _Case | None, why: Unmodelled, limit: int | None, requested: int | None) -> Fit:
    if case and limit and requested and requested > limit:
        return _beyond_limit(case, limit, requested)
    cautious = min(UNKNOWN_MAX_MODEL_LEN, limit or UNKNOWN_MAX_MODEL_LEN)
    asked = f"maxModelLen {requested:,} is not checked" if requested else None
    warning = f"{why.detail}, so the fit is unknown: {asked or f'the template starts with {cautious:,} tokens'}"
    wanted = "safetensors of an architecture whose KV cache is computed"
    bare = Fit(verdict="Unknown", reason=why.reason, found=why.detail, wanted=wanted)
    known = case.outcome("Unknown", why.reason, why.detail) if case else bare
    return replace(
        known,
        wanted=wanted,
        max_model_len=requested or cautious,
        warnings=(*known.warnings, warning),
        remedy="set spec.serving.maxModelLen to a length known to work on this hardware",
    )


def _family_warnings(family: Family) -> tuple[str, ...]:
    return ("memory for images is not computed: lower maxModelLen if vLLM does not start",) if family.multimodal else ()
