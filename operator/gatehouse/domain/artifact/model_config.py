"""The statements of Hugging Face's ``config.json`` about a model, read typed and bounded.

A field that is absent, null or given for each layer is None: unknown, never guessed. Of a multimodal model the language
part counts, which lies in `text_config` or a similar member.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from gatehouse.domain.artifact.quantization import Quantization, read_quantization
from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import FormatError, shown

__all__ = [
    "MAX_CONFIG",
    "ModelConfig",
    "Quantization",
    "RopeScaling",
    "document",
    "invalid",
    "mentions_remote_code",
    "names_code",
    "parse_config",
    "said",
]

_NAME = re.compile(r"[\w.:+/-]{1,128}", re.ASCII)


class Section:
    """One JSON object. Absent and null are None; any other value of the wrong kind raises FormatError ConfigInvalid."""

    def __init__(self, members: Mapping[str, JsonValue], *, within: str = "") -> None:
        self._members = members
        self._within = within

    def part(self, name: str) -> Section | None:
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise invalid(self._within + name, value, "a JSON object")
        return Section(value, within=f"{self._within}{name}.")

    def parts(self) -> list[Section]:
        """Return the members that are objects; every member must be one."""
        return [part for name in self._members if (part := self.part(name))]

    def value(self, name: str) -> JsonValue:
        return self._members.get(name)

    def integer(self, *names: str, allowed: tuple[int, int]) -> int | None:
        """Return the first of `names` that exists; None where the field has one number for each layer."""
        for name in names:
            value = self._members.get(name)
            if value is None:
                continue
            numbers = value if isinstance(value, list) else [value]
            for number in numbers:
                if type(number) is not int or not allowed[0] <= number <= allowed[1]:
                    raise invalid(self._within + name, number, f"a whole number from {allowed[0]} to {allowed[1]}")
            return None if isinstance(value, list) else int(numbers[0])  # type: ignore[arg-type]  # checked above
        return None

    def number(self, name: str, *, most: float) -> float | None:
        value = self._members.get(name)
        if value is None:
            return None
        # A comparison with NaN is false, which refuses NaN as well.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise invalid(self._within + name, value, f"a number above 0, at most {most}")
        return float(value)

    def boolean(self, name: str) -> bool | None:
        value = self._members.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(self._within + name, value, "true or false")
        return value

    def text(self, *names: str) -> str | None:
        for name in names:
            value = self._members.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise invalid(self._within + name, value, "a name of at most 128 letters, digits and ._:+/-")
            return value
        return None


def invalid(name: str, value: JsonValue, allowed: str) -> FormatError:
    """Return the error for the field `name`."""
    return FormatError(
        "ConfigInvalid", f"{name} = {shown(value)}", allowed, "Correct the model's configuration and upload it again."
    )


MAX_CONFIG = 8_388_608
_MAX_ITEMS = 500_000
_AUTO_MAP = re.compile(rb'"auto_map"[ \t\n\r]*+:')
_PLAIN_NAME = re.compile(r"[\w.:+/-]{1,128}", re.ASCII)
_ESCAPED = re.compile(rb"\\u00([0-9a-fA-F]{2})")
_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")

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
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads"),
    "num_key_value_heads": ("num_key_value_heads", "multi_query_group_num"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels"),
    "intermediate_size": ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": ("num_experts_per_tok", "num_experts_per_token"),
}

LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
"""The keys in which vLLM searches the longest sequence, in its order (config/model.py, ``_get_and_verify_max_len``)."""

_LONGEST = 10_000_000_000
_DETAILS = frozenset(
    {
        "adapter_rank",
        "altup_num_inputs",
        "attention_bias",
        "attention_chunk_size",
        "attention_k_eq_v",
        "attn_layer_offset",
        "attn_layer_period",
        "attn_output_gate",
        "conv_L_cache",
        "conv_kernel",
        "decoder_attention_heads",
        "decoder_ffn_dim",
        "decoder_layers",
        "decoder_sparse_step",
        "encoder_ffn_dim",
        "encoder_layers",
        "expand",
        "expert_layer_offset",
        "expert_layer_period",
        "first_k_dense_replace",
        "full_attention_interval",
        "global_head_dim",
        "hidden_size_per_layer_input",
        "index_head_dim",
        "index_n_heads",
        "interleave_moe_layer_step",
        "intermediate_size_mlp",
        "laurel_rank",
        "linear_conv_kernel_dim",
        "linear_key_head_dim",
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_value_head_dim",
        "mamba_d_conv",
        "mamba_d_head",
        "mamba_d_ssm",
        "mamba_d_state",
        "mamba_dt_rank",
        "mamba_expand",
        "mamba_head_dim",
        "mamba_headdim",
        "mamba_n_groups",
        "mamba_n_heads",
        "mamba_ngroups",
        "mamba_num_heads",
        "max_source_positions",
        "moe_intermediate_size",
        "moe_latent_size",
        "moe_layer_start_index",
        "moe_num_shared_experts",
        "moe_shared_expert_intermediate_size",
        "multi_query",
        "n_groups",
        "n_mamba_heads",
        "n_shared_experts",
        "new_decoder_architecture",
        "num_global_key_value_heads",
        "num_heads",
        "num_kv_heads",
        "num_kv_shared_layers",
        "num_mel_bins",
        "num_mem_blocks",
        "num_nextn_predict_layers",
        "original_max_position_embeddings",
        "q_lora_rank",
        "shared_expert_intermediate_size",
        "shared_intermediate_size",
        "ssm_state_size",
        "state_size",
        "swa_head_dim",
        "swa_num_key_value_heads",
        "swa_v_head_dim",
        "tie_word_embeddings",
        "time_step_rank",
        "use_double_wide_mlp",
        "vocab_size_per_layer_input",
    }
)
"""Numbers of only some architectures; true and false are 1 and 0."""

_NULL_IS_NONE = ("attention_chunk_size", "n_shared_experts", "q_lora_rank")
"""Null in these fields means that the model has none; an absent field means the default of the configuration class."""

_NESTED = (
    ("num_key_value_heads", "attn_config", "kv_n_heads"),
    ("intermediate_size", "ffn_config", "ffn_hidden_size"),
    ("num_experts", "ffn_config", "moe_num_experts"),
    ("num_experts_per_tok", "ffn_config", "moe_top_k"),
)
"""Fields that MPT and DBRX have in a nested object."""

_LAYER_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How positions are stretched beyond the length of training; `kind` is rope_type or, in older files, type."""

    kind: str | None = None
    factor: float | None = None
    original_max_position_embeddings: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The language model's dimensions under their Hugging Face names.

    `architecture` and `model_type` are the whole model's, `text_model_type` is the language part's if it is nested.
    `dtype` has no `torch.` before it. `layer_types` counts layers by type, of those that keep a cache of their own.
    `sliding_window` 0 means that the model has no window. `sliding_window_pattern` is the period, or a string with one
    letter for each layer of the period. `auto_map` is true where the configuration names code to run. `lengths` are the
    other keys of `LENGTHS`, `details` numbers of only some architectures. `state_dtype` is the data type of a recurrent
    state, `tower_type` the model type of the image encoder. `tokenizer_max_length` and `sentence_max_length` are from
    tokenizer_config.json and sentence_bert_config.json.
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
    lengths: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, int] = field(default_factory=dict)
    position_embedding_type: str | None = None
    state_dtype: str | None = None
    tower_type: str | None = None
    tokenizer_max_length: int | None = None
    sentence_max_length: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a value that JSON can hold, without the fields that are unknown."""
        return said(self) | {
            name: said(part)
            for name, part in (("rope_scaling", self.rope_scaling), ("quantization", self.quantization))
            if part is not None
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the configuration that `to_dict` wrote; names that this version does not know are left out."""
        values = _known(cls, kept)
        if "rope_scaling" in values:
            values["rope_scaling"] = RopeScaling(**_known(RopeScaling, values["rope_scaling"]))
        if "quantization" in values:
            quantization = _known(Quantization, values["quantization"])
            if "block" in quantization:
                quantization["block"] = tuple(quantization["block"])
            values["quantization"] = Quantization(**quantization)
        return cls(**values)


