"""The data types that an accelerator runs, and the demands of a model's weights, by release of vLLM.

Sources: ``get_min_capability`` of each method in vLLM's ``layers/quantization`` (``releases.json`` has the figures);
"FP8 W8A8" (computed from 8.9, weight-only through Marlin below); "GPU installation" (7.0 or more; 7.5 since the wheels
are built with CUDA 13); the table of model types that vLLM refuses to run in float16; and ``TritonMLA``, which accepted
no FP8 cache at first and accepts it from 8.9 on since 0.30 at the latest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gatehouse.api.hardware_profile import Accelerator, HardwareProfileSpec
from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.runtimes.releases import Capability, Release

__all__ = ["Precision", "check_precision"]

_BFLOAT16: Final = (8, 0)
_FP8_COMPUTE: Final = (8, 9)
_FP4_COMPUTE: Final = (10, 0)
_FP8_DTYPES: Final = frozenset({"F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ"})  # E8M0 holds scales only
_NO_FLOAT16: Final = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4", "plamo2"})
_FP4_METHODS: Final = frozenset({"mxfp4", "modelopt_fp4", "petit_nvfp4", "gpt_oss_mxfp4"})
_FP8_METHODS: Final = frozenset({"fp8", "fbgemm_fp8", "ptpc_fp8"})
_PLAIN_METHODS: Final = {
    "awq": ("AWQ", "awq"),
    "auto_awq": ("AWQ", "awq"),
    "awq_marlin": ("AWQ", "awq"),
    "gptq": ("GPTQ", "gptq"),
    "auto_gptq": ("GPTQ", "gptq"),
    "gptq_marlin": ("GPTQ", "gptq"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "torchao": ("torchao", "torchao"),
    "hqq": ("HQQ", "hqq"),
    "quark": ("Quark", "quark"),
    "experts_int8": ("integer-quantized", "experts_int8"),
}


@dataclass(frozen=True, slots=True)
class _Demand:
    """A method to store weights: its name, the least capability that runs it, and the least that computes in it."""

    name: str
    runs: Capability
    computes: Capability
    fp8: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """``dtype`` is the value for vLLM's ``--dtype``; a problem's ``rule`` is the reason of the verdict."""

    problem: Finding | None = None
    warnings: tuple[str, ...] = ()
    dtype: Literal["auto", "half"] = "auto"


def check_precision(summary: ArtifactSummary, profile: HardwareProfileSpec, release: Release) -> Precision:
    """Whether the accelerator runs the data types of the weights, and how."""
    accelerator = profile.accelerator
    capability = _capability(accelerator)
    if capability is not None and capability < release.oldest:
        return Precision(problem=_too_old("AcceleratorTooOld", release.name, accelerator, release.oldest))
    demand = _demand(summary, release)
    quantized = _quantized(demand, accelerator, capability) if demand else Precision()
    if quantized.problem:
        return quantized
    cache = _cache(summary, profile, capability, release)
    if cache.problem:
        return cache
    half = _half(summary, accelerator, capability)
    warnings = (*quantized.warnings, *half.warnings, *cache.warnings)
    return Precision(problem=half.problem, warnings=warnings, dtype=half.dtype)


def _capability(accelerator: Accelerator) -> Capability | None:
    if accelerator.compute_capability is None:
        return None
    major, _, minor = accelerator.compute_capability.partition(".")
    return int(major), int(minor)


def _demand(summary: ArtifactSummary, release: Release) -> _Demand | None:
    quantization = summary.config.quantization if summary.config else None
    method = (quantization.method or "").lower() if quantization else ""
    least = release.least
    if method in _PLAIN_METHODS:
        name, key = _PLAIN_METHODS[method]
        return _Demand(name, least[key], least[key])
    four_bit_floats = quantization is not None and quantization.bits == 4 and quantization.weight_type == "float"
    if method in _FP4_METHODS or four_bit_floats:
        return _Demand("FP4", least["fp4"], _FP4_COMPUTE)
    if method == "modelopt":
        return _Demand("ModelOpt's FP8", least["modelopt-fp8"], _FP8_COMPUTE, fp8=True)
    eight_bit_floats = quantization is not None and quantization.bits == 8 and quantization.weight_type == "float"
    if method in _FP8_METHODS or eight_bit_floats or not _FP8_DTYPES.isdisjoint(summary.dtypes):
        return _Demand("FP8", least["fp8"], _FP8_COMPUTE, fp8=True)
    return None if quantization is None else _integers(quantization, release)


def _integers(quantization: Quantization, release: Release) -> _Demand | None:
    """Integer weights, as compressed-tensors stores them: with activations in 8 bits, or weights alone."""
    if quantization.weight_type != "int":
        return None
    key = "int8" if quantization.activation_bits == 8 else "wna16"
    return _Demand("integer-quantized", release.least[key], release.least[key])


def _quantized(demand: _Demand, accelerator: Accelerator, capability: Capability | None) -> Precision:
    name = _name(accelerator)
    weight_only = f"{name} stores {demand.name} weights but does not compute in {demand.name}: throughput is lower"
    if demand.fp8 and accelerator.fp8 is not None:
        if accelerator.fp8 == "None":
            return Precision(
                problem=Finding(
                    reason="Fp8NotSupported",
                    found=f"FP8 weights; the profile says that {name} does not run them (accelerator.fp8: None)",
                    expected="accelerator.fp8: Compute or WeightOnly",
                    remedy="choose a hardware profile that runs FP8, or weights in BF16",
                )
            )
        return Precision(warnings=(weight_only,) if accelerator.fp8 == "WeightOnly" else ())
    if capability is None:
        field = "accelerator.fp8" if demand.fp8 else "accelerator.computeCapability"
        return Precision(warnings=(f"without {field}, whether {name} runs {demand.name} weights is unknown",))
    if capability < demand.runs:
        reason = "Fp8NotSupported" if demand.fp8 else "QuantizationNotSupported"
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
        dtype="half", warnings=(f"{_name(accelerator)} has no BF16: vLLM starts with --dtype=half (FP16)",)
    )


def _cache(
    summary: ArtifactSummary, profile: HardwareProfileSpec, capability: Capability | None, release: Release
) -> Precision:
    dtype: str = profile.serving.kv_cache_dtype
    config = summary.config
    named = config.quantization.kv_cache_bits if config and config.quantization else None
    if dtype == "auto" and release.checkpoint_cache and named == 8:
        dtype = "fp8, which the checkpoint names,"
    if not dtype.startswith("fp8") or capability is None:
        return Precision()
    if config is not None and config.kv_lora_rank and capability < release.latent_fp8_cache:
        what = f"a KV cache in {dtype} with latent attention"
        return Precision(problem=_too_old("CacheTypeNotSupported", what, profile.accelerator, release.latent_fp8_cache))
    if capability >= _FP8_COMPUTE:
        return Precision()
    warning = f"a KV cache in {dtype} needs compute capability 8.9; {_name(profile.accelerator)} may not start with it"
    return Precision(warnings=(warning,))


def _too_old(reason: str, what: str, accelerator: Accelerator, least: Capability) -> Finding:
    return Finding(
        reason=reason,
        found=f"{_name(accelerator)} has compute capability {accelerator.compute_capability}",
        expected=f"compute capability {least[0]}.{least[1]} or more for {what}",
        remedy="choose a hardware profile with a newer accelerator, or weights in another data type",
    )


def _name(accelerator: Accelerator) -> str:
    return f"{accelerator.vendor} {accelerator.model}"
