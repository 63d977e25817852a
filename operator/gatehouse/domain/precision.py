"""Which data types an accelerator runs: what a model's weights demand of it.

Sources: vLLM 0.11, "Quantization: supported hardware" (Volta 7.0, Turing 7.5, Ampere 8.0 and 8.6, Ada 8.9, Hopper 9.0),
"FP8 W8A8" (computed from 8.9, weight-only through Marlin from 7.5), "GPU installation" (7.0 or more), and the table
of model types that it refuses to run in float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gatehouse.api.hardware_profile import Accelerator, HardwareProfileSpec
from gatehouse.domain.artifact import ArtifactSummary, Problem

__all__ = ["Precision", "check_precision"]

Capability = tuple[int, int]

_OLDEST: Final = (7, 0)
_BFLOAT16: Final = (8, 0)
_FP8_COMPUTE: Final = (8, 9)
_FP8_DTYPES: Final = frozenset({"F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ"})  # E8M0 holds scales only
_NO_FLOAT16: Final = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4", "plamo2"})


@dataclass(frozen=True, slots=True)
class _Demand:
    """A way to store weights: the least capability that runs it, and the least that computes in it."""

    name: str
    runs: Capability
    computes: Capability


_FP8 = _Demand("FP8", (7, 5), _FP8_COMPUTE)
_FP4 = _Demand("FP4", (8, 0), (10, 0))
_AWQ = _Demand("AWQ", (7, 5), (7, 5))
_GPTQ = _Demand("GPTQ", (7, 0), (7, 0))
_INTEGER = _Demand("integer-quantized", (7, 5), (7, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """``dtype`` is what vLLM's ``--dtype`` must be; a problem's ``rule`` is the reason of the verdict."""

    problem: Problem | None = None
    warnings: tuple[str, ...] = ()
    dtype: Literal["auto", "half"] = "auto"


def check_precision(summary: ArtifactSummary, profile: HardwareProfileSpec) -> Precision:
    """Whether the accelerator runs the data types of the weights, and how."""
    accelerator = profile.accelerator
    capability = _capability(accelerator)
    if capability is not None and capability < _OLDEST:
        return Precision(problem=_too_old("AcceleratorTooOld", "vLLM", accelerator, _OLDEST))
    demand = _demand(summary)
    quantized = _quantized(demand, accelerator, capability) if demand else Precision()
    if quantized.problem:
        return quantized
    half = _half(summary, accelerator, capability)
    warnings = (*quantized.warnings, *half.warnings, *_cache_warnings(profile, capability))
    return Precision(problem=half.problem, warnings=warnings, dtype=half.dtype)


def _capability(accelerator: Accelerator) -> Capability | None:
    if accelerator.compute_capability is None:
        return None
    major, _, minor = accelerator.compute_capability.partition(".")
    return int(major), int(minor)


def _demand(summary: ArtifactSummary) -> _Demand | None:
    quantization = summary.config.quantization if summary.config else None
    method = (quantization.method or "").lower() if quantization else ""
    if method == "mxfp4" or (quantization and quantization.bits == 4 and quantization.weight_type == "float"):
        return _FP4
    if method in {"fp8", "fbgemm_fp8"} or not _FP8_DTYPES.isdisjoint(summary.dtypes):
        return _FP8
    if quantization is None:
        return None
    if quantization.bits == 8 and quantization.weight_type == "float":
        return _FP8
    return {"awq": _AWQ, "gptq": _GPTQ}.get(method) or (_INTEGER if quantization.weight_type == "int" else None)


def _quantized(demand: _Demand, accelerator: Accelerator, capability: Capability | None) -> Precision:
    name = _name(accelerator)
    weight_only = f"{name} holds {demand.name} weights but does not compute in {demand.name}: less throughput"
    if demand is _FP8 and accelerator.fp8 is not None:
        if accelerator.fp8 == "None":
            return Precision(
                problem=Problem(
                    rule="Fp8NotSupported",
                    found=f"FP8 weights; the profile says that {name} does not run them (accelerator.fp8: None)",
                    wanted="accelerator.fp8: Compute or WeightOnly",
                    remedy="choose a hardware profile that runs FP8, or weights in BF16",
                )
            )
        return Precision(warnings=(weight_only,) if accelerator.fp8 == "WeightOnly" else ())
    if capability is None:
        field = "accelerator.fp8" if demand is _FP8 else "accelerator.computeCapability"
        return Precision(warnings=(f"whether {name} runs {demand.name} weights is not known: no {field}",))
    if capability < demand.runs:
        reason = "Fp8NotSupported" if demand is _FP8 else "QuantizationNotSupported"
        return Precision(problem=_too_old(reason, f"{demand.name} weights", accelerator, demand.runs))
    return Precision(warnings=(weight_only,) if capability < demand.computes else ())


def _half(summary: ArtifactSummary, accelerator: Accelerator, capability: Capability | None) -> Precision:
    config = summary.config
    bfloat16 = config.dtype == "bfloat16" if config and config.dtype else "BF16" in summary.dtypes
    if not bfloat16 or capability is None or capability >= _BFLOAT16:
        return Precision()
    model_type = config and next((t for t in (config.text_model_type, config.model_type) if t in _NO_FLOAT16), None)
    if model_type:
        return Precision(
            problem=_too_old(
                "Bfloat16NotSupported",
                f"BF16, without which {model_type} is numerically unstable,",
                accelerator,
                _BFLOAT16,
            )
        )
    return Precision(
        dtype="half", warnings=(f"{_name(accelerator)} has no BF16: vLLM is started with --dtype=half (FP16)",)
    )


def _cache_warnings(profile: HardwareProfileSpec, capability: Capability | None) -> tuple[str, ...]:
    dtype = profile.serving.kv_cache_dtype
    if not dtype.startswith("fp8") or capability is None or capability >= _FP8_COMPUTE:
        return ()
    return (f"a KV cache in {dtype} wants compute capability 8.9; {_name(profile.accelerator)} may not start with it",)


def _too_old(reason: str, what: str, accelerator: Accelerator, least: Capability) -> Problem:
    return Problem(
        rule=reason,
        found=f"{_name(accelerator)} has compute capability {accelerator.compute_capability}",
        wanted=f"{what} wants compute capability {least[0]}.{least[1]} or more",
        remedy="choose a hardware profile with a newer accelerator, or weights in another data type",
    )


def _name(accelerator: Accelerator) -> str:
    return f"{accelerator.vendor} {accelerator.model}"
