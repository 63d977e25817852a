"""Whether a model fits the accelerators of a hardware profile, without a ten-minute start of vLLM to find out.

On each of TP accelerators (TP: the tensor parallel size) vLLM holds the weights, its overhead, and a KV cache that must
take one sequence of the longest length; otherwise it does not start::

    usable  = (memory - what the driver keeps) * gpu_memory_utilization
    budget  = usable - weights - overhead                            (weights, overhead: modules of those names)
    fits    = cost of the cache for max_model_len tokens <= budget   (kv_cache)

``Fits`` holds with half a GiB to spare and CUDA graphs at their largest, ``Tight`` only without. A length that no
version asked for always keeps that half GiB. A test compares the computed figures with vLLM itself and with measured
runs, and docs/fit.md shows the figures.

``max_num_seqs`` is part of the overhead. The template starts with a smaller number where vLLM's own leaves too little
for the requested length, or for 32,768 tokens where the version requests none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.api.model_version import Verdict
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.formats.names import DEFAULT_FORMAT
from gatehouse.domain.formats.table import FORMATS
from gatehouse.domain.hardware.dimensions import Dimensions, Unmodelled, dimensions_of, limit_named
from gatehouse.domain.hardware.kv_cache import CacheLayout, cache_layout
from gatehouse.domain.hardware.loading import refusal_of
from gatehouse.domain.hardware.overhead import (
    MARGIN,
    Overhead,
    encoder_memory,
    overhead_of,
    sequence_choices,
)
from gatehouse.domain.hardware.precision import Precision, check_precision
from gatehouse.domain.hardware.splits import Split, tensor_parallel_size
from gatehouse.domain.hardware.verdict import (
    SHIPPED_IMAGE,
    UNKNOWN_MAX_MODEL_LEN,
    Fit,
    too_long,
    unknown_fit,
    usable_bytes,
    usual_sizes,
)
from gatehouse.domain.hardware.weights import loaded_bytes, stored_bytes, tower_parameters
from gatehouse.domain.hardware.weights_fit import fit_by_weights, unserved_fit
from gatehouse.domain.runtimes.arguments import normal_arguments
from gatehouse.domain.runtimes.releases import Release, release_of

__all__ = ["SHIPPED_IMAGE", "SHORTEST_USEFUL", "UNKNOWN_MAX_MODEL_LEN", "Fit", "fit", "fit_config", "usable_bytes"]

SHORTEST_USEFUL: Final = 2048
"""The length that must fit when a version asks for none: vLLM's smallest default batch, in tokens."""

_GOAL: Final = 32_768
"""The length for which the template lowers ``max_num_seqs`` when a version asks for none."""

_ENCODER_UNKNOWN: Final = (
    "the memory for images or sound is unknown, as config.json does not give their sizes: "
    "lower maxModelLen or --max-num-seqs if vLLM does not start"
)
_MORE_MEMORY: Final = "choose a profile with more memory or more accelerators"

