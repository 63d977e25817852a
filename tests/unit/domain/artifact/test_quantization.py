"""How a checkpoint says that its weights are quantized, as each tool writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import parse_config
from gatehouse.domain.artifact.quantization import Quantization, read_quantization, read_quantization_file

GROUPS = {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}, "input_activations": None}}


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, {"method": "gptq", "bits": 4, "group": 128}),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, {"method": "awq", "bits": 4, "group": 64}),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, {"method": "gptq", "bits": 4}),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {"method": "bitsandbytes", "bits": 4}),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, {"method": "bitsandbytes", "bits": 8}),
        ({"quant_method": "mxfp4"}, {"method": "mxfp4", "bits": 4}),
        ({"quant_method": "exl2", "bits": 4.65}, {"method": "exl2"}),
        ({"quant_method": "torchao", "quant_type": {"default": {}}}, {"method": "torchao"}),
        (
            {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
            {"method": "fp8", "format": "e4m3", "bits": 8, "block": (128, 128)},
        ),
        ({"quant_method": "fp8", "weight_block_size": ["a", 0]}, {"method": "fp8", "bits": 8}),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": GROUPS},
            {
                "method": "compressed-tensors",
                "format": "pack-quantized",
                "bits": 4,
                "weight_type": "int",
                "group": 128,
            },
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": "FP8"},
            {"method": "modelopt", "format": "FP8", "bits": 8, "weight_type": "float", "kv_cache_bits": 8},
        ),
        (
            {"quant_algo": "NVFP4", "group_size": 16, "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
            {
                "method": "modelopt",
                "format": "NVFP4",
                "bits": 4,
                "weight_type": "float",
                "kv_cache_bits": 8,
                "group": 16,
            },
        ),
        ({"quant_method": "gptq", "bits": "4", "config_groups": []}, {"method": "gptq"}),
    ],
)
def test_quantization_config_of_each_tool(said: dict[str, Any], read: dict[str, Any]) -> None:
    assert read_quantization({"quantization_config": said}) == Quantization(**read)
    assert read_quantization({"compression_config": said}) == Quantization(**read)
    assert read_quantization({"text_config": {"quantization_config": said}}) == Quantization(**read)


def test_groups_that_differ_have_no_bits_in_common() -> None:
    groups = {"a": {"weights": {"num_bits": 4, "type": "int"}}, "b": {"weights": {"num_bits": 8, "type": "float"}}}
    said = {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}}
    assert read_quantization(said) == Quantization(method="compressed-tensors")


def test_modelopt_writes_a_file_of_its_own() -> None:
    document = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    found = read_quantization_file("hf_quant_config.json", document)
    assert found == Quantization(method="modelopt", format="FP8", bits=8, weight_type="float", kv_cache_bits=8)


def test_what_is_kept_of_it_is_read_again() -> None:
    config = parse_config(
        json.dumps({"quantization_config": {"quant_method": "fp8", "weight_block_size": [1, 2]}}).encode()
    )
    kept = json.loads(json.dumps(config.to_dict()))
    assert type(config).from_dict(kept) == config


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
NAMES = [
    "quant_method",
    "bits",
    "w_bit",
    "group_size",
    "config_groups",
    "kv_cache_scheme",
    "weight_block_size",
    "quantization",
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_no_field_refuses_the_whole(said: dict[str, Any]) -> None:
    assert read_quantization({"quantization_config": said or []}) is None or said
    read_quantization_file("hf_quant_config.json", {"quantization": said})
    read_quantization_file("quantize_config.json", said)
