"""Whether a model fits the accelerators of a profile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse.domain.hardware.architectures import architectures
from gatehouse.domain.hardware.dimensions import dimensions_of
from gatehouse.domain.hardware.fit import (
    SHIPPED_IMAGE,
    SHORTEST_USEFUL,
    UNKNOWN_MAX_MODEL_LEN,
    Fit,
    fit,
    fit_config,
)
from gatehouse.domain.hardware.kv_cache import CacheLayout, Term, cache_layout
from gatehouse.domain.hardware.overhead import MARGIN
from gatehouse.domain.hardware.releases import release_of, releases
from gatehouse.domain.model_config import ModelConfig, RopeScaling
from gatehouse.domain.quantization import Quantization
from unit.domain.fits import FP8, PROFILES, granite, granite_fp8_bytes, profile, shipped, summary

GIB = 2**30


OLD_IMAGE, GGUF_IMAGE = "vllm/vllm-openai:v0.11.0", "vllm/vllm-openai:v0.23.0"
OLD, NEW = release_of(OLD_IMAGE)[0], release_of("vllm:v0.33.0")[0]


def layout(config: ModelConfig, *, tp: int = 1, element_bytes: int = 2, chunk: int = 2048) -> CacheLayout:
    found = cache_layout(dimensions_of(config), OLD, tensor_parallel_size=tp, element_bytes=element_bytes, chunk=chunk)
    assert isinstance(found, CacheLayout)
    return found


def full_and_windowed(found: CacheLayout) -> tuple[int, int]:
    """Bytes a token in layers that keep all, and in those that do not."""
    full = sum(term.bytes // term.block for term in found.terms if term.cap is None)
    return full, found.bytes_per_token - full


class TestGranite:
    """The reference model on the reference accelerator."""

    def test_its_weights(self) -> None:
        assert granite_fp8_bytes()[0] / GIB == pytest.approx(7.80, abs=0.005)

    def test_fits_an_l4(self) -> None:
        found = fit(summary(), shipped("nvidia-l4").spec)
        assert (found.verdict, found.reason) == ("Fits", "FitsWithMargin")
        assert found.kv_cache_bytes_per_token == 160 * 1024
        assert found.max_model_len == found.safe_max_model_len == 58_624
        assert found.largest_max_model_len == 72_448
        assert (found.warnings, found.max_num_seqs) == ((), None)

    def test_the_seeded_version_fits_the_profile_that_it_names(self) -> None:
        seed = PROFILES.parent / "seed" / "granite-3.1-8b-instruct-fp8.yaml"
        documents = yaml.safe_load_all(seed.read_text(encoding="utf-8"))
        [spec] = [each["spec"] for each in documents if each["kind"] == "ModelVersion"]
        asked = spec["serving"]["maxModelLen"]
        found = fit(summary(), shipped(spec["hardwareProfileRef"]["name"]).spec, requested_max_model_len=asked)
        assert (found.verdict, found.max_model_len, found.max_num_seqs, found.warnings) == ("Fits", 16_384, None, ())

    def test_before_graphs_counted_it_took_longer_texts(self) -> None:
        found = fit(summary(), shipped("nvidia-l4").spec, vllm_image=OLD_IMAGE)
        assert (found.verdict, found.safe_max_model_len, found.largest_max_model_len) == ("Fits", 71_680, 75_008)

    def test_does_not_fit_with_the_length_of_its_configuration(self) -> None:
        found = fit(summary(), shipped("nvidia-l4").spec, requested_max_model_len=131_072)
        assert (found.verdict, found.reason, found.max_model_len) == ("DoesNotFit", "ContextTooLong", 60_160)
        assert found.remedy is not None
        assert "60,160" in found.remedy
        assert "131,072" in found.found

    @pytest.mark.parametrize(
        ("length", "verdict"), [(16_384, "Fits"), (58_624, "Fits"), (72_448, "Tight"), (79_000, "DoesNotFit")]
    )
    def test_a_length_asked_for_is_kept(self, length: int, verdict: str) -> None:
        found = fit(summary(), shipped("nvidia-l4").spec, requested_max_model_len=length)
        assert found.verdict == verdict
        assert found.max_model_len == (length if verdict != "DoesNotFit" else 60_160)

    @pytest.mark.parametrize(
        ("utilization", "dtype", "published"),
        [("0.90", "auto", 4.6 * 16_384), ("0.92", "fp8", 9.5 * 16_384)],
    )
    def test_published_cache_sizes(self, utilization: str, dtype: str, published: float) -> None:
        machine = profile(serving={"gpuMemoryUtilization": utilization, "kvCacheDtype": dtype})
        found = fit(summary(granite(max_position_embeddings=10_000_000)), machine, vllm_image=OLD_IMAGE)
        assert found.largest_max_model_len == pytest.approx(published, rel=0.02)

    def test_more_than_the_model_takes_is_refused_with_what_fits(self) -> None:
        found = fit(summary(), profile(memory="80Gi"), requested_max_model_len=200_000)
        assert (found.verdict, found.reason, found.max_model_len) == ("DoesNotFit", "MaxModelLenTooLong", 131_072)
        assert "131,072" in found.found
        assert "131,072" in (found.remedy or "")

    def test_the_models_own_limit_is_reached_exactly(self) -> None:
        found = fit(summary(granite(max_position_embeddings=4_095)), profile())
        assert (found.verdict, found.max_model_len) == ("Fits", 4_095)


class TestWeights:
    def test_too_large(self) -> None:
        found = fit(summary(weights_bytes=40 * GIB), profile())
        assert (found.verdict, found.reason, found.max_model_len) == ("DoesNotFit", "WeightsTooLarge", None)

    def test_no_room_for_a_useful_length(self) -> None:
        found = fit(summary(weights_bytes=int(19.1 * GIB)), profile())
        assert (found.verdict, found.reason) == ("DoesNotFit", "ContextTooLong")
        assert f"{SHORTEST_USEFUL:,}" in found.found

    def test_only_short_texts_start_below_what_just_fits(self) -> None:
        found = fit(summary(weights_bytes=int(18.85 * GIB)), profile(), arguments=["--enforce-eager"])
        assert (found.verdict, found.reason) == ("Tight", "FitsShortTexts")
        assert found.max_model_len == found.safe_max_model_len
        assert 0 < (found.max_model_len or 0) < SHORTEST_USEFUL < (found.largest_max_model_len or 0)

    def test_a_head_that_is_tied_and_layers_that_predict_further_are_not_loaded(self) -> None:
        tied = granite(details={"tie_word_embeddings": 1})
        stored = {"head_bytes": GIB // 2, "unloaded_bytes": GIB // 4}
        found = fit(summary(tied, weights_bytes=8 * GIB, **stored), profile())
        assert found.weights_bytes == 8 * GIB - 3 * GIB // 4
        assert fit(summary(weights_bytes=8 * GIB, **stored), profile()).weights_bytes == 8 * GIB - GIB // 4

    def test_fp32_is_loaded_in_half_precision(self) -> None:
        config = granite(quantization=None, dtype="float32")
        found = fit(summary(config, weights_bytes=16 * GIB, dtypes={"F32": 4 * GIB}), profile())
        assert found.weights_bytes == 8 * GIB


class TestTensorParallelism:
    @pytest.mark.parametrize(
        ("changes", "count", "size", "kv_bytes"),
        [
            ({"vocab_size": 49_152}, 16, 16, 20_480),
            ({}, 1, 1, 163_840),
            ({}, 2, 2, 81_920),
            ({}, 8, 8, 20_480),
            ({}, 16, 16, 20_480),
            ({}, 3, 2, 81_920),
            ({"num_attention_heads": 24, "num_key_value_heads": 8, "hidden_size": 3072}, 6, 4, 40_960),
            ({"num_attention_heads": 25, "num_key_value_heads": 5, "hidden_size": 3200}, 4, 1, 102_400),
            ({"intermediate_size": 12_801}, 2, 1, 163_840),
        ],
    )
    def test_heads_are_split_and_kv_heads_copied(
        self, changes: dict[str, Any], count: int, size: int, kv_bytes: int
    ) -> None:
        found = fit(summary(granite(**changes)), profile(count=count))
        assert found.tensor_parallel_size == size
        assert found.kv_cache_bytes_per_token == kv_bytes
        share = -(-granite_fp8_bytes()[0] // size)
        assert share <= (found.weights_bytes or 0) <= share * 1.1
        assert any("not used" in warning for warning in found.warnings) == (size < count)


class TestCacheLayouts:
    def test_every_head_has_its_own_keys_without_grouping(self) -> None:
        assert layout(granite(num_key_value_heads=None, model_type=None)).bytes_per_token == 4 * 163_840

    def test_latent_attention_is_not_divided(self) -> None:
        deepseek = granite(
            architecture="DeepseekV3ForCausalLM", num_hidden_layers=61, kv_lora_rank=512, qk_rope_head_dim=64
        )
        assert layout(deepseek).bytes_per_token == layout(deepseek, tp=8).bytes_per_token == 61 * 576 * 2

    def test_windowed_layers_are_bounded(self) -> None:
        mistral = granite(architecture="MistralForCausalLM", sliding_window=4096)
        found = layout(mistral)
        assert found.terms == (Term(163_840 * 16, 16, 4095 + 2048, 1),)
        assert found.cost(1_000_000) == found.cost(100_000) == 163_840 * (6144 + 16)

    def test_a_model_without_layers_that_grow(self) -> None:
        found = fit(summary(granite(architecture="BertModel", max_position_embeddings=512)), profile())
        assert (found.verdict, found.max_model_len) == ("Fits", 512)
        assert "no KV cache that grows" in found.found

    @pytest.mark.parametrize(
        ("changes", "full"),
        [
            ({"architecture": "Gemma3ForCausalLM", "sliding_window": 1024}, 6),
            ({"architecture": "Gemma2ForCausalLM", "sliding_window": 4096}, 20),
            ({"architecture": "GptOssForCausalLM", "sliding_window": 128}, 20),
            ({"architecture": "Gemma3ForCausalLM", "sliding_window": 1024, "sliding_window_pattern": 4}, 10),
            ({"architecture": "Gemma3ForCausalLM", "sliding_window": 1024, "sliding_window_pattern": "LLG"}, 40),
            ({"architecture": "MistralForCausalLM", "sliding_window": 0}, 40),
            ({"architecture": "MistralForCausalLM", "model_type": "mistral"}, 0),
            ({"architecture": "Qwen2ForCausalLM", "sliding_window": 4096, "use_sliding_window": True}, 40),
            (
                {
                    "architecture": "Qwen3ForCausalLM",
                    "sliding_window": 4096,
                    "layer_types": {"full_attention": 28, "sliding_attention": 12},
                },
                28,
            ),
            ({"architecture": "MistralForCausalLM", "sliding_window": 4096, "use_sliding_window": False}, 40),
        ],
    )
    def test_which_layers_keep_every_token(self, changes: dict[str, Any], full: int) -> None:
        found = layout(granite(head_dim=128, **changes))
        assert full_and_windowed(found) == (full * 4096, (40 - full) * 4096)

    def test_a_bare_gemma_3_has_the_numbers_of_its_class(self) -> None:
        gemma = ModelConfig(
            architecture="Gemma3ForConditionalGeneration",
            model_type="gemma3",
            num_hidden_layers=34,
            hidden_size=2560,
            sliding_window=1024,
            rope_scaling=RopeScaling(kind="linear", factor=8.0),
        )
        found = fit(summary(gemma, weights_bytes=8 * GIB, dtypes={"BF16": 4 * GIB}), profile())
        assert (found.verdict, found.max_model_len) == ("Fits", 131_072)
        # Its layers lie in groups of five: 29 that see a window in six of them, the others in one.
        assert found.kv_cache_bytes_per_token == 35 * 2 * 4 * 256 * 2
        assert any("images" in warning for warning in found.warnings)


class TestLengthLimits:
    @pytest.mark.parametrize(
        ("rope", "limit"),
        [
            (None, 131_072),
            (RopeScaling(kind="llama3", factor=8.0), 131_072),
            (RopeScaling(kind="longrope", factor=32.0), 131_072),
            (RopeScaling(kind="linear", factor=2.5), 327_680),
            (RopeScaling(kind="yarn", factor=4.0, original_max_position_embeddings=32_768), 131_072),
            (RopeScaling(kind="yarn", factor=4.0), 524_288),
            (RopeScaling(kind="dynamic"), 131_072),
        ],
    )
    def test_rope_scaling_stretches_as_in_vllm(self, rope: RopeScaling | None, limit: int) -> None:
        config = granite(rope_scaling=rope)
        big = profile(memory="1000Gi")
        assert fit(summary(config), big).max_model_len == limit
        assert fit(summary(config), big, requested_max_model_len=limit + 1).reason == "MaxModelLenTooLong"


class TestSequences:
    """How many vLLM may serve at once is a part of what it takes of the memory."""

    def test_fewer_where_vllms_own_number_leaves_too_little(self) -> None:
        large = profile(memory="81559Mi", model="H100")
        model = granite(vocab_size=150_000)
        roomy = fit(summary(model, weights_bytes=16 * GIB), large)
        assert (roomy.max_num_seqs, roomy.max_model_len) == (None, 131_072)
        narrow = fit(summary(model, weights_bytes=60 * GIB), large)
        assert narrow.max_num_seqs is not None
        assert narrow.max_num_seqs < 1024
        assert (narrow.max_model_len or 0) >= 32_768
        assert "--max-num-seqs" in narrow.found

    def test_what_the_author_sets_is_taken(self) -> None:
        large = profile(memory="81559Mi", model="H100")
        asked = fit(summary(weights_bytes=66 * GIB), large, arguments=["--max-num-seqs=1024"])
        assert asked.max_num_seqs is None
        assert asked.overhead_bytes == fit(summary(), large).overhead_bytes

    def test_graphs_count_since_0_21(self) -> None:
        before = fit(summary(), profile(), vllm_image="vllm/vllm-openai:v0.20.1")
        after = fit(summary(), profile(), vllm_image="vllm/vllm-openai:v0.21.0")
        eager = fit(summary(), profile(), vllm_image="vllm/vllm-openai:v0.21.0", arguments=["--enforce-eager"])
        assert eager.safe_max_model_len == before.safe_max_model_len
        assert (before.safe_max_model_len or 0) - (after.safe_max_model_len or 0) == pytest.approx(13_107, abs=512)

    @pytest.mark.parametrize(
        "image", ["vllm/vllm-openai:latest", "quay.io/modh/vllm@sha256:" + "0" * 64, "x/vllm:v0.90.0", "x/vllm:v0.6.4"]
    )
    def test_a_release_that_is_not_known_is_told(self, image: str) -> None:
        found = fit(summary(), profile(), vllm_image=image)
        assert any("vllm" in warning for warning in found.warnings)

    @pytest.mark.parametrize("minor", [11, 15, 21, 30, 33])
    def test_one_that_is_known_is_not(self, minor: int) -> None:
        image = f"registry.example:5000/vllm/vllm-openai:v0.{minor}.0@sha256:{'0' * 64}"
        assert fit(summary(), profile(), vllm_image=image).warnings == ()


class TestConfigurationsAlone:
    def test_weights_follow_from_the_sizes_of_matrices(self) -> None:
        tied = granite(details={"tie_word_embeddings": 1})
        found, told = fit_config(tied, profile()), fit(summary(), profile())
        assert found.weights_bytes == pytest.approx(told.weights_bytes, rel=0.01)
        assert (found.verdict, "estimated" in found.warnings[0]) == (told.verdict, True)

    def test_where_they_do_not_the_fit_is_unknown(self) -> None:
        assert fit_config(granite(architecture="NobodyKnowsForCausalLM"), profile()).verdict == "Unknown"


class TestLoading:
    @pytest.mark.parametrize("method", ["exl2", "exl3", "aqlm", "quanto", "eetq"])
    def test_a_method_that_no_release_loads_is_said_to_be_that(self, method: str) -> None:
        found = fit(summary(granite(quantization=Quantization(method=method))), profile())
        assert (found.verdict, found.reason) == ("DoesNotFit", "QuantizationNotLoaded")
        assert "not at fault" in (found.remedy or "")

    def test_an_architecture_of_newer_releases_names_them(self) -> None:
        model = granite(architecture="MiniMaxM2ForCausalLM")
        found = fit(summary(model), profile(), vllm_image=OLD_IMAGE)
        assert (found.verdict, found.reason) == ("DoesNotFit", "ArchitectureNotLoaded")
        assert "vLLM 0.33" in (found.remedy or "")
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
            assert (found.reason != "QuantizationNotLoaded") is (minor in loaded), minor
            if minor not in loaded:
                near = max((each for each in loaded if each < minor), default=min(loaded))
                assert f"vLLM 0.{minor}" in found.found
                assert f"vLLM 0.{near}" in (found.remedy or "")
                assert plugin in (found.remedy or "")

    def test_a_method_that_the_arguments_name_has_to_be_one_of_the_release(self) -> None:
        model = summary(granite(quantization=None), dtypes={"BF16": 8 * 10**9})
        asked = ["--quantization=bitsandbytes"]
        assert fit(model, profile(), arguments=asked, vllm_image="vllm:v0.27.0").verdict == "Fits"
        found = fit(model, profile(), arguments=asked)
        assert (found.verdict, found.reason) == ("DoesNotFit", "QuantizationNotLoaded")
        assert "remove --quantization=bitsandbytes" in (found.remedy or "")
        assert fit(model, profile(), arguments=["--quantization=fp8"]).verdict == "Fits"

    @pytest.mark.parametrize(("minor", "loaded"), [(11, True), (23, True), (24, False), (30, False), (33, False)])
    def test_gguf_needs_a_plugin_since_0_24(self, minor: int, loaded: bool) -> None:
        model = summary(format="gguf")
        found = fit(model, profile(), vllm_image=f"vllm/vllm-openai:v0.{minor}.0")
        assert (found.reason == "FormatNotComputed") is loaded
        if not loaded:
            assert (found.verdict, found.reason) == ("DoesNotFit", "GgufNotLoaded")
            assert "vLLM 0.23 or older" in (found.remedy or "")
            assert "vllm-gguf-plugin" in (found.remedy or "")
        own = fit(model, profile(), vllm_image="registry.example/vllm-with-gguf:1")
        assert own.verdict == "Unknown"
        assert "vllm-with-gguf:1" in own.warnings[0]

    @pytest.mark.parametrize("name", [name for name, each in architectures().items() if each.until is not None])
    def test_an_architecture_that_is_gone_names_the_last_release_that_has_it(self, name: str) -> None:
        until = architectures()[name].until
        model = summary(granite(architecture=name))
        assert fit(model, profile(), vllm_image=f"vllm:v0.{until}.1").reason != "ArchitectureNotLoaded"
        found = fit(model, profile(), vllm_image=f"vllm:v0.{(until or 0) + 1}.0")
        assert (found.verdict, found.reason) == ("DoesNotFit", "ArchitectureNotLoaded")
        assert f"vLLM 0.{until} or older" in (found.remedy or "")

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
        assert (found.verdict, found.reason, bool(found.warnings)) == (verdict, reason, warned)

    def test_an_older_release_runs_no_fp8_weights_on_a_t4(self) -> None:
        found = fit(summary(), shipped("nvidia-t4").spec, vllm_image=OLD_IMAGE)
        assert (found.verdict, found.reason) == ("DoesNotFit", "Fp8NotSupported")

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
        assert (found.reason == "CacheTypeNotSupported") is refused

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
        assert (found.verdict, found.reason) == ("DoesNotFit", reason)
        assert found.remedy

    def test_releases_before_cuda_13_run_on_volta(self) -> None:
        volta, plain = profile(computeCapability="7.0"), summary(granite(quantization=None), dtypes={"F16": 10**9})
        assert fit(plain, volta, vllm_image=OLD_IMAGE).verdict == "Fits"
        found = fit(plain, volta)
        assert (found.reason, found.wanted) == ("AcceleratorTooOld", "compute capability 7.5 or more for vLLM 0.30")

    @pytest.mark.parametrize(
        ("machine", "warning"),
        [
            ({"vendor": "AMD", "computeCapability": None, "fp8": "WeightOnly"}, "less throughput"),
            ({"vendor": "AMD", "computeCapability": None}, "not known"),
            ({"computeCapability": "8.0"}, "less throughput"),
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
        assert fit(summary(config, dtypes={"I32": 10**9}), machine, vllm_image=OLD_IMAGE).reason == reason

    def test_gemma_needs_bf16(self) -> None:
        config = granite(architecture="Gemma2ForCausalLM", model_type="gemma2", quantization=None)
        found = fit(summary(config, weights_bytes=4 * GIB, dtypes={"BF16": 2 * GIB}), shipped("nvidia-t4").spec)
        assert (found.verdict, found.reason) == ("DoesNotFit", "Bfloat16NotSupported")

    @pytest.mark.parametrize(("image", "warned"), [(OLD_IMAGE, False), (SHIPPED_IMAGE, True)])
    def test_a_cache_that_the_checkpoint_has_in_fp8_wants_ada_too(self, image: str, warned: bool) -> None:
        named = replace(FP8, kv_cache_bits=8)
        found = fit(summary(granite(quantization=named)), profile(computeCapability="8.0"), vllm_image=image)
        assert any("as the checkpoint names it" in warning for warning in found.warnings) is warned
        assert found.kv_cache_bytes_per_token == (80 if warned else 160) * 1024

    def test_an_fp8_cache_wants_ada(self) -> None:
        found = fit(summary(), profile(computeCapability="8.0", serving={"kvCacheDtype": "fp8"}))
        assert any("KV cache" in warning for warning in found.warnings)


BARE = {"model_type": None}


class TestUnknown:
    @pytest.mark.parametrize(
        ("given_summary", "reason"),
        [
            (summary(granite(architecture="FalconH1ForCausalLM", **BARE)), "ConfigIncomplete"),
            (summary(granite(architecture="NobodyKnowsForCausalLM")), "ArchitectureUnknown"),
            (summary(granite(architecture=None)), "ArchitectureUnknown"),
            (summary(granite(num_hidden_layers=None, **BARE)), "ConfigIncomplete"),
            (summary(granite(num_attention_heads=None, num_key_value_heads=None, **BARE)), "ConfigIncomplete"),
            (summary(granite(hidden_size=None, **BARE)), "ConfigIncomplete"),
            (summary(granite(architecture="DeepseekV3ForCausalLM")), "ConfigIncomplete"),
            (summary(granite(layer_types={"full_attention": 39})), "ConfigIncomplete"),
            (summary(granite(layer_types={"unheard_of": 40})), "LayerTypeUnknown"),
            (summary(format="gguf"), "FormatNotComputed"),
            (summary(format="other"), "FormatNotComputed"),
            (replace(summary(), weights_bytes=None), "FormatNotComputed"),
        ],
    )
    def test_is_said_and_not_guessed(self, given_summary: Any, reason: str) -> None:
        found = fit(given_summary, profile(), vllm_image=GGUF_IMAGE)
        assert (found.verdict, found.reason) == ("Unknown", reason)
        assert found.max_model_len == UNKNOWN_MAX_MODEL_LEN
        assert any("unknown" in warning for warning in found.warnings)
        assert found.kv_cache_bytes_per_token is None
        assert "131,072 tokens (max_position_embeddings)" in found.found
        asked = fit(given_summary, profile(), vllm_image=GGUF_IMAGE, requested_max_model_len=10_000)
        assert (asked.verdict, asked.max_model_len) == ("Unknown", 10_000)

    def test_what_is_known_all_the_same_is_said(self) -> None:
        found = fit(summary(granite(architecture="NobodyKnowsForCausalLM")), profile())
        assert found.weights_bytes == granite_fp8_bytes()[0]
        assert "at least 8." in found.found

    @pytest.mark.parametrize(
        "given_summary",
        [
            replace(summary(), config=None),
            summary(granite(max_position_embeddings=None, **BARE)),
            summary(ModelConfig(architecture="NobodyKnowsForCausalLM")),
        ],
    )
    def test_no_length_is_better_than_a_guess(self, given_summary: Any) -> None:
        found = fit(given_summary, profile())
        assert (found.verdict, found.max_model_len) == ("Unknown", None)

    def test_but_weights_and_limits_hold_for_every_architecture(self) -> None:
        unknown = granite(architecture="NobodyKnowsForCausalLM")
        assert fit(summary(unknown, weights_bytes=30 * GIB), profile()).reason == "WeightsTooLarge"
        assert fit(summary(unknown), profile(), requested_max_model_len=131_073).reason == "MaxModelLenTooLong"


def counts(largest: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(1, largest)


CONFIGS = st.builds(
    ModelConfig,
    architecture=st.sampled_from([*architectures(), "OtherForCausalLM", None]),
    model_type=st.sampled_from(["granite", "gemma2", "gemma3", "jamba", "qwen3_next", "whisper", None]),
    details=st.dictionaries(
        st.sampled_from(["mamba_d_state", "mamba_n_heads", "num_kv_shared_layers", "attention_chunk_size", "n_groups"]),
        st.integers(0, 1_000_000),
    ),
    num_hidden_layers=counts(10_000),
    hidden_size=counts(1_000_000),
    num_attention_heads=counts(10_000),
    num_key_value_heads=counts(10_000),
    head_dim=counts(100_000),
    intermediate_size=counts(100_000_000),
    max_position_embeddings=counts(10_000_000_000),
    dtype=st.sampled_from(["bfloat16", "float16", "float32", None]),
    sliding_window=counts(10_000_000_000),
    use_sliding_window=st.none() | st.booleans(),
    sliding_window_pattern=st.none() | st.integers(1, 10_000) | st.just("LLG"),
    kv_lora_rank=counts(1_000_000),
    qk_rope_head_dim=counts(100_000),
    rope_scaling=st.none()
    | st.builds(
        RopeScaling,
        kind=st.sampled_from(["yarn", "linear", "llama3", None]),
        factor=st.none() | st.floats(min_value=0, max_value=1e9, exclude_min=True),
        original_max_position_embeddings=counts(10_000_000_000),
    ),
    quantization=st.none() | st.just(FP8) | st.just(Quantization(method="awq", bits=4)),
)
REASONABLE = st.builds(
    granite,
    architecture=st.sampled_from(["GraniteForCausalLM", "MistralForCausalLM", "Gemma2ForCausalLM"]),
    num_hidden_layers=st.integers(1, 120),
    num_attention_heads=st.sampled_from([8, 16, 24, 32, 64]),
    num_key_value_heads=st.sampled_from([1, 2, 4, 8]),
    head_dim=st.sampled_from([64, 128, 256]),
    max_position_embeddings=st.integers(1, 1_000_000),
    sliding_window=st.sampled_from([None, 512, 4096]),
    intermediate_size=st.just(14336),
)
MEMORY = st.integers(0, 2**21).map(lambda mebibytes: f"{mebibytes}Mi")
WEIGHTS = st.integers(0, 300 * GIB)
REQUESTS = st.none() | st.integers(1, 2_000_000)
RANK = {"DoesNotFit": 0, "Tight": 1, "Fits": 2}
GOAL = 32_768


def judged(found: Fit) -> tuple[int, int]:
    """The verdict, and the length up to where more of it would be bought with fewer sequences."""
    return RANK[found.verdict], min(GOAL, found.safe_max_model_len or 0) * 9 // 10


class TestProperties:
    @given(
        config=st.none() | CONFIGS,
        weights=st.none() | st.integers(0, 2**70),
        memory=MEMORY,
        count=st.integers(1, 64),
        capability=st.sampled_from([None, "6.1", "7.5", "8.0", "8.9", "10.0"]),
        request=REQUESTS,
    )
    def test_absurd_models_never_crash_it(
        self,
        *,
        config: ModelConfig | None,
        weights: int | None,
        memory: str,
        count: int,
        capability: str | None,
        request: int | None,
    ) -> None:
        model = replace(summary(), config=config, weights_bytes=weights, dtypes={"F32": 10, "BF16": 3})
        found = fit(
            model, profile(memory=memory, count=count, computeCapability=capability), requested_max_model_len=request
        )
        figures = (
            found.weights_bytes,
            found.kv_cache_bytes_per_token,
            found.max_model_len,
            found.safe_max_model_len,
            found.largest_max_model_len,
        )
        assert all(figure is None or figure >= 0 for figure in figures)
        assert 1 <= found.tensor_parallel_size <= count
        assert found.verdict in {"DoesNotFit", "Unknown"} or found.max_model_len
        assert all(len(warning) <= 512 for warning in found.warnings)

    @given(config=REASONABLE, weights=WEIGHTS, memory=MEMORY, request=REQUESTS)
    def test_a_verdict_satisfies_its_inequality(
        self, config: ModelConfig, weights: int, memory: str, request: int | None
    ) -> None:
        machine = profile(memory=memory)
        found = fit(summary(config, weights_bytes=weights), machine, requested_max_model_len=request)
        usable = int(memory[:-2]) * 2**20 * 0.9
        if found.verdict == "DoesNotFit":
            return
        assert found.max_model_len is not None
        large = int(memory[:-2]) * 0.98 >= 70 * 1024
        need = weights + layout(config, chunk=8192 if large else 2048).cost(found.max_model_len)
        margin = 0 if found.reason == "FitsWithoutMargin" else MARGIN
        assert need + (found.overhead_bytes or 0) + margin <= usable
        assert found.max_model_len <= (config.max_position_embeddings or 0)
        assert request in (None, found.max_model_len)

    @given(config=REASONABLE, weights=WEIGHTS, memory=MEMORY)
    def test_what_a_refusal_offers_is_accepted_with_a_margin(
        self, config: ModelConfig, weights: int, memory: str
    ) -> None:
        model, machine = summary(config, weights_bytes=weights), profile(memory=memory)
        refused = fit(model, machine, requested_max_model_len=1_000_000)
        if refused.verdict != "DoesNotFit":
            return
        if refused.max_model_len is None:
            assert fit(model, machine).verdict == "DoesNotFit"
            return
        assert fit(model, machine, requested_max_model_len=refused.max_model_len).verdict == "Fits"
        beyond = fit(model, machine, requested_max_model_len=(refused.largest_max_model_len or 0) + 256)
        assert beyond.verdict in {"DoesNotFit", "Tight"}

    @given(config=REASONABLE, weights=WEIGHTS, less=st.integers(0, 2**20), more=st.integers(0, 2**20), request=REQUESTS)
    def test_more_memory_never_fits_worse(
        self, config: ModelConfig, weights: int, less: int, more: int, request: int | None
    ) -> None:
        """With the batch of one class of accelerators: vLLM takes a larger one from 70 GiB on."""
        model = summary(config, weights_bytes=weights)
        batch = ["--max-num-batched-tokens=2048"]
        small = fit(model, profile(memory=f"{less}Mi"), requested_max_model_len=request, arguments=batch)
        large = fit(model, profile(memory=f"{less + more}Mi"), requested_max_model_len=request, arguments=batch)
        assert all(a <= b for a, b in zip(judged(small), judged(large), strict=True))

    @given(
        config=REASONABLE,
        weights=WEIGHTS,
        memory=MEMORY,
        few=st.integers(1, 16),
        more=st.integers(0, 16),
        request=REQUESTS,
    )
    def test_more_accelerators_never_fit_worse(
        self, *, config: ModelConfig, weights: int, memory: str, few: int, more: int, request: int | None
    ) -> None:
        """But for what tensor parallelism takes itself: 0.42 GiB, and what every accelerator has of the weights."""
        model, batch = summary(config, weights_bytes=weights), ["--max-num-batched-tokens=2048"]
        small = fit(model, profile(memory=memory, count=few), requested_max_model_len=request, arguments=batch)
        room = f"{int(memory[:-2]) + 2048}Mi"
        large = fit(model, profile(memory=room, count=few + more), requested_max_model_len=request, arguments=batch)
        assert all(a <= b for a, b in zip(judged(small), judged(large), strict=True))

    @given(config=REASONABLE, weights=WEIGHTS, memory=MEMORY, request=REQUESTS)
    def test_a_smaller_cache_element_never_fits_worse(
        self, config: ModelConfig, weights: int, memory: str, request: int | None
    ) -> None:
        model = summary(config, weights_bytes=weights)
        wide = fit(model, profile(memory=memory), requested_max_model_len=request)
        narrow = fit(model, profile(memory=memory, serving={"kvCacheDtype": "fp8"}), requested_max_model_len=request)
        assert all(a <= b for a, b in zip(judged(wide), judged(narrow), strict=True))

    @given(
        st.builds(
            CacheLayout,
            fixed=st.integers(0, 10**9),
            terms=st.lists(
                st.builds(
                    Term,
                    bytes=st.integers(0, 10**7),
                    block=st.sampled_from([16, 64, 832]),
                    cap=st.none() | st.integers(0, 10**5),
                    extra=st.integers(0, 1),
                ),
                max_size=3,
            ).map(tuple),
        ),
        st.integers(-(10**12), 10**12),
        st.integers(0, 10**7),
    )
    @settings(max_examples=300)
    def test_the_longest_sequence_is_the_longest(self, given_layout: CacheLayout, budget: int, limit: int) -> None:
        longest = given_layout.longest(budget, limit=limit)
        assert 0 <= longest <= limit
        assert longest == 0 or given_layout.cost(longest) <= budget
        assert longest == limit or given_layout.cost(longest + 1) > budget