_ELEMENT_BYTES: Final = {"auto": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


class _Lengths(NamedTuple):
    """The longest sequences in tokens, with the margin and without, if at most ``sequences`` are served at once."""

    sequences: int
    bytes_per_token: int
    safe: int
    largest: int


class _Case(NamedTuple):
    """The known values before the cache is computed. ``usable`` is the memory vLLM may take of one accelerator.
    ``sequences`` are the numbers of sequences at once to choose from, the most first. ``graphs`` are CUDA graphs at
    their smallest and their largest."""

    machine: str
    usable: int
    weights: int
    split: Split
    sequences: tuple[int, ...]
    overheads: Overhead
    graphs: tuple[int, int]
    chunk: int
    release: Release
    requested: int | None
    precision: Precision
    warnings: tuple[str, ...]

    def small_budget(self, sequences: int) -> int:
        return self.usable - self.weights - self.overheads.of(sequences) - self.graphs[0]

    def careful_budget(self, sequences: int) -> int:
        return self.usable - self.weights - self.overheads.of(sequences) - self.graphs[1] - MARGIN

    @property
    def requirement(self) -> str:
        return f"weights, overhead and the cache of one sequence within {human_bytes(self.usable)} on {self.machine}"

    @property
    def more_memory(self) -> str:
        if self.split.with_experts <= self.split.size:
            return _MORE_MEMORY
        return (
            f"{_MORE_MEMORY}; or set --enable-expert-parallel in spec.serving.extraArgs, if the registry allows it in "
            f"spec.serving.allowedArguments: vLLM then spreads the experts over {self.split.with_experts} accelerators "
            f"without splitting them"
        )

    def outcome(
        self,
        verdict: Verdict,
        reason: str,
        found: str,
        *,
        requirement: str | None = None,
        remedy: str | None = None,
        max_model_len: int | None = None,
        lengths: _Lengths | None = None,
        warnings: tuple[str, ...] = (),
        cached: tuple[int, int] | None = None,
    ) -> Fit:
        sequences = lengths.sequences if lengths else self.sequences[0]
        return Fit(
            verdict=verdict,
            weights_bytes=self.weights,
            overhead_bytes=self.overheads.of(sequences),
            kv_cache_bytes_per_token=lengths.bytes_per_token if lengths else None,
            max_model_len=max_model_len,
            safe_max_model_len=lengths.safe if lengths else None,
            largest_max_model_len=lengths.largest if lengths else None,
            max_num_seqs=None if sequences == self.sequences[0] else sequences,
            tensor_parallel_size=self.split.size,
            dtype=self.precision.dtype,
            warnings=self.warnings + warnings,
            usable_bytes=self.usable,
            graph_bytes=self.graphs,
            kv_cache_tokens=cached[0] if cached else None,
            kv_cache_bytes=cached[1] if cached else None,
            sequences=sequences,
            usual_sequences=self.sequences[0],
            finding=Finding(
                reason=reason,
                found=found,
                expected=self.requirement if requirement is None else requirement,
                remedy=remedy or "",
            ),
        )


def fit(
    summary: ArtifactSummary,
    profile: HardwareProfileSpec,
    *,
    vllm_image: str = SHIPPED_IMAGE,
    requested_max_model_len: int | None = None,
    arguments: Sequence[str] = (),
) -> Fit:
    """Whether the artifact fits the profile, with ``spec.serving.maxModelLen`` of the version or without.

    The tag of ``vllm_image`` selects the release of vLLM to compute with; ``arguments`` are ``spec.serving.extraArgs``.
    The verdict is Unknown, with the reason and a warning, where the fit is not computed: formats other than
    safetensors, architectures that ``architectures.json`` does not have, numbers missing in config.json. Weights that
    are larger than the memory, or of a data type the accelerator does not run, do not fit whatever the architecture.
    """
    model = dimensions_of(summary.config or ModelConfig())
    limit, name = limit_named(model)
    known = FORMATS.get(summary.format)
    computed = known is not None and known.fit == "Computed"
    if not computed or summary.weights_bytes is None:
        detail = "the size of the weights is not known" if computed else f"the fit of {summary.format} is not computed"
        why = Unmodelled("FormatNotComputed", detail)
        if known is None or not known.runtimes:
            return unserved_fit(summary.format, why, limit, name=name)
        if known.fit == "Weights" and summary.weights_bytes is not None:
            length = requested_max_model_len
            return fit_by_weights(summary, profile, why, limit, length, known=known, name=name, image=vllm_image)
        return unknown_fit(why, limit, requested_max_model_len, name=name)
    asked = _Asked.of(requested_max_model_len, arguments)
    case = _case(summary, model, profile, vllm_image, asked)
    refusal = _refusal(case, model, asked)
    if refusal is not None:
        return refusal
    layout = _layout(summary, model, profile, case)
    if isinstance(layout, Unmodelled):
        return _unknown(case, layout, limit, name=name)
    if limit is None and asked.length is None:
        silent = Unmodelled("LengthUnknown", "config.json names no maximum length of the model")
        return _unknown(case, silent, None, name=name)
    return _judge(case, layout, limit or asked.length or 1, name=name, warnings=_model_warnings(model, case))


def fit_config(
    config: ModelConfig,
    profile: HardwareProfileSpec,
    *,
    vllm_image: str = SHIPPED_IMAGE,
    requested_max_model_len: int | None = None,
    arguments: Sequence[str] = (),
) -> Fit:
    """The fit of a model of which only config.json exists: the weights are estimated from it."""
    model = dimensions_of(config)
    stored = stored_bytes(model)
    summary = ArtifactSummary(
        format=DEFAULT_FORMAT, files=1, total_bytes=stored or 0, weights_bytes=stored, config=config
    )
    found = fit(
        summary,
        profile,
        vllm_image=vllm_image,
        requested_max_model_len=requested_max_model_len,
        arguments=arguments,
    )
    if stored is None:
        return found
    part = " of its language part" if tower_parameters(model) is None else ""
    return replace(found, warnings=(f"the weights{part} are estimated from config.json", *found.warnings))


class _Asked(NamedTuple):
    """The settings of a version: the length, and those of vLLM's arguments that the fit computes with."""

    length: int | None
    sequences: int | None = None
    chunk: int | None = None
    spread_experts: bool = False
    eager: bool = False
    method: str | None = None

    @classmethod
    def of(cls, length: int | None, arguments: Sequence[str]) -> _Asked:
        if not arguments:
            return cls(length=length)
        said = dict(argument.partition("=")[::2] for argument in normal_arguments(arguments))
        return cls(
            length=length,
            sequences=_positive(said.get("--max-num-seqs")),
            chunk=_positive(said.get("--max-num-batched-tokens")),
            spread_experts="--enable-expert-parallel" in said,
            eager="--enforce-eager" in said,
            method=said.get("--quantization") or None,
        )


def _positive(text: str | None) -> int | None:
    number = int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else 0
    return number or None


def _case(
    summary: ArtifactSummary, model: Dimensions, profile: HardwareProfileSpec, image: str, asked: _Asked
) -> _Case:
    accelerator = profile.accelerator
    release, told = release_of(image)
    split = tensor_parallel_size(model, accelerator.count, spread_experts=asked.spread_experts)
    name = f"{accelerator.vendor} {accelerator.model}"
    precision = check_precision(summary, profile, release)
    idle = _idle(model, accelerator.count, split) if split.size < accelerator.count else ()
    whole = model.whole
    encoder = whole is not None and (whole.encoder or whole.pooling)
    usable, most, chunk = usual_sizes(
        accelerator.memory, profile.serving.gpu_memory_utilization, accelerator.model, release.since
    )
    chunk = asked.chunk or chunk
    most = asked.sequences or most
    return _Case(
        machine=name if split.size == 1 else f"each of {split.size} {name}",
        usable=usable,
        weights=loaded_bytes(summary, model, release, tensor_parallel_size=split.size),
        split=split,
        sequences=(most,) if asked.sequences or encoder else sequence_choices(most),
        overheads=overhead_of(model, release, tensor_parallel_size=split.size, chunk=chunk),
        graphs=(0, 0) if asked.eager else release.graph_bytes,
        chunk=chunk,
        release=release,
        requested=asked.length,
        precision=precision,
        warnings=(*((told,) if told else ()), *precision.warnings, *idle),
    )


def _idle(model: Dimensions, count: int, split: Split) -> tuple[str]:
    """The warning about accelerators over which vLLM does not split the model."""
    what, more = f"{model.heads or 'unknown'} attention heads", ""
    if split.with_experts > split.size:
        what = f"experts of {model.expert_size} in whole blocks"
        more = f"; with --enable-expert-parallel they would use {split.with_experts}"
    return (f"{count - split.size} of {count} accelerators are not used: {what} split over {split.size}{more}",)


def _layout(
    summary: ArtifactSummary, model: Dimensions, profile: HardwareProfileSpec, case: _Case
) -> CacheLayout | Unmodelled:
    config, release = summary.config, case.release
    if config is None:
        return Unmodelled("ConfigMissing", "there is no config.json")
    if config.architecture is None:
        return Unmodelled("ArchitectureUnknown", "config.json names no architecture")
    if model.text is None:
        return Unmodelled("ArchitectureUnknown", f"how {config.architecture} caches attention is not known")
    element = _ELEMENT_BYTES[profile.serving.kv_cache_dtype]
    fixed = config.quantization.kv_cache_bits if config.quantization else None
    if profile.serving.kv_cache_dtype == "auto" and release.checkpoint_cache and fixed == 8:
        element = 1
    return cache_layout(
        model,
        release,
        tensor_parallel_size=case.split.size,
        element_bytes=element,
        chunk=case.chunk,
    )


def _refusal(case: _Case, model: Dimensions, asked: _Asked) -> Fit | None:
    """The problem that rules the model out whatever the cache is."""
    problem = refusal_of(model, case.release, method=asked.method) or case.precision.problem
    if problem:
        return case.outcome(
            "DoesNotFit", problem.reason, problem.found, requirement=problem.expected, remedy=problem.remedy
        )
    if case.small_budget(case.sequences[-1]) < 0:
        found = f"{human_bytes(case.weights)} of weights on {case.machine}; {human_bytes(case.usable)} can be used"
        return case.outcome("DoesNotFit", "WeightsTooLarge", found, remedy=f"{case.more_memory}, or quantize the model")
    return None


def _lengths(case: _Case, layout: CacheLayout, limit: int, sequences: int) -> _Lengths:
    return _Lengths(
        sequences=sequences,
        bytes_per_token=layout.bytes_per_token,
        safe=_rounded(layout.longest(case.careful_budget(sequences), limit=limit), limit),
        largest=_rounded(layout.longest(case.small_budget(sequences), limit=limit), limit),
    )


def _chosen(case: _Case, layout: CacheLayout, limit: int) -> _Lengths:
    """The lengths with the most sequences that leave room for the requested length, or for a long one without a
    request."""
    usual = _lengths(case, layout, limit, case.sequences[0])
    goal = min(case.requested or _GOAL, limit)
    if usual.safe >= goal or len(case.sequences) == 1:
        return usual
    fewest = _lengths(case, layout, limit, case.sequences[-1])
    if case.requested is None:
        # Where the goal is out of reach, fewer sequences must gain at least a tenth.
        goal = min(goal, max(min(SHORTEST_USEFUL, limit), fewest.safe * 9 // 10))
    if fewest.safe < goal:
        return fewest
    for sequences in case.sequences[1:-1]:
        found = _lengths(case, layout, limit, sequences)
        if found.safe >= goal:
            return found
    return fewest


def _judge(case: _Case, layout: CacheLayout, limit: int, *, name: str, warnings: tuple[str, ...]) -> Fit:
    if case.requested is not None and case.requested > limit:
        lengths = _chosen(case._replace(requested=None), layout, limit)
        return _beyond_limit(case, limit, case.requested, name=name, lengths=lengths, warnings=warnings)
    lengths = _chosen(case, layout, limit)
    asked = case.requested or min(SHORTEST_USEFUL, limit)
    cache = f"{human_bytes(lengths.bytes_per_token)} of KV cache a token" if layout.terms else "no KV cache that grows"
    few = "" if lengths.sequences == case.sequences[0] else f", with --max-num-seqs={lengths.sequences}"
    found = (
        f"{human_bytes(case.weights)} of weights, {human_bytes(case.overheads.of(lengths.sequences))} of overhead and "
        f"{cache} on {case.machine}: {lengths.safe:,} tokens fit with a margin, {lengths.largest:,} at most{few}"
    )
    need = layout.cost(asked)
    tokens = case.requested or lengths.safe or asked
    known = partial(case.outcome, lengths=lengths, warnings=warnings, cached=(tokens, layout.cost(tokens)))
    if need <= case.careful_budget(lengths.sequences):
        return known("Fits", "FitsWithMargin", found, max_model_len=case.requested or lengths.safe)
    shorter = _shorter(lengths)
    if case.requested is None and lengths.safe:
        remedy = f"{case.more_memory}, or accept {lengths.safe:,} tokens"
        return known("Tight", "FitsShortTexts", found, remedy=remedy, max_model_len=lengths.safe)
    if case.requested is not None and need <= case.small_budget(lengths.sequences):
        remedy = f"if vLLM does not start, {shorter or case.more_memory}"
        return known("Tight", "FitsWithoutMargin", found, remedy=remedy, max_model_len=case.requested)
    return known(
        "DoesNotFit",
        "ContextTooLong",
        f"{asked:,} tokens requested; {found}",
        remedy=f"{shorter}, or {case.more_memory}" if shorter else case.more_memory,
        max_model_len=lengths.safe or None,
    )


def _beyond_limit(
    case: _Case,
    limit: int,
    requested: int,
    *,
    name: str,
    lengths: _Lengths | None = None,
    warnings: tuple[str, ...] = (),
) -> Fit:
    """``lengths`` are None when only the model's own limit is known."""
    problem = too_long(limit, requested, name=name)
    return case.outcome(
        "DoesNotFit",
        problem.reason,
        problem.found,
        requirement=problem.expected,
        remedy=problem.remedy if lengths is None else _shorter(lengths) or case.more_memory,
        max_model_len=limit if lengths is None else lengths.safe or None,
        lengths=lengths,
        warnings=warnings,
    )


def _shorter(lengths: _Lengths) -> str | None:
    return f"set spec.serving.maxModelLen to at most {lengths.safe:,}" if lengths.safe else None


def _rounded(tokens: int, limit: int) -> int:
    step = 256 if tokens >= 256 else 16
    return tokens if tokens == limit else tokens // step * step


def _unknown(case: _Case, why: Unmodelled, limit: int | None, *, name: str) -> Fit:
    """The facts that are known all the same: the weights, the least overhead of vLLM, and the model's limit."""
    requested = case.requested
    if limit and requested and requested > limit:
        return _beyond_limit(case, limit, requested, name=name)
    least = case.weights + case.overheads.of(case.sequences[-1])
    text = f"; weights and overhead take at least {human_bytes(least)} of {human_bytes(case.usable)} on {case.machine}"
    unknown = unknown_fit(why, limit, requested, name=name, least=text)
    known = case.outcome("Unknown", why.reason, unknown.finding.found)
    return replace(
        known,
        finding=unknown.finding,
        max_model_len=unknown.max_model_len,
        warnings=known.warnings + unknown.warnings,
    )


def _model_warnings(model: Dimensions, case: _Case) -> tuple[str, ...]:
    encoder = encoder_memory(model, case.release, tensor_parallel_size=case.split.size, chunk=case.chunk)
    if encoder is not None:
        return ()
    return (_ENCODER_UNKNOWN,)
