from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import (
    ModelConfig,
    Quantization,
    RopeScaling,
    mentions_remote_code,
    parse_config,
)
from gatehouse.domain.common.format_error import FormatError
from modelfiles import config_json, outcome

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["auto_map", '"auto_map": {}', "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["auto_map", "a", 'b"', "c\\", "automap"]) | st.text(max_size=4), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(document=JSON, indent=st.sampled_from([None, 2]), plain=st.booleans())
def test_a_search_finds_what_a_reader_finds(document: Any, indent: int | None, plain: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=plain)
    wanted = _has_auto_map(document)
    assert mentions_remote_code(text.encode()) == wanted
    assert mentions_remote_code(text.replace("auto_map", "\\u0061uto\\u005Fmap").encode()) == wanted


def _has_auto_map(value: Any) -> bool:
    if isinstance(value, dict):
        return "auto_map" in value or any(map(_has_auto_map, value.values()))
    return isinstance(value, list) and any(map(_has_auto_map, value))


@given(data=st.binary())
def test_a_search_refuses_no_shape(data: bytes) -> None:
    """Random bytes have no such member; what follows it does not matter."""
    assert not mentions_remote_code(data)
    assert mentions_remote_code(b'[{"auto_map" :' + data)


def error_of(data: bytes) -> FormatError:
    error = outcome(parse_config, data)
    assert isinstance(error, FormatError)
    return error


def test_granite() -> None:
    assert parse_config(config_json()) == ModelConfig(
        architecture="GraniteForCausalLM",
        model_type="granite",
        num_hidden_layers=40,
        hidden_size=4096,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=12800,
        vocab_size=49155,
        max_position_embeddings=131072,
        dtype="bfloat16",
        quantization=Quantization(
            method="compressed-tensors", format="float-quantized", bits=8, weight_type="float", activation_bits=8
        ),
    )


def test_what_is_absent_is_unknown() -> None:
    assert parse_config(b"{}") == ModelConfig()
    assert parse_config(config_json(head_dim=None, num_key_value_heads=...)).num_key_value_heads is None


def test_latent_attention_experts_and_rope() -> None:
    config = parse_config(
        config_json(
            kv_lora_rank=512,
            qk_rope_head_dim=64,
            qk_nope_head_dim=128,
            v_head_dim=128,
            n_routed_experts=256,
            num_experts_per_tok=8,
            rope_scaling={"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
        )
    )
    assert (config.kv_lora_rank, config.qk_rope_head_dim) == (512, 64)
    assert (config.qk_nope_head_dim, config.v_head_dim) == (128, 128)
    assert (config.num_experts, config.num_experts_per_tok) == (256, 8)
    assert config.rope_scaling == RopeScaling(kind="yarn", factor=40.0, original_max_position_embeddings=4096)


def test_sliding_windows() -> None:
    config = parse_config(
        config_json(
            sliding_window=4096,
            use_sliding_window=False,
            max_window_layers=28,
            sliding_window_pattern="LLLG",
            layer_types=["sliding_attention", "full_attention"] * 2,
        )
    )
    assert (config.sliding_window, config.use_sliding_window, config.max_window_layers) == (4096, False, 28)
    assert config.sliding_window_pattern == "LLLG"
    assert config.layer_types == {"full_attention": 2, "sliding_attention": 2}
    assert parse_config(config_json(sliding_window_pattern=6)).sliding_window_pattern == 6


@pytest.mark.parametrize("part", ["text_config", "llm_config", "language_config"])
def test_the_language_part_of_a_multimodal_model_counts(part: str) -> None:
    whole = {
        "architectures": ["SeeingForConditionalGeneration"],
        "model_type": "seeing",
        "hidden_size": 1,
        "torch_dtype": "float16",
        part: {"model_type": "llama", "num_hidden_layers": 4, "hidden_size": 64, "torch_dtype": None},
        "vision_config": {"hidden_size": 7, "num_hidden_layers": 9},
    }
    config = parse_config(json.dumps(whole).encode())
    assert (config.architecture, config.model_type) == ("SeeingForConditionalGeneration", "seeing")
    assert config.text_model_type == "llama"
    assert (config.num_hidden_layers, config.hidden_size, config.dtype) == (4, 64, "float16")


def test_dtype_loses_its_prefix_and_new_spelling_wins() -> None:
    assert parse_config(b'{"dtype": "torch.bfloat16", "torch_dtype": "float32"}').dtype == "bfloat16"


def test_a_published_configuration_with_infinity_is_read() -> None:
    """NVIDIA's Nemotron 3 has ``"time_step_limit": [0.0, Infinity]``, as Python's json writes it."""
    assert parse_config(b'{"hidden_size": 4096, "time_step_limit": [0.0, Infinity]}').hidden_size == 4096


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ({"layer_types": ["full_attention", "sliding_attention"]}, {"full_attention": 1, "sliding_attention": 1}),
        ({"layers_block_type": ["mamba", "hybrid"]}, {"hybrid": 1, "mamba": 1}),
        ({"hybrid_override_pattern": "ME*-M"}, {"attention": 1, "mamba": 2, "mlp": 1, "moe": 1}),
        ({"hybrid_layer_pattern": [0, 1, 1]}, {"full_attention": 1, "sliding_attention": 2}),
        ({"attn_layer_indices": [1], "num_hidden_layers": 3}, {"attention": 1, "mamba": 2}),
        ({"layer_types": ["full_attention"] * 3, "num_kv_shared_layers": 2}, {"full_attention": 1}),
    ],
)
def test_layers_are_counted_however_they_are_spelled(said: dict[str, object], counted: dict[str, int]) -> None:
    assert parse_config(json.dumps(said).encode()).layer_types == counted