def said(part: ModelConfig | RopeScaling | Quantization) -> dict[str, Any]:
    """The known fields, as JSON can hold them."""
    silent = type(part)()
    values = {known.name: getattr(part, known.name) for known in fields(part)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != getattr(silent, name)
    }


def _known(kind: type[ModelConfig | RopeScaling | Quantization], kept: Mapping[str, Any]) -> dict[str, Any]:
    return {known.name: kept[known.name] for known in fields(kind) if known.name in kept}


def parse_config(data: bytes) -> ModelConfig:
    """Read a `config.json`.

    Raises FormatError with the rule ConfigInvalid, naming the field, and those of `bounded_json.loads`.
    """
    whole = document(data, "config.json")
    outer = _language_part(whole)
    nested = _language_part(outer) or outer
    members = {**whole, **{name: value for name, value in nested.items() if value is not None}}
    section = Section(members)
    numbers = {name: section.integer(*_SPELLINGS.get(name, (name,)), allowed=_RANGES[name]) for name in _RANGES}
    if members.get("sliding_window") is None and ("sliding_window" in members or "sliding_window" in nested):
        numbers["sliding_window"] = 0
    for name, part, inner in _NESTED:
        if numbers[name] is None:
            numbers[name] = _whole_number(_member(members.get(part), inner), most=_RANGES[name][1]) or None
    return ModelConfig(
        architecture=_architecture(whole),
        model_type=Section(whole).text("model_type"),
        text_model_type=Section(nested).text("model_type"),
        dtype=_dtype(section),
        use_sliding_window=section.boolean("use_sliding_window"),
        sliding_window_pattern=_pattern(section),
        layer_types=_layer_types(section),
        rope_scaling=_rope_scaling(section),
        quantization=read_quantization(whole),
        auto_map=names_code(whole),
        lengths=_lengths(members),
        details=_details(members) | _tower(whole) | _hearing(whole.get("audio_config")),
        tower_type=_name(_member(whole.get("vision_config"), "model_type")),
        position_embedding_type=_name(members.get("position_embedding_type")),
        state_dtype=_name(members.get("mamba_ssm_cache_dtype")) or _name(members.get("mamba_ssm_dtype")),
        **numbers,
    )


