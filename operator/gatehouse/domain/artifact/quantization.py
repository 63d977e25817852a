"""The method by which a checkpoint stores its weights, from the file in which the tool that wrote it states the method.

Transformers, AutoAWQ, AutoGPTQ, llm-compressor, bitsandbytes, torchao and newer ModelOpt write ``quantization_config``
into config.json, older llm-compressor ``compression_config``, ModelOpt ``hf_quant_config.json`` beside it, AutoAWQ and
AutoGPTQ also ``quant_config.json`` and ``quantize_config.json``. A malformed field is left out: the method alone
decides whether vLLM loads the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from gatehouse.domain.common.bounded_json import JsonValue

__all__ = ["Quantization", "read_quantization", "read_quantization_file"]

T = TypeVar("T")

_NAME: Final = re.compile(r"[\w.:+/-]{1,128}", re.ASCII)
_MOST: Final = 1_000_000
_BITS: Final[Mapping[str, int]] = {"FP8": 8, "NVFP4": 4, "MXFP4": 4, "W4A8": 4, "W4A16": 4, "INT8": 8, "W8A16": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """`bits` of a weight and `activation_bits` are None where unknown or not the same for all layers.

    `method` is quant_method (`compressed-tensors`, `fp8`, `gptq`, `awq`, ...), `format` its packing or algorithm,
    `weight_type` is `float` or `int`, `kv_cache_bits` is set if the checkpoint fixes a quantized KV cache. `block` is
    the block of weights that share a scale, outputs by inputs. `group` is the number of inputs of one output that share
    a scale.
    """

    method: str | None = None
    format: str | None = None
    bits: int | None = None
    weight_type: str | None = None
    activation_bits: int | None = None
    kv_cache_bits: int | None = None
    block: tuple[int, int] | None = None
    group: int | None = None


def read_quantization(whole: Mapping[str, JsonValue]) -> Quantization | None:
    """Read the quantization from a config.json; from its nested parts where the top level states none."""
    for part in (whole, *(part for part in whole.values() if isinstance(part, dict))):
        for name in ("quantization_config", "compression_config"):
            said = part.get(name)
            if isinstance(said, dict) and said:
                return _read(said)
    return None


def read_quantization_file(name: str, document: Mapping[str, JsonValue]) -> Quantization | None:
    """Read the quantization from hf_quant_config.json, quantize_config.json or quant_config.json."""
    said = document.get("quantization")
    if name == "hf_quant_config.json":
        return _modelopt(said) if isinstance(said, dict) else None
    method = "awq" if name == "quant_config.json" else "gptq"
    return _read({"quant_method": method, **document}) if document else None


def _read(said: Mapping[str, JsonValue]) -> Quantization:
    inner = said.get("quantization")
    if isinstance(inner, dict) and _text(said, "quant_method") in {None, "modelopt"}:
        return _modelopt(inner)
    if _text(said, "quant_method") == "modelopt" or _text(said, "quant_algo") is not None:
        return _modelopt(said)
    groups = [group for group in _part(said, "config_groups").values() if isinstance(group, dict)]
    weights = [_part(group, "weights") for group in groups]
    activations = [_part(group, "input_activations") for group in groups]
    method = _text(said, "quant_method") or ("compressed-tensors" if groups else None)
    four, eight = said.get("load_in_4bit") is True, said.get("load_in_8bit") is True
    bits = _number(said, "bits", "w_bit", most=64) or _same(_number(group, "num_bits", most=64) for group in weights)
    return Quantization(
        method=method,
        format=_text(said, "format", "fmt", "version"),
        bits=bits or (4 if four or method == "mxfp4" else 8 if eight or method in {"fp8", "fbgemm_fp8"} else None),
        weight_type=_same(_text(group, "type") for group in weights),
        activation_bits=_same(_number(group, "num_bits", most=64) for group in activations),
        kv_cache_bits=_cache_bits(said.get("kv_cache_scheme")),
        block=_block(said.get("weight_block_size")) or _same(_block(group.get("block_structure")) for group in weights),
        group=_number(said, "group_size", "q_group_size") or _same(_number(group, "group_size") for group in weights),
    )


def _modelopt(said: Mapping[str, JsonValue]) -> Quantization:
    """ModelOpt's own fields: ``quant_algo`` and ``kv_cache_quant_algo``, or ``kv_cache_scheme`` (name or object)."""
    algorithm = (_text(said, "quant_algo", "format") or "").upper()
    groups = [group for group in _part(said, "config_groups").values() if isinstance(group, dict)]
    weights = [_part(group, "weights") for group in groups]
    named = next((bits for name, bits in _BITS.items() if algorithm.startswith(name)), None)
    cache = said.get("kv_cache_quant_algo")
    return Quantization(
        method="modelopt",
        format=algorithm or None,
        bits=named or _same(_number(group, "num_bits", most=64) for group in weights),
        weight_type="int" if "INT" in algorithm else "float",
        kv_cache_bits=_cache_bits(said.get("kv_cache_scheme") if cache is None else cache),
        group=_number(said, "group_size") or _same(_number(group, "group_size") for group in weights),
    )


def _cache_bits(scheme: JsonValue) -> int | None:
    if isinstance(scheme, str):
        return 8 if scheme.upper() in {"FP8", "INT8"} else 4 if scheme.upper() == "NVFP4" else None
    return _number(scheme, "num_bits", most=64) if isinstance(scheme, dict) else None


def _block(value: JsonValue) -> tuple[int, int] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    outputs, inputs = value
    sound = isinstance(outputs, int) and isinstance(inputs, int) and 0 < outputs <= _MOST and 0 < inputs <= _MOST
    return (int(outputs), int(inputs)) if sound and isinstance(outputs, int) and isinstance(inputs, int) else None


def _part(said: Mapping[str, JsonValue], name: str) -> Mapping[str, JsonValue]:
    value = said.get(name)
    return value if isinstance(value, dict) else {}


def _text(said: Mapping[str, JsonValue], *names: str) -> str | None:
    values = (said.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and _NAME.fullmatch(value)), None)


def _number(said: Mapping[str, JsonValue], *names: str, most: int = _MOST) -> int | None:
    values = (said.get(name) for name in names)
    return next((value for value in values if type(value) is int and 0 < value <= most), None)


def _same(values: Iterable[T | None]) -> T | None:
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None