@pytest.mark.parametrize(
    "said",
    [
        {"hybrid_override_pattern": "M" * 1_000_000},
        {"hybrid_layer_pattern": [0] * 100_000},
        {"layers_block_type": ["mamba"] * 100_000},
        {"layer_types": 3},
    ],
)
def test_more_layers_than_any_model_has_are_refused(said: dict[str, object]) -> None:
    error = error_of(json.dumps(said).encode())
    assert error.finding.reason == "ConfigInvalid"
    assert len(error.finding.found) < 1000


def test_a_window_that_is_switched_off_is_none_and_one_that_is_not_named_is_unknown() -> None:
    assert parse_config(b'{"sliding_window": null}').sliding_window == 0
    assert parse_config(b'{"text_config": {"sliding_window": null}}').sliding_window == 0
    assert parse_config(b"{}").sliding_window is None


def test_gpt_2_has_names_of_its_own() -> None:
    config = parse_config(b'{"n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "n_inner": null}')
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (768, 12, 12)
    assert config.lengths == {"n_positions": 1024}


def test_a_number_for_each_layer_is_unknown() -> None:
    assert parse_config(config_json(intermediate_size=[8, 16])).intermediate_size is None
    assert error_of(config_json(intermediate_size=[8, "16"])).finding.reason == "ConfigInvalid"


def test_sizes_for_each_layer_are_added_up() -> None:
    assert parse_config(config_json(intermediate_size=[8, 16])).details["total_intermediate_size"] == 24
    assert "total_intermediate_size" not in parse_config(config_json(intermediate_size=8)).details
    assert "total_intermediate_size" not in parse_config(config_json(intermediate_size=[])).details


def test_dbrx_has_experts_in_a_part_of_their_own() -> None:
    ffn = {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}
    config = parse_config(json.dumps({"d_model": 6144, "attn_config": {"kv_n_heads": 8}, "ffn_config": ffn}).encode())
    assert (config.num_key_value_heads, config.intermediate_size) == (8, 10752)
    assert (config.num_experts, config.num_experts_per_tok) == (16, 4)
    odd = json.dumps({"ffn_config": {"ffn_hidden_size": -1, "moe_num_experts": "16", "moe_top_k": 0}}).encode()
    assert parse_config(odd) == ModelConfig()


def test_layers_that_share_a_cache_are_counted_by_what_they_see() -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    document = {"num_hidden_layers": 4, "layer_types": kinds, "num_kv_shared_layers": 2}
    config = parse_config(json.dumps(document).encode())
    assert config.layer_types == {"full_attention": 1, "sliding_attention": 1}
    assert config.details["shared_full_layers"] == 1


def test_the_width_of_a_head_goes_before_channels() -> None:
    """Zamba 2 says both, and attends with the wider."""
    assert parse_config(b'{"attention_head_dim": 160, "kv_channels": 80}').head_dim == 160


