"""Granite 3.1 8B Instruct FP8-dynamic at full size: real tensor names, shapes and dtypes, hardly any disk space.

Two shards of 8.4 GB together hold headers and holes. A store whose objects are files can serve them: the headers are
uploaded, so that the store keeps an ETag, and the files are then made longer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfiles import config_json, safetensors_frame, safetensors_header, shard_index

__all__ = ["PARAMETERS", "WEIGHTS_BYTES", "SparseFile", "granite_files", "tensors", "upload"]

LAYERS, HIDDEN, HEADS, KV_HEADS, INTERMEDIATE, VOCABULARY = 40, 4096, 32, 8, 12_800, 49_155
_KV = HIDDEN // HEADS * KV_HEADS
_LINEARS: Mapping[str, tuple[int, int]] = {
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "self_attn.k_proj": (_KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (_KV, HIDDEN),
}
_FIRST_SHARD_LAYERS = 24

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def tensors() -> Tensors:
    """Name to (dtype, shape), in the order of the model. The embeddings are tied: there is no lm_head."""
    named: Tensors = {"model.embed_tokens.weight": ("BF16", (VOCABULARY, HIDDEN))}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        named[f"{prefix}.input_layernorm.weight"] = ("BF16", (HIDDEN,))
        for name, (rows, columns) in _LINEARS.items():
            named[f"{prefix}.{name}.weight"] = ("F8_E4M3", (rows, columns))
            named[f"{prefix}.{name}.weight_scale"] = ("BF16", (rows, 1))
        named[f"{prefix}.post_attention_layernorm.weight"] = ("BF16", (HIDDEN,))
    named["model.norm.weight"] = ("BF16", (HIDDEN,))
    return named


def _elements(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


PARAMETERS = sum(_elements(shape) for name, (_, shape) in tensors().items() if not name.endswith("_scale"))
"""Without the scales, which are no parameters: 8,170,848,256, as for the model before it was quantized."""
WEIGHTS_BYTES = sum(_elements(shape) * (1 if dtype == "F8_E4M3" else 2) for dtype, shape in tensors().values())


@dataclass(frozen=True, slots=True)
class SparseFile:
    """A file of ``size`` bytes that begins with ``opening`` and goes on with zeros."""

    path: str
    opening: bytes
    size: int


def granite_files() -> list[SparseFile]:
    """Every file of the model."""
    shards: list[Tensors] = [{}, {}]
    for name, tensor in tensors().items():
        parts = name.split(".")
        layer = int(parts[2]) if parts[1] == "layers" else (0 if parts[1] == "embed_tokens" else LAYERS)
        shards[layer >= _FIRST_SHARD_LAYERS][name] = tensor
    names = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    placed = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    texts = {
        "config.json": config_json(tie_word_embeddings=True, attention_multiplier=0.0078125, logits_scaling=16.0),
        "generation_config.json": b'{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}',
        "merges.txt": b"#version: 0.2\n" * 4_000,
        "model.safetensors.index.json": shard_index(placed, total_size=WEIGHTS_BYTES),
        "README.md": b"# A model of full size and no content\n",
        "special_tokens_map.json": b"{}",
        "tokenizer.json": json.dumps({"model": {"vocab": {f"token{n}": n for n in range(VOCABULARY)}}}).encode(),
        "tokenizer_config.json": b'{"tokenizer_class": "GPT2Tokenizer"}',
        "vocab.json": json.dumps({f"token{n}": n for n in range(VOCABULARY)}).encode(),
    }
    return [
        *(SparseFile(path, text, len(text)) for path, text in texts.items()),
        *(_shard(name, shard) for name, shard in zip(names, shards, strict=True)),
    ]


def _shard(name: str, shard: Tensors) -> SparseFile:
    header = safetensors_header(shard, metadata={"format": "pt"})
    opening = safetensors_frame(json.dumps(header, separators=(",", ":")).encode())
    data = max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
    return SparseFile(name, opening, len(opening) + data)


def upload(files: list[SparseFile], *, put: Callable[[str, bytes], None], folder: Path) -> None:
    """Put each file by its path, then make it as long as it should be in the folder where the store keeps them."""
    for file in files:
        put(file.path, file.opening)
        if file.size > len(file.opening):
            os.truncate(folder / file.path, file.size)
