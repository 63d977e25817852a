"""A miniature Granite: real safetensors files of the Granite architecture with tiny dimensions, for the demo.

It has the layout, tensor names and data types of granite-3.1-8b-instruct-FP8-dynamic (FP8 linears with a BF16 scale a
row, BF16 embeddings and norms, two shards and their index), but its numbers are noise and it answers nothing.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

__all__ = ["miniature_granite"]

LAYERS: Final = 4
HIDDEN: Final = 64
INTERMEDIATE: Final = 200
HEADS: Final = 4
KV_HEADS: Final = 2
HEAD_DIM: Final = HIDDEN // HEADS
VOCABULARY: Final = 512
MAX_POSITION_EMBEDDINGS: Final = 131_072
WIDTH: Final = {"F8_E4M3": 1, "BF16": 2}
INDEX: Final = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        elements = 1
        for extent in self.shape:
            elements *= extent
        return elements * WIDTH[self.dtype]


def miniature_granite(*, seed: int = 31) -> dict[str, bytes]:
    """The files' bytes by name; the same for the same seed."""
    noise = random.Random(seed)  # noqa: S311 - weights, not secrets
    tensors = list(_tensors())
    half = len(tensors) // 2
    shards = {"model-00001-of-00002.safetensors": tensors[:half], "model-00002-of-00002.safetensors": tensors[half:]}
    files = {name: _safetensors(part, noise) for name, part in shards.items()}
    weight_map = {tensor.name: shard for shard, part in shards.items() for tensor in part}
    total = sum(tensor.size for tensor in tensors)
    files[INDEX] = orjson.dumps({"metadata": {"total_size": total}, "weight_map": weight_map})
    files["config.json"] = orjson.dumps(_config(), option=orjson.OPT_INDENT_2)
    files["generation_config.json"] = orjson.dumps({"eos_token_id": 0, "pad_token_id": 0})
    files["tokenizer_config.json"] = orjson.dumps({"tokenizer_class": "GPT2Tokenizer", "model_max_length": 4096})
    files["tokenizer.json"] = orjson.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}})
    files["README.md"] = b"# A miniature Granite\n\nNoise in the layout of Granite 3.1 8B FP8. It serves nothing.\n"
    return files


def _tensors() -> Iterator[_Tensor]:
    yield _Tensor("model.embed_tokens.weight", "BF16", (VOCABULARY, HIDDEN))
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name, rows, columns in (
            ("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
            ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
            ("mlp.up_proj", INTERMEDIATE, HIDDEN),
            ("mlp.down_proj", HIDDEN, INTERMEDIATE),
        ):
            yield _Tensor(f"{prefix}.{name}.weight", "F8_E4M3", (rows, columns))
            yield _Tensor(f"{prefix}.{name}.weight_scale", "BF16", (rows, 1))
        yield _Tensor(f"{prefix}.input_layernorm.weight", "BF16", (HIDDEN,))
        yield _Tensor(f"{prefix}.post_attention_layernorm.weight", "BF16", (HIDDEN,))
    yield _Tensor("model.norm.weight", "BF16", (HIDDEN,))


def _safetensors(tensors: list[_Tensor], noise: random.Random) -> bytes:
    """The format: u64 little-endian length of the header, the header as JSON padded to eight bytes, the data."""
    header: dict[str, Mapping[str, Any]] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.size],
        }
        offset += tensor.size
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + noise.randbytes(offset)


def _config() -> dict[str, Any]:
    return {
        "architectures": ["GraniteForCausalLM"],
        "model_type": "granite",
        "num_hidden_layers": LAYERS,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": MAX_POSITION_EMBEDDINGS,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "dynamic": False},
                    "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
                }
            },
            "ignore": ["lm_head"],
        },
    }
