"""What Hugging Face's `config.json` says about a model: the numbers a fit check needs, bounded, or nothing.

A field that is absent, null or given a layer at a time is None: unknown, never guessed. Of a multimodal model the
language part counts, which lies in `text_config` and its like.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from gatehouse.domain import jsonbound
from gatehouse.domain.config_section import Section, invalid
from gatehouse.domain.jsonbound import JsonValue

__all__ = [
    "MAX_CONFIG",
    "ModelConfig",
    "Quantization",
    "RopeScaling",
    "declares_remote_code",
    "mentions_remote_code",
    "parse_config",
]

MAX_CONFIG = 8_388_608
_MAX_ITEMS = 500_000
_AUTO_MAP = re.compile(rb'"auto_map"[ \t\n\r]*+:')
_ESCAPED = re.compile(rb"\\u00([0-9a-fA-F]{2})")
_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config")

_RANGES: Mapping[str, tuple[int, int]] = {
    "num_hidden_layers": (1, 10_000),
    "hidden_size": (1, 1_000_000),
    "num_attention_heads": (1, 10_000),
    "num_key_value_heads": (1, 10_000),
    "head_dim": (1, 100_000),
    "intermediate_size": (1, 100_000_000),
    "vocab_size": (1, 100_000_000),
    "max_position_embeddings": (1, 10_000_000_000),
    "sliding_window": (0, 10_000_000_000),
    "max_window_layers": (0, 10_000),
    "kv_lora_rank": (1, 1_000_000),
    "qk_rope_head_dim": (0, 100_000),
    "qk_nope_head_dim": (0, 100_000),
    "v_head_dim": (1, 100_000),
    "num_experts": (0, 1_000_000),
    "num_experts_per_tok": (0, 1_000_000),
}
"""Far beyond every published model, and small enough that no product of them is absurd."""

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "num_experts_per_tok": ("num_experts_per_tok", "num_experts_per_token"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How positions are stretched beyond the length of training; `kind` is rope_type or, in older files, type."""

    kind: str | None = None
    factor: float | None = None
    original_max_position_embeddings: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """`bits` of a weight and `activation_bits` are None where unknown or not the same for all layers.

    `method` is quant_method (`compressed-tensors`, `fp8`, `gptq`, `awq`, ...), `format` its packing or algorithm,
    `weight_type` is `float` or `int`, `kv_cache_bits` is set if the checkpoint fixes a quantized KV cache.
    """

    method: str | None = None
    format: str | None = None
    bits: int | None = None
    weight_type: str | None = None
    activation_bits: int | None = None
    kv_cache_bits: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The language model's dimensions under their Hugging Face names.

    `architecture` and `model_type` are the whole model's, `text_model_type` is the language part's if it is nested.
    `dtype` has no `torch.` before it. `layer_types` counts layers by type. `sliding_window_pattern` is the period, or
    a string with one letter a layer of the period. `auto_map` says that the configuration names code to be run.
    """

    architecture: str | None = None
    model_type: str | None = None
    text_model_type: str | None = None
    num_hidden_layers: int | None = None
    hidden_size: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    max_position_embeddings: int | None = None
    dtype: str | None = None
    sliding_window: int | None = None
    use_sliding_window: bool | None = None
    max_window_layers: int | None = None
    sliding_window_pattern: int | str | None = None
    layer_types: Mapping[str, int] = field(default_factory=dict)
    kv_lora_rank: int | None = None
    qk_rope_head_dim: int | None = None
    qk_nope_head_dim: int | None = None
    v_head_dim: int | None = None
    num_experts: int | None = None
    num_experts_per_tok: int | None = None
    rope_scaling: RopeScaling | None = None
    quantization: Quantization | None = None
    auto_map: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, without the fields that say nothing."""
        return _said(self) | {
            name: _said(part)
            for name, part in (("rope_scaling", self.rope_scaling), ("quantization", self.quantization))
            if part is not None
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return what `to_dict` kept; names that this version does not know are left out."""
        values = _known(cls, kept)
        if "rope_scaling" in values:
            values["rope_scaling"] = RopeScaling(**_known(RopeScaling, values["rope_scaling"]))
        if "quantization" in values:
            values["quantization"] = Quantization(**_known(Quantization, values["quantization"]))
        return cls(**values)


def _said(part: ModelConfig | RopeScaling | Quantization) -> dict[str, Any]:
    silent = type(part)()
    values = {each.name: getattr(part, each.name) for each in fields(part)}
    return {name: value for name, value in values.items() if value != getattr(silent, name)}


def _known(kind: type[ModelConfig | RopeScaling | Quantization], kept: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: kept[each.name] for each in fields(kind) if each.name in kept}


def parse_config(data: bytes) -> ModelConfig:
    """Read a `config.json`.

    Raises FormatError with the rule ConfigInvalid, naming the field, and those of `jsonbound.loads`.
    """
    whole = _document(data, "config.json")
    nested = next((part for name in _LANGUAGE_PARTS if isinstance(part := whole.get(name), dict)), {})
    section = Section({**whole, **{name: value for name, value in nested.items() if value is not None}})
    numbers = {name: section.integer(*_SPELLINGS.get(name, (name,)), allowed=_RANGES[name]) for name in _RANGES}
    return ModelConfig(
        architecture=_architecture(whole),
        model_type=Section(whole).text("model_type"),
        text_model_type=Section(nested).text("model_type"),
        dtype=_dtype(section),
        use_sliding_window=section.boolean("use_sliding_window"),
        sliding_window_pattern=_pattern(section),
        layer_types=_layer_types(section),
        rope_scaling=_rope_scaling(section),
        quantization=_quantization(section),
        auto_map=_names_code(whole),
        **numbers,
    )


def declares_remote_code(data: bytes) -> bool:
    """Say whether a configuration (`config.json`, `tokenizer_config.json`, ...) has `auto_map` at any level.

    Raises FormatError with the rule ConfigInvalid and those of `jsonbound.loads`.
    """
    return _names_code(_document(data, "the configuration"))


def mentions_remote_code(data: bytes) -> bool:
    """Say whether JSON of any shape, well formed or not, has a member `auto_map`. Linear, and never raises."""
    plain = data.replace(b"\\\\", b"  ")
    return _AUTO_MAP.search(_ESCAPED.sub(_unescaped, plain) if b"\\u" in plain else plain) is not None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """A letter of `auto_map` that was written as an escape; any other stays as it is."""
    letter = bytes([int(escape[1], 16)])
    return letter if letter in b"auto_map" else escape[0]


def _document(data: bytes, what: str) -> dict[str, JsonValue]:
    document = jsonbound.loads(data, what=what, max_bytes=MAX_CONFIG, max_items=_MAX_ITEMS, unique_keys=True)
    if not isinstance(document, dict):
        raise invalid(what, document, "a JSON object")
    return document


def _names_code(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return "auto_map" in value or any(_names_code(member) for member in value.values())
    return isinstance(value, list) and any(_names_code(element) for element in value)


def _architecture(whole: Mapping[str, JsonValue]) -> str | None:
    architectures = whole.get("architectures")
    if architectures is None or architectures == []:
        return None
    if not isinstance(architectures, list):
        raise invalid("architectures", architectures, "a list of class names")
    return Section({"architectures[0]": architectures[0]}).text("architectures[0]")


def _dtype(section: Section) -> str | None:
    dtype = section.text("dtype", "torch_dtype")
    return dtype.removeprefix("torch.") if dtype else None


def _pattern(section: Section) -> int | str | None:
    if isinstance(section.value("sliding_window_pattern"), str):
        return section.text("sliding_window_pattern")
    return section.integer("sliding_window_pattern", allowed=(1, 10_000))


def _layer_types(section: Section) -> Mapping[str, int]:
    kinds = section.value("layer_types")
    if kinds is None:
        return {}
    most = _RANGES["num_hidden_layers"][1]
    if not isinstance(kinds, list) or len(kinds) > most:
        raise invalid("layer_types", kinds, f"a list of at most {most} names")
    names = [Section({"layer_types": kind}).text("layer_types") for kind in kinds]
    counts = Counter(name for name in names if name is not None)
    if sum(counts.values()) < len(kinds) or len(counts) > 64:
        raise invalid("layer_types", kinds, "one of at most 64 names for each layer")
    return dict(sorted(counts.items()))


def _rope_scaling(section: Section) -> RopeScaling | None:
    rope = section.part("rope_scaling") or section.part("rope_parameters")
    if rope is None:
        return None
    scaling = RopeScaling(
        kind=rope.text("rope_type", "type"),
        factor=rope.number("factor", most=1e9),
        original_max_position_embeddings=rope.integer(
            "original_max_position_embeddings", allowed=_RANGES["max_position_embeddings"]
        ),
    )
    stretched = scaling.kind not in (None, "default") or scaling.factor is not None
    return scaling if stretched else None


def _quantization(section: Section) -> Quantization | None:
    quantization = section.part("quantization_config") or section.part("compression_config")
    if quantization is None:
        return None
    outer = quantization.part("config_groups")
    groups = outer.parts() if outer else []
    weights = [group.part("weights") for group in groups]
    activations = [group.part("input_activations") for group in groups]
    kv_cache = quantization.part("kv_cache_scheme")
    return Quantization(
        method=quantization.text("quant_method"),
        format=quantization.text("format", "quant_algo"),
        bits=_bits(quantization, "bits") or _bits(quantization, "w_bit") or _same_bits(weights),
        weight_type=_same_type(weights),
        activation_bits=_same_bits(activations),
        kv_cache_bits=_bits(kv_cache, "num_bits") if kv_cache else None,
    )


def _bits(section: Section, name: str) -> int | None:
    return section.integer(name, allowed=(1, 64))


def _same_bits(parts: list[Section | None]) -> int | None:
    found = {_bits(part, "num_bits") if part else None for part in parts}
    return found.pop() if len(found) == 1 else None


def _same_type(parts: list[Section | None]) -> str | None:
    found = {part.text("type") if part else None for part in parts}
    return found.pop() if len(found) == 1 else None