def _language_part(whole: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    return next((part for name in _LANGUAGE_PARTS if isinstance(part := whole.get(name), dict)), {})


def _member(part: JsonValue, name: str) -> JsonValue:
    return part.get(name) if isinstance(part, dict) else None


def _whole_number(value: JsonValue, *, most: int) -> int | None:
    """A number of only some architectures; None where the value is malformed."""
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, int) and 0 <= value <= most else None


def _name(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and _PLAIN_NAME.fullmatch(value) else None


def _lengths(members: Mapping[str, JsonValue]) -> dict[str, int]:
    numbers = ((name, _whole_number(members.get(name), most=_LONGEST)) for name in LENGTHS[1:])
    return {name: number for name, number in numbers if number}


def _details(members: Mapping[str, JsonValue]) -> dict[str, int]:
    stated = ((name, _whole_number(members[name], most=1_000_000)) for name in sorted(_DETAILS & members.keys()))
    numbers = {name: number for name, number in stated if number is not None}
    numbers |= {name: 0 for name in _NULL_IS_NONE if members.get(name, 0) is None}
    for name, number in (
        ("num_nextn_predict_layers", _whole_number(members.get("mtp_num_hidden_layers"), most=10_000)),
        ("indexer_layers", _count_of(members.get("indexer_types"), "full")),
        ("layers_without_rope", _count_of(members.get("no_rope_layers"), 0)),
        ("expert_layers", _expert_layers(members)),
        ("total_intermediate_size", _sum_of(members.get("intermediate_size"))),
        ("shared_full_layers", _shared_full_layers(members)),
    ):
        if number is not None:
            numbers.setdefault(name, number)
    return numbers


def _tower(whole: Mapping[str, JsonValue]) -> dict[str, int]:
    """Sizes of the image encoder, under names of their own: ``tower_...``."""
    vision = whole.get("vision_config")
    if not isinstance(vision, dict):
        return {}
    width, embedded = _first_number(vision, "hidden_size"), _first_number(vision, "embed_dim")
    stacks, ratios = vision.get("deepstack_visual_indexes"), vision.get("supported_aspect_ratios")
    sizes = {
        "tower_layers": _first_number(vision, "depth", "num_hidden_layers"),
        "tower_hidden": embedded or width,
        "tower_inner": _first_number(vision, "intermediate_size"),
        "tower_out": _first_number(vision, "out_hidden_size", "vision_output_dim") or (width if embedded else None),
        "tower_stacks": len(stacks) if isinstance(stacks, list) else None,
        "tower_ratios": len(ratios) if isinstance(ratios, list) else None,
        "tower_image": _first_number(vision, "image_size"),
        "tower_patch": _first_number(vision, "patch_size"),
        "tower_merge": _first_number(whole, "spatial_merge_size"),
        "tower_tokens": _first_number(whole, "mm_tokens_per_image"),
        "tower_tiles": _first_number(vision, "max_num_tiles"),
        "tower_global_layers": _first_number(vision, "num_global_layers"),
        "tower_positions": _first_number(vision, "position_embedding_size"),
    }
    return {name: number for name, number in sizes.items() if number}


def _hearing(audio: JsonValue) -> dict[str, int]:
    """Sizes of the sound encoder: ``audio_...``."""
    if not isinstance(audio, dict):
        return {}
    sizes = {
        "audio_layers": _first_number(audio, "conf_num_hidden_layers", "num_hidden_layers"),
        "audio_hidden": _first_number(audio, "hidden_size"),
        "audio_out": _first_number(audio, "output_proj_dims"),
    }
    return {name: number for name, number in sizes.items() if number}


def _first_number(part: Mapping[str, JsonValue], *names: str) -> int | None:
    return next((number for name in names if (number := _whole_number(part.get(name), most=1_000_000))), None)


def _count_of(values: JsonValue, kind: str | int) -> int | None:
    return values.count(kind) if isinstance(values, list) and values else None


def _sum_of(values: JsonValue) -> int | None:
    """The sum of a size that is given for each layer."""
    if not isinstance(values, list) or not 0 < len(values) <= _RANGES["num_hidden_layers"][1]:
        return None
    numbers = [_whole_number(value, most=_RANGES["intermediate_size"][1]) for value in values]
    return sum(number for number in numbers if number is not None) if None not in numbers else None


def _shared_full_layers(members: Mapping[str, JsonValue]) -> int | None:
    """Count the layers that see all tokens among the last layers, which share the cache of earlier layers."""
    kinds = members.get("layer_types")
    shared = _whole_number(members.get("num_kv_shared_layers"), most=_RANGES["num_hidden_layers"][1])
    if not shared or not isinstance(kinds, list) or shared >= len(kinds):
        return None
    return kinds[-shared:].count("full_attention")


def _expert_layers(members: Mapping[str, JsonValue]) -> int | None:
    kinds = _count_of(members.get("mlp_layer_types"), "sparse")
    return _count_of(members.get("moe_layer_freq"), 1) if kinds is None else kinds


def mentions_remote_code(data: bytes) -> bool:
    """Say whether JSON of any shape, well formed or not, has a member `auto_map`. Linear, and never raises."""
    plain = data.replace(b"\\\\", b"  ")
    return _AUTO_MAP.search(_ESCAPED.sub(_unescaped, plain) if b"\\u" in plain else plain) is not None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """A letter of `auto_map` that was written as an escape; any other escape stays as it is."""
    letter = bytes([int(escape[1], 16)])
    return letter if letter in b"auto_map" else escape[0]


def document(data: bytes, what: str) -> dict[str, JsonValue]:
    """Read a configuration as a JSON object.

    Raises FormatError with the rule ConfigInvalid and those of `bounded_json.loads`.
    """
    # Python's json, which transformers writes with, has Infinity, as in Nemotron's time_step_limit.
    read = bounded_json.loads(
        data, what=what, max_bytes=MAX_CONFIG, max_items=_MAX_ITEMS, unique_keys=True, constants=True
    )
    if not isinstance(read, dict):
        raise invalid(what, read, "a JSON object")
    return read


def names_code(value: JsonValue) -> bool:
    """Say whether the value has `auto_map` at any level."""
    if isinstance(value, dict):
        return "auto_map" in value or any(names_code(member) for member in value.values())
    return isinstance(value, list) and any(names_code(element) for element in value)


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
    kinds = _layer_kinds(section)
    if kinds is None:
        return {}
    most = _RANGES["num_hidden_layers"][1]
    if not isinstance(kinds, list) or len(kinds) > most:
        raise invalid("layer_types", kinds, f"a list of at most {most} names")
    names = [Section({"layer_types": kind}).text("layer_types") for kind in kinds]
    shared = _whole_number(section.value("num_kv_shared_layers"), most=most) or 0
    # The last layers share the cache of earlier layers.
    names = names[: len(names) - shared] if 0 < shared < len(names) else names
    counts = Counter(name for name in names if name is not None)
    if sum(counts.values()) < len(names) or len(counts) > 64:
        raise invalid("layer_types", kinds, "one of at most 64 names for each layer")
    return dict(sorted(counts.items()))


def _layer_kinds(section: Section) -> JsonValue:
    """A name for each layer, however the architecture spells the names; None where it has none."""
    for name in ("layer_types", "layers_block_type", "block_types"):
        if section.value(name) is not None:
            return section.value(name)
    letters = section.value("hybrid_override_pattern")
    if isinstance(letters, str):
        if len(letters) > _RANGES["num_hidden_layers"][1]:
            return letters
        return [_LAYER_LETTERS.get(letter, "unknown") for letter in letters]
    pattern = section.value("hybrid_layer_pattern")
    if isinstance(pattern, list):
        return ["sliding_attention" if kind == 1 else "full_attention" for kind in pattern]
    attention, layers = section.value("attn_layer_indices"), section.value("num_hidden_layers")
    if isinstance(attention, list) and isinstance(layers, int) and len(attention) <= layers <= 10_000:
        return [*(["attention"] * len(attention)), *(["mamba"] * (layers - len(attention)))]
    return None


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
