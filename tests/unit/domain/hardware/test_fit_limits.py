"""How long a text vLLM takes, and over how many accelerators it splits a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import LENGTHS, parse_config
from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.hardware.dimensions import Dimensions, dimensions_of, limit_named
from gatehouse.domain.hardware.splits import tensor_parallel_size
from unit.domain.hardware.fits import granite


def model(**said: Any) -> Dimensions:
    return dimensions_of(parse_config(json.dumps(said).encode()))


def as_vllm_does(said: Mapping[str, Any]) -> int | None:
    """``_get_and_verify_max_len`` for a length that is given: the smallest key, model_max_length before all, RoPE."""
    lengths = [said[name] for name in LENGTHS if name in said]
    derived = min(lengths, default=None)
    derived = said.get("model_max_length", derived)
    rope = said.get("rope_scaling")
    if derived is None or rope is None or rope["rope_type"] in {"su", "longrope", "llama3"}:
        return derived
    if rope["rope_type"] == "yarn":
        derived = rope["original_max_position_embeddings"]
    return int(derived * rope.get("factor", 1.0))


ROPE = st.none() | st.fixed_dictionaries(
    {
        "rope_type": st.sampled_from(["default", "linear", "dynamic", "yarn", "longrope", "llama3", "su"]),
        "factor": st.sampled_from([1.0, 2.0, 2.5, 4.0, 32.0]),
        "original_max_position_embeddings": st.integers(1, 100_000),
    }
)


@given(lengths=st.dictionaries(st.sampled_from(LENGTHS), st.integers(1, 2_000_000)), rope=ROPE)
def test_the_limit_is_derived_as_vllm_does(lengths: dict[str, int], rope: dict[str, Any] | None) -> None:
    said = {**lengths, "rope_scaling": rope} if rope else lengths
    assert limit_named(model(model_type="nobodys", **said))[0] == as_vllm_does(said)


@pytest.mark.parametrize(
    ("said", "limit", "name"),
    [
        ({"model_type": "gpt2", "n_positions": 512}, 512, "n_positions"),
        ({"model_type": "gpt2"}, 1024, "n_positions"),
        ({"model_type": "mpt", "max_seq_len": 4096}, 4096, "max_seq_len"),
        ({"model_type": "cohere", "max_position_embeddings": 8192, "model_max_length": 131072}, 131072, None),
        ({"model_type": "whisper"}, 448, "max_target_positions"),
        ({"model_type": "mistral"}, 131072, "max_position_embeddings"),
        ({"model_type": "llava", "text_config": {"model_type": "mistral"}}, 131072, None),
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, 131072, None),
        (
            {
                "model_type": "gemma3",
                "text_config": {
                    "model_type": "gemma3_text",
                    "max_position_embeddings": 32768,
                    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
                },
            },
            32768,
            None,
        ),
        ({"model_type": "nobodys"}, None, ""),
    ],
)
def test_where_the_limit_is_from(said: dict[str, Any], limit: int | None, name: str | None) -> None:
    found = limit_named(model(**said))
    assert found[0] == limit
    assert name is None or found[1] == name


MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "hidden_size": 4096,
    "head_dim": 128,
    "intermediate_size": 12288,
    "num_experts": 128,
    "vocab_size": 151936,
}
BLOCKS = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
GROUPS = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}


@pytest.mark.parametrize(
    ("said", "count", "size", "spread"),
    [
        ({**MOE, "moe_intermediate_size": 1536, **BLOCKS}, 8, 4, 8),
        ({**MOE, "moe_intermediate_size": 1536}, 8, 8, 8),
        ({**MOE, "moe_intermediate_size": 768, **BLOCKS}, 8, 2, 8),
        ({**MOE, "moe_intermediate_size": 768, **GROUPS}, 8, 8, 8),
        ({**MOE, "num_experts": 0, "intermediate_size": 25600, **BLOCKS}, 16, 8, 8),
        ({**MOE, "num_experts": 0, "intermediate_size": 29696, "head_dim": 128, **GROUPS}, 16, 8, 8),
        ({**MOE, "num_experts": 0, "quantization_config": {"quant_method": "bitsandbytes"}}, 8, 1, 1),
        ({**MOE, "num_experts": 0, "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 128256}, 6, 4, 4),
        ({**MOE, "num_experts": 0, "num_attention_heads": 24, "num_key_value_heads": 24, "vocab_size": 32000}, 3, 2, 2),
        (
            {**MOE, "num_experts": 0, "num_attention_heads": 24, "num_key_value_heads": 24, "vocab_size": 128256},
            3,
            3,
            3,
        ),
        ({"model_type": "nobodys"}, 8, 1, 1),
    ],
)
def test_the_largest_that_divides_everything(said: dict[str, Any], count: int, size: int, spread: int) -> None:
    found = tensor_parallel_size(model(**said), count)
    assert (found.size, found.with_experts) == (size, spread)
    assert tensor_parallel_size(model(**said), count, spread_experts=True).size == spread


@given(
    heads=st.integers(1, 128),
    kv_heads=st.integers(1, 128),
    inner=st.integers(1, 50_000),
    vocabulary=st.integers(1, 300_000),
    count=st.integers(1, 64),
    quantization=st.none()
    | st.just(Quantization(method="fp8", bits=8, block=(128, 128)))
    | st.just(Quantization(method="gptq", bits=4, group=128)),
)
def test_a_split_divides_what_vllm_divides(
    *, heads: int, kv_heads: int, inner: int, vocabulary: int, count: int, quantization: Quantization | None
) -> None:
    config = granite(
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        head_dim=128,
        quantization=quantization,
    )
    found = tensor_parallel_size(dimensions_of(config), count)
    assert 1 <= found.size <= found.with_experts <= count
    assert heads % found.size == inner % found.size == 0
    assert kv_heads % found.size == 0 or found.size % kv_heads == 0
    assert (-(-vocabulary // 64) * 64) % found.size == 0
    more = tensor_parallel_size(dimensions_of(config), count + 1)
    assert more.size >= found.size