def test_what_sees_and_hears_has_names_of_its_own() -> None:
    document = {
        "spatial_merge_size": 2,
        "mm_tokens_per_image": 256,
        "vision_config": {
            "model_type": "pixtral",
            "image_size": 1540,
            "patch_size": 14,
            "max_num_tiles": 4,
            "num_global_layers": 8,
            "supported_aspect_ratios": [[1, 1], [1, 2]],
            "position_embedding_size": 10240,
            "vision_output_dim": 7680,
        },
        "audio_config": {"num_hidden_layers": 12, "hidden_size": 1024, "output_proj_dims": 1536},
    }
    config = parse_config(json.dumps(document).encode())
    assert config.tower_type == "pixtral"
    assert config.details == {
        "tower_merge": 2,
        "tower_tokens": 256,
        "tower_image": 1540,
        "tower_patch": 14,
        "tower_tiles": 4,
        "tower_global_layers": 8,
        "tower_ratios": 2,
        "tower_positions": 10240,
        "tower_out": 7680,
        "audio_layers": 12,
        "audio_hidden": 1024,
        "audio_out": 1536,
    }


NUMBERS = ["num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "vocab_size"]


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 10**18, 10**300, "32", True, 32.0, 1e9, {}, float("nan"), float("inf")])
def test_absurd_numbers_are_refused_by_name(field: str, value: object) -> None:
    error = error_of(config_json(**{field: value}))
    assert error.finding.reason == "ConfigInvalid"
    assert error.finding.found.startswith(f"{field} = ")
    assert "whole number from" in error.finding.expected


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"architectures": "Granite"}, "architectures = "),
        ({"architectures": [1]}, "architectures[0] = "),
        ({"architectures": ["\x1b[31m"]}, "architectures[0] = '\\x1b"),
        ({"model_type": "x" * 500}, "model_type = "),
        ({"torch_dtype": 16}, "torch_dtype = "),
        ({"rope_scaling": "yarn"}, "rope_scaling = "),
        ({"rope_scaling": {"type": "yarn", "factor": float("nan")}}, "rope_scaling.factor = nan"),
        ({"rope_scaling": {"type": "yarn", "factor": 0}}, "rope_scaling.factor = 0"),
        ({"use_sliding_window": 1}, "use_sliding_window = 1"),
        ({"layer_types": "full"}, "layer_types = "),
        ({"layer_types": [None]}, "layer_types = "),
        ({"layer_types": ["a"] * 10_001}, "layer_types = "),
        ({"text_config": {"num_hidden_layers": -1}}, "num_hidden_layers = -1"),
    ],
)
def test_fields_of_the_wrong_kind_are_refused_by_name(changes: dict[str, Any], found: str) -> None:
    error = error_of(config_json(**changes))
    assert error.finding.reason == "ConfigInvalid"
    assert error.finding.found.startswith(found)
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "JsonInvalid"),
        (b"[]", "ConfigInvalid"),
        (b'{"num_hidden_layers": 1, "num_hidden_layers": 2}', "JsonDuplicateKey"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "JsonTooDeep"),
        (b" " * 9_000_000, "JsonTooLarge"),
    ],
)
def test_refuses_what_is_no_configuration(data: bytes, rule: str) -> None:
    assert error_of(data).finding.reason == rule


INTEGERS = st.none() | st.integers(1, 10_000)
CONFIGS = st.builds(
    ModelConfig,
    architecture=st.none() | st.just("A"),
    num_hidden_layers=INTEGERS,
    head_dim=INTEGERS,
    sliding_window=st.none() | st.integers(0, 9),
    use_sliding_window=st.none() | st.booleans(),
    layer_types=st.dictionaries(st.sampled_from(["full", "sliding"]), st.integers(1, 9)),
    rope_scaling=st.none() | st.builds(RopeScaling, factor=st.none() | st.floats(1, 9)),
    quantization=st.none() | st.builds(Quantization, bits=INTEGERS),
    auto_map=st.booleans(),
    tower_type=st.none() | st.just("pixtral"),
)


@given(CONFIGS)
def test_survives_a_row(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_row_is_compact_and_may_know_more() -> None:
    assert ModelConfig().to_dict() == {}
    kept = {"hidden_size": 3, "later": 1, "rope_scaling": {"factor": 2.0, "later": 1}}
    assert ModelConfig.from_dict(kept) == ModelConfig(hidden_size=3, rope_scaling=RopeScaling(factor=2.0))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [
        *ModelConfig.__dataclass_fields__,
        "architectures",
        "audio_config",
        "ffn_config",
        "quantization_config",
        "text_config",
        "vision_config",
    ]
)


@given(st.dictionaries(FIELDS, VALUES, max_size=4), st.binary(max_size=60))
def test_arbitrary_documents_and_bytes(document: dict[str, Any], data: bytes) -> None:
    for text in (json.dumps(document).encode(), data):
        config = outcome(parse_config, text)
        assert isinstance(config, FormatError) or ModelConfig.from_dict(config.to_dict()) == config
