"""The KV cache of one sequence, by the way that layers keep it, and the longest sequence."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.domain.artifact.model_config import ModelConfig, RopeScaling
from gatehouse.domain.hardware.fit import (
    fit,
)
from gatehouse.domain.hardware.kv_cache import CacheLayout, CacheTerm
from unit.domain.hardware.fits import (
    GIB,
    granite,
    layout,
    profile,
    summary,
)


def full_and_windowed(found: CacheLayout) -> tuple[int, int]:
    """Bytes a token in layers that keep all, and in those that do not."""
    full = sum(term.bytes // term.block for term in found.terms if term.cap is None)
    return full, found.bytes_per_token - full


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
        assert found.terms == (CacheTerm(163_840 * 16, 16, 4095 + 2048, 1),)
        assert found.cost(1_000_000) == found.cost(100_000) == 163_840 * (6144 + 16)

    def test_a_model_without_layers_that_grow(self) -> None:
        found = fit(summary(granite(architecture="BertModel", max_position_embeddings=512)), profile())
        assert (found.verdict, found.max_model_len) == ("Fits", 512)
        assert "no KV cache that grows" in found.finding.found

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
        assert fit(summary(config), big, requested_max_model_len=limit + 1).finding.reason == "MaxModelLenTooLong"
