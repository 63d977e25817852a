"""What the files beside config.json, and the names of tensors, add to what is known of a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.hardware.fit import fit
from modelfiles import config_json, safetensors_file, shard_index
from unit.controllers.verification.checks import check, tiny
from unit.domain.hardware.fits import profile, shipped

FP8_FILE = json.dumps({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}).encode()
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}


async def summary_of(**files: bytes | None) -> ArtifactSummary:
    result = await check(tiny(**files))
    assert result.record.outcome == "Verified", result.record.problems
    assert result.record.summary is not None
    return result.record.summary


def configuration(**members: Any) -> bytes:
    return json.dumps(members).encode()


async def test_modelopts_own_file_says_how_weights_are_quantized() -> None:
    found = await summary_of(**{"hf_quant_config.json": FP8_FILE})
    assert found.config is not None
    # config.json goes first; this one has compression_config.
    assert found.config.quantization is not None
    plain = await summary_of(**{"hf_quant_config.json": FP8_FILE, "config.json": configuration(hidden_size=64)})
    assert plain.config is not None
    assert plain.config.quantization == Quantization(
        method="modelopt", format="FP8", bits=8, weight_type="float", kv_cache_bits=8
    )


async def test_a_kv_cache_scheme_that_is_a_name_is_read() -> None:
    said = configuration(
        quantization_config={"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": "FP8"}
    )
    found = await summary_of(**{"config.json": said})
    assert found.config is not None
    assert found.config.quantization is not None
    assert found.config.quantization.kv_cache_bits == 8


async def test_sentence_transformers_say_their_length() -> None:
    """Case of a model whose positions reach further than what its authors let texts be."""
    found = await summary_of(
        **{
            "config.json": configuration(
                architectures=["XLMRobertaModel"],
                model_type="xlm-roberta",
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=8194,
                vocab_size=256,
                torch_dtype="float32",
                position_embedding_type="absolute",
            ),
            "sentence_bert_config.json": configuration(max_seq_length=512, do_lower_case=False),
            "tokenizer_config.json": configuration(model_max_length=1024),
            "1_Pooling/config.json": configuration(word_embedding_dimension=64),
            "modules.json": b"[]",
        }
    )
    judged = fit(found, shipped("nvidia-l4").spec)
    assert (judged.verdict, judged.max_model_len) == ("Fits", 512)
    assert fit(found, profile(), requested_max_model_len=513).finding.reason == "MaxModelLenTooLong"


async def test_the_tokenizers_length_counts_for_pooling_models_with_absolute_positions() -> None:
    said = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "max_position_embeddings": 512,
        "position_embedding_type": "absolute",
    }
    tokenizer = {"tokenizer_config.json": configuration(model_max_length=256)}
    pooling = await summary_of(**{"config.json": configuration(**said)}, **tokenizer)
    assert fit(pooling, profile()).max_model_len == 256
    other = await summary_of(
        **{"config.json": configuration(**(said | {"position_embedding_type": "rope"}))}, **tokenizer
    )
    assert fit(other, profile()).max_model_len == 512


async def test_a_tokenizer_without_a_length_says_none() -> None:
    huge = b'{"model_max_length": 1000000000000000019884624838656}'
    found = await summary_of(**{"tokenizer_config.json": huge})
    assert found.config is not None
    assert found.config.tokenizer_max_length is None


async def test_gpt_2_starts_with_no_more_than_it_takes() -> None:
    said = configuration(
        architectures=["GPT2LMHeadModel"], model_type="gpt2", n_embd=768, n_head=12, n_layer=12, n_positions=1024
    )
    found = await summary_of(**{"config.json": said})
    judged = fit(found, shipped("nvidia-l4").spec)
    assert (judged.verdict, judged.max_model_len) == ("Fits", 1024)


async def test_command_r_takes_what_its_model_max_length_says() -> None:
    said = configuration(
        architectures=["CohereForCausalLM"],
        model_type="cohere",
        hidden_size=8192,
        intermediate_size=22528,
        num_hidden_layers=40,
        num_attention_heads=64,
        num_key_value_heads=64,
        max_position_embeddings=8192,
        vocab_size=256,
        torch_dtype="float16",
        model_max_length=131072,
    )
    found = await summary_of(**{"config.json": said})
    large = shipped("nvidia-h100-80gb").spec
    assert fit(found, large, requested_max_model_len=32_768).verdict != "DoesNotFit"
    refused = fit(found, large, requested_max_model_len=131_073)
    assert (refused.finding.reason, "131,072 tokens (model_max_length)" in refused.finding.found) == (
        "MaxModelLenTooLong",
        True,
    )


async def test_experts_are_split_in_whole_blocks() -> None:
    said = configuration(
        architectures=["Qwen3MoeForCausalLM"],
        model_type="qwen3_moe",
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=94,
        num_attention_heads=64,
        num_key_value_heads=4,
        max_position_embeddings=40960,
        vocab_size=256,
        moe_intermediate_size=1536,
        head_dim=128,
        num_experts=128,
        quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]},
    )
    found = await summary_of(**{"config.json": said})
    machine = profile(memory="81559Mi", model="H100", computeCapability="9.0", count=8)
    split = fit(found, machine)
    assert (split.verdict, split.tensor_parallel_size) == ("Fits", 4)
    assert any("experts of 1536" in warning for warning in split.warnings)
    spread = fit(found, machine, arguments=["--enable-expert-parallel"])
    assert spread.tensor_parallel_size == 8
    short = fit(found, machine, requested_max_model_len=40_961)
    assert short.verdict == "DoesNotFit"


@pytest.mark.parametrize(
    ("tensors", "config", "parameters"),
    [
        ({"a.qweight": ("I32", (8, 4)), "a.qzeros": ("I32", (2,)), "a.scales": ("F16", (4,))}, GPTQ, 8 * 4 * 32 // 4),
        (
            {"a.weight": ("F8_E4M3", (8,)), "a.weight_scale_inv": ("F32", (1,))},
            {"quantization_config": {"quant_method": "fp8"}},
            8,
        ),
        (
            {"a.weight": ("U8", (8,)), "a.weight.absmax": ("F32", (1,)), "n.weight": ("BF16", (3,))},
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            19,
        ),
        ({"a.q_weight": ("I32", (8,))}, {"quantization_config": {"quant_method": "exl2", "bits": 4.65}}, None),
        ({"a.weight": ("BF16", (8,)), "position_ids": ("I64", (2,))}, {}, 10),
    ],
)
async def test_parameters_are_counted_from_what_is_packed_or_not_shown(
    tensors: dict[str, tuple[str, tuple[int, ...]]], config: dict[str, Any], parameters: int | None
) -> None:
    files = {"config.json": configuration(hidden_size=8, **config), "model.safetensors": safetensors_file(tensors)}
    assert (await summary_of(**files)).parameters == parameters


async def test_what_no_model_server_loads_is_told_apart() -> None:
    tensors = {
        "model.layers.0.w": ("BF16", (4,)),
        "model.layers.1.w": ("BF16", (8,)),
        "mtp.w": ("BF16", (16,)),
        "lm_head.weight": ("BF16", (32,)),
    }
    files: dict[str, bytes | None] = {
        "model.safetensors": None,
        "one.safetensors": safetensors_file({name: tensors[name] for name in list(tensors)[:2]}),
        "two.safetensors": safetensors_file({name: tensors[name] for name in list(tensors)[2:]}),
        "model.safetensors.index.json": shard_index(
            {name: "one.safetensors" if "model" in name else "two.safetensors" for name in tensors}
        ),
    }
    ahead = await summary_of(**{"config.json": config_json(num_hidden_layers=1, num_nextn_predict_layers=1)}, **files)
    assert (ahead.head_bytes, ahead.unloaded_bytes) == (64, 16 + 32)
    none = await summary_of(**{"config.json": config_json(num_hidden_layers=1)}, **files)
    assert none.unloaded_bytes == 0
