"""Whether a model fits the accelerators of a profile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.hardware.fit import (
    UNKNOWN_MAX_MODEL_LEN,
    fit,
    fit_config,
)
from unit.domain.hardware.fits import (
    GGUF_IMAGE,
    GIB,
    OLD_IMAGE,
    PROFILES,
    granite,
    granite_fp8_bytes,
    profile,
    shipped,
    summary,
)


class TestGranite:
    """The reference model on the reference accelerator."""

    def test_its_weights(self) -> None:
        assert granite_fp8_bytes()[0] / GIB == pytest.approx(7.80, abs=0.005)

    def test_fits_an_l4(self) -> None:
        found = fit(summary(), shipped("nvidia-l4").spec)
        assert (found.verdict, found.finding.reason) == ("Fits", "FitsWithMargin")
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
        assert (found.verdict, found.finding.reason, found.max_model_len) == ("DoesNotFit", "ContextTooLong", 60_160)
        assert found.finding.remedy is not None
        assert "60,160" in found.finding.remedy
        assert "131,072" in found.finding.found

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
        assert (found.verdict, found.finding.reason, found.max_model_len) == (
            "DoesNotFit",
            "MaxModelLenTooLong",
            131_072,
        )
        assert "131,072" in found.finding.found
        assert "131,072" in (found.finding.remedy or "")

    def test_the_models_own_limit_is_reached_exactly(self) -> None:
        found = fit(summary(granite(max_position_embeddings=4_095)), profile())
        assert (found.verdict, found.max_model_len) == ("Fits", 4_095)


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
        assert "--max-num-seqs" in narrow.finding.found

    @pytest.mark.parametrize(
        "written",
        [["--max-num-seqs=1024"], ["--max_num_seqs=1024"], ["--max-num-seqs", "1024"], ["--max_num_seqs 1024"]],
    )
    def test_what_the_author_sets_is_taken_however_it_is_written(self, written: list[str]) -> None:
        large = profile(memory="81559Mi", model="H100")
        asked = fit(summary(weights_bytes=66 * GIB), large, arguments=written)
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
        assert (found.verdict, found.finding.reason) == ("Unknown", reason)
        assert found.max_model_len == UNKNOWN_MAX_MODEL_LEN
        assert any("unknown" in warning for warning in found.warnings)
        assert found.kv_cache_bytes_per_token is None
        assert "131,072 tokens (max_position_embeddings)" in found.finding.found
        asked = fit(given_summary, profile(), vllm_image=GGUF_IMAGE, requested_max_model_len=10_000)
        assert (asked.verdict, asked.max_model_len) == ("Unknown", 10_000)

    def test_what_is_known_all_the_same_is_said(self) -> None:
        found = fit(summary(granite(architecture="NobodyKnowsForCausalLM")), profile())
        assert found.weights_bytes == granite_fp8_bytes()[0]
        assert "at least 8." in found.finding.found

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
        assert fit(summary(unknown, weights_bytes=30 * GIB), profile()).finding.reason == "WeightsTooLarge"
        assert fit(summary(unknown), profile(), requested_max_model_len=131_073).finding.reason == "MaxModelLenTooLong"
