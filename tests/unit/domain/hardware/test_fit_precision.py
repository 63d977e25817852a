"""What an accelerator and a release of vLLM load and run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.hardware.architectures import architectures
from gatehouse.domain.hardware.fit import (
    SHIPPED_IMAGE,
    fit,
)
from gatehouse.domain.runtimes.releases import releases
from unit.domain.hardware.fits import (
    FP8,
    GIB,
    OLD_IMAGE,
    granite,
    profile,
    shipped,
    summary,
)


class TestLoading:
    @pytest.mark.parametrize("method", ["exl2", "exl3", "aqlm", "quanto", "eetq"])
    def test_a_method_that_no_release_loads_is_said_to_be_that(self, method: str) -> None:
        found = fit(summary(granite(quantization=Quantization(method=method))), profile())
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", "QuantizationNotLoaded")
        assert "the files are correct" in (found.finding.remedy or "")

    def test_an_architecture_of_newer_releases_names_them(self) -> None:
        model = granite(architecture="MiniMaxM2ForCausalLM")
        found = fit(summary(model), profile(), vllm_image=OLD_IMAGE)
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", "ArchitectureNotLoaded")
        assert "vLLM 0.33" in (found.finding.remedy or "")
        assert fit(summary(model), profile()).verdict == "Fits"

    @pytest.mark.parametrize(
        ("method", "loaded", "plugin"),
        [
            ("bitsandbytes", {11, 21, 27}, "vllm-bnb-plugin"),
            ("hqq", {11, 21, 27, 28, 29}, ""),
            ("fbgemm_fp8", {11, 21, 27, 28, 29}, ""),
            ("auto-round", {11, 21, 27, 28, 29, 30, 33}, ""),
            ("mxfp8", {30, 33}, ""),
        ],
    )
    def test_what_a_release_no_longer_loads_names_the_last_that_does(
        self, method: str, loaded: set[int], plugin: str
    ) -> None:
        model = summary(granite(quantization=Quantization(method=method, bits=8), dtype="float16"))
        for minor in (11, 21, 27, 28, 29, 30, 33):
            found = fit(model, profile(), vllm_image=f"vllm:v0.{minor}.0")
            assert (found.finding.reason != "QuantizationNotLoaded") is (minor in loaded), minor
            if minor not in loaded:
                near = max((each for each in loaded if each < minor), default=min(loaded))
                assert f"vLLM 0.{minor}" in found.finding.found
                assert f"vLLM 0.{near}" in (found.finding.remedy or "")
                assert plugin in (found.finding.remedy or "")

    def test_a_method_that_the_arguments_name_has_to_be_one_of_the_release(self) -> None:
        model = summary(granite(quantization=None), dtypes={"BF16": 8 * 10**9})
        asked = ["--quantization=bitsandbytes"]
        assert fit(model, profile(), arguments=asked, vllm_image="vllm:v0.27.0").verdict == "Fits"
        found = fit(model, profile(), arguments=asked)
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", "QuantizationNotLoaded")
        assert "remove --quantization=bitsandbytes" in (found.finding.remedy or "")
        assert fit(model, profile(), arguments=["--quantization=fp8"]).verdict == "Fits"

    @pytest.mark.parametrize(("minor", "loaded"), [(11, True), (23, True), (24, False), (30, False), (33, False)])
    def test_gguf_needs_a_plugin_since_0_24(self, minor: int, loaded: bool) -> None:
        model = summary(format="gguf")
        found = fit(model, profile(), vllm_image=f"vllm/vllm-openai:v0.{minor}.0")
        assert (found.finding.reason == "FormatNotComputed") is loaded
        if not loaded:
            assert (found.verdict, found.finding.reason) == ("DoesNotFit", "GgufNotLoaded")
            assert "vLLM 0.23 or older" in (found.finding.remedy or "")
            assert "vllm-gguf-plugin" in (found.finding.remedy or "")
        own = fit(model, profile(), vllm_image="registry.example/vllm-with-gguf:1")
        assert own.verdict == "Unknown"
        assert "vllm-with-gguf:1" in own.warnings[0]

    @pytest.mark.parametrize("name", [name for name, each in architectures().items() if each.until is not None])
    def test_an_architecture_that_is_gone_names_the_last_release_that_has_it(self, name: str) -> None:
        until = architectures()[name].until
        model = summary(granite(architecture=name))
        assert fit(model, profile(), vllm_image=f"vllm:v0.{until}.1").finding.reason != "ArchitectureNotLoaded"
        found = fit(model, profile(), vllm_image=f"vllm:v0.{(until or 0) + 1}.0")
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", "ArchitectureNotLoaded")
        assert f"vLLM 0.{until} or older" in (found.finding.remedy or "")

    def test_every_release_loads_what_it_has_a_capability_for(self) -> None:
        assert all({"fp8", "awq", "gptq", "compressed-tensors", "modelopt"} <= each.loads for each in releases())


class TestPrecision:
    @pytest.mark.parametrize(
        ("machine", "verdict", "reason", "warned"),
        [
            ("nvidia-l4", "Fits", "FitsWithMargin", False),
            ("nvidia-a10g", "Fits", "FitsWithMargin", True),
            ("nvidia-h100-80gb", "Fits", "FitsWithMargin", False),
            ("nvidia-b200", "Fits", "FitsWithMargin", False),
            ("amd-mi300x", "Fits", "FitsWithMargin", False),
            ("nvidia-t4", "Fits", "FitsWithMargin", True),
        ],
    )
    def test_fp8_on_shipped_profiles(self, machine: str, verdict: str, reason: str, warned: bool) -> None:
        found = fit(summary(), shipped(machine).spec)
        assert (found.verdict, found.finding.reason, bool(found.warnings)) == (verdict, reason, warned)

    def test_an_older_release_runs_no_fp8_weights_on_a_t4(self) -> None:
        found = fit(summary(), shipped("nvidia-t4").spec, vllm_image=OLD_IMAGE)
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", "Fp8NotSupported")

    def test_the_shipped_release_runs_fp8_weights_on_a_t4_in_fp16(self) -> None:
        found = fit(summary(), shipped("nvidia-t4").spec)
        assert (found.verdict, found.dtype, len(found.warnings)) == ("Fits", "half", 2)
        assert "--dtype=half" in found.warnings[1]

    @pytest.mark.parametrize(
        ("quantization", "capability", "least"),
        [
            (
                Quantization(method="modelopt", format="FP8", bits=8, weight_type="float"),
                "8.6",
                {11: False, 29: False, 30: True, 33: True},
            ),
            (
                Quantization(method="modelopt", format="FP8", bits=8, weight_type="float"),
                "8.9",
                {11: True, 30: True, 33: True},
            ),
            (Quantization(method="fp8", bits=8), "7.5", {11: False, 29: False, 30: True, 33: True}),
            (
                Quantization(method="compressed-tensors", bits=4, weight_type="int"),
                "7.5",
                {11: False, 29: False, 30: True, 33: True},
            ),
            (Quantization(method="awq", bits=4), "7.5", {11: True, 30: True, 33: True}),
        ],
    )
    def test_what_runs_hangs_on_the_release(
        self, quantization: Quantization, capability: str, least: dict[int, bool]
    ) -> None:
        model = summary(granite(quantization=quantization, dtype="float16"), dtypes={"I8": 10**9})
        for minor, runs in least.items():
            found = fit(model, profile(computeCapability=capability), vllm_image=f"vllm:v0.{minor}.0")
            assert (found.verdict != "DoesNotFit") == runs, minor

    @pytest.mark.parametrize(
        ("capability", "image", "refused"),
        [
            ("8.0", OLD_IMAGE, True),
            ("8.9", OLD_IMAGE, True),
            ("8.0", SHIPPED_IMAGE, True),
            ("8.9", SHIPPED_IMAGE, False),
        ],
    )
    def test_which_accelerators_hold_latent_attention_in_fp8(self, capability: str, image: str, refused: bool) -> None:
        model = granite(architecture="DeepseekV2ForCausalLM", kv_lora_rank=512, qk_rope_head_dim=64, quantization=None)
        machine = profile(computeCapability=capability, serving={"kvCacheDtype": "fp8"})
        found = fit(summary(model, dtypes={"BF16": 1}), machine, vllm_image=image)
        assert (found.finding.reason == "CacheTypeNotSupported") is refused

    @pytest.mark.parametrize(
        ("machine", "reason"),
        [
            ({"computeCapability": "7.0"}, "AcceleratorTooOld"),
            ({"computeCapability": "6.1"}, "AcceleratorTooOld"),
            ({"fp8": "None"}, "Fp8NotSupported"),
            ({"vendor": "AMD", "computeCapability": None, "fp8": "None"}, "Fp8NotSupported"),
        ],
    )
    def test_accelerators_that_do_not_run_fp8(self, machine: dict[str, Any], reason: str) -> None:
        found = fit(summary(), profile(**machine))
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", reason)
        assert found.finding.remedy

    def test_releases_before_cuda_13_run_on_volta(self) -> None:
        volta, plain = profile(computeCapability="7.0"), summary(granite(quantization=None), dtypes={"F16": 10**9})
        assert fit(plain, volta, vllm_image=OLD_IMAGE).verdict == "Fits"
        found = fit(plain, volta)
        assert (found.finding.reason, found.finding.expected) == (
            "AcceleratorTooOld",
            "compute capability 7.5 or more for vLLM 0.30",
        )

    @pytest.mark.parametrize(
        ("machine", "warning"),
        [
            ({"vendor": "AMD", "computeCapability": None, "fp8": "WeightOnly"}, "throughput is lower"),
            ({"vendor": "AMD", "computeCapability": None}, "unknown"),
            ({"computeCapability": "8.0"}, "throughput is lower"),
            ({"computeCapability": "8.0", "fp8": "Compute"}, ""),
        ],
    )
    def test_accelerators_that_may(self, machine: dict[str, Any], warning: str) -> None:
        found = fit(summary(), profile(**machine))
        assert found.verdict == "Fits"
        assert all(warning in each for each in found.warnings)
        assert bool(found.warnings) == bool(warning)

    @pytest.mark.parametrize(
        ("quantization", "capability", "reason"),
        [
            (Quantization(method="mxfp4"), "7.5", "QuantizationNotSupported"),
            (Quantization(method="compressed-tensors", bits=4, weight_type="float"), "8.9", "FitsWithMargin"),
            (Quantization(method="awq", bits=4), "7.0", "QuantizationNotSupported"),
            (Quantization(method="gptq", bits=4), "7.0", "FitsWithMargin"),
            (
                Quantization(method="compressed-tensors", bits=8, weight_type="int", activation_bits=8),
                "7.0",
                "QuantizationNotSupported",
            ),
        ],
    )
    def test_other_quantizations(self, quantization: Quantization, capability: str, reason: str) -> None:
        config = granite(quantization=quantization, dtype="float16")
        machine = profile(computeCapability=capability)
        assert fit(summary(config, dtypes={"I32": 10**9}), machine, vllm_image=OLD_IMAGE).finding.reason == reason

    def test_gemma_needs_bf16(self) -> None:
        config = granite(architecture="Gemma2ForCausalLM", model_type="gemma2", quantization=None)
        found = fit(summary(config, weights_bytes=4 * GIB, dtypes={"BF16": 2 * GIB}), shipped("nvidia-t4").spec)
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", "Bfloat16NotSupported")

    @pytest.mark.parametrize(("image", "warned"), [(OLD_IMAGE, False), (SHIPPED_IMAGE, True)])
    def test_a_cache_that_the_checkpoint_has_in_fp8_wants_ada_too(self, image: str, warned: bool) -> None:
        named = replace(FP8, kv_cache_bits=8)
        found = fit(summary(granite(quantization=named)), profile(computeCapability="8.0"), vllm_image=image)
        assert any("which the checkpoint names" in warning for warning in found.warnings) is warned
        assert found.kv_cache_bytes_per_token == (80 if warned else 160) * 1024

    def test_an_fp8_cache_wants_ada(self) -> None:
        found = fit(summary(), profile(computeCapability="8.0", serving={"kvCacheDtype": "fp8"}))
        assert any("KV cache" in warning for warning in found.warnings)
