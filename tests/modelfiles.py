"""Small model files for tests: real bytes of each format, and broken ones on request."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gatehouse.domain.common.format_error import FormatError

T = TypeVar("T")

BITS = {"F4": 4, "F6_E2M3": 6, "F8_E4M3": 8, "I8": 8, "U8": 8, "BF16": 16, "F16": 16, "F32": 32, "I32": 32, "I64": 64}


def outcome(read: Callable[..., T], *arguments: Any, **options: Any) -> T | FormatError:
    """What `read` returns, or the FormatError it raises."""
    try:
        return read(*arguments, **options)
    except FormatError as error:
        return error


GRANITE_CONFIG: dict[str, Any] = {
    "architectures": ["GraniteForCausalLM"],
    "model_type": "granite",
    "num_hidden_layers": 40,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 12800,
    "vocab_size": 49155,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "rope_scaling": None,
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "kv_cache_scheme": None,
        "config_groups": {
            "group_0": {
                "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
                "input_activations": {"num_bits": 8, "type": "float", "dynamic": True},
            }
        },
    },
}


def config_json(**changes: Any) -> bytes:
    """Granite's config.json with some fields changed; a field set to `...` is left out."""
    return json.dumps(
        {name: value for name, value in {**GRANITE_CONFIG, **changes}.items() if value is not ...}
    ).encode()


def safetensors_header(
    tensors: Mapping[str, tuple[str, Sequence[int]]], *, metadata: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The header of tensors given as name -> (dtype, shape), laid out one after the other."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        elements = 1
        for size in shape:
            elements *= size
        end = offset + elements * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return header


def safetensors_frame(header: bytes, data: bytes = b"") -> bytes:
    """A file of a raw header and data."""
    return struct.pack("<Q", len(header)) + header + data


def safetensors_file(
    tensors: Mapping[str, tuple[str, Sequence[int]]],
    *,
    metadata: Mapping[str, str] | None = None,
    fill: bytes = b"\0",
) -> bytes:
    """A whole, valid safetensors file."""
    header = safetensors_header(tensors, metadata=metadata)
    size = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    return safetensors_frame(json.dumps(header).encode(), fill * size)


def shard_index(weight_map: Mapping[str, str], *, total_size: int | None = None) -> bytes:
    """A model.safetensors.index.json."""
    metadata = {} if total_size is None else {"total_size": total_size}
    return json.dumps({"metadata": metadata, "weight_map": dict(weight_map)}).encode()


def gguf_string(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(value: Any) -> bytes:
    """A typed GGUF value: bool, int (u32), float (f32), str, or a list of one of them."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + gguf_string(value)
        case list():
            elements = [gguf_value(each) for each in value]
            kind = elements[0][:4] if elements else struct.pack("<I", 4)
            return struct.pack("<I", 9) + kind + struct.pack("<Q", len(value)) + b"".join(e[4:] for e in elements)
    raise TypeError(type(value))


def gguf_tensor(name: str, shape: Sequence[int], *, kind: int, offset: int) -> bytes:
    return gguf_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf_header(
    metadata: Iterable[tuple[str, Any]], tensors: Sequence[bytes] = (), *, version: int = 3, magic: bytes = b"GGUF"
) -> bytes:
    """A header; `tensors` are what `gguf_tensor` returns."""
    pairs = list(metadata)
    return (
        magic
        + struct.pack("<IQQ", version, len(tensors), len(pairs))
        + b"".join(gguf_string(key) + gguf_value(value) for key, value in pairs)
        + b"".join(tensors)
    )


LLAMA_METADATA: list[tuple[str, Any]] = [
    ("general.architecture", "llama"),
    ("llama.block_count", 2),
    ("llama.embedding_length", 64),
    ("llama.attention.head_count", 4),
    ("llama.attention.head_count_kv", 2),
    ("llama.context_length", 2048),
    ("tokenizer.ggml.tokens", ["<s>", "</s>", "a"]),
]


def gguf_file(*, alignment: int = 32, metadata: Iterable[tuple[str, Any]] = ()) -> bytes:
    """A whole, valid GGUF file with one tensor in F32 (4 x 3) and one in Q8_0 (64 x 2)."""
    pairs = [*LLAMA_METADATA, *metadata]
    if alignment != 32:
        pairs.append(("general.alignment", alignment))
    second = 48 + -48 % alignment
    tensors = [
        gguf_tensor("a.weight", [4, 3], kind=0, offset=0),
        gguf_tensor("b.weight", [64, 2], kind=8, offset=second),
    ]
    header = gguf_header(pairs, tensors)
    return header + b"\0" * (-len(header) % alignment) + b"\1" * (second + 136)
