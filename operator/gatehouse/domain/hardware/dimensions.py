"""The numbers of a model as vLLM sees them, from config.json and the configuration class's defaults.

The length limit follows vLLM's ``_get_and_verify_max_len`` (config/model.py) for a given ``--max-model-len``: the
smallest of the keys of ``LENGTHS``, then ``model_max_length`` in its place, then the tokenizer's for pooling models
with absolute positions, RoPE scaling, and the length of a sentence-transformers model. 0.33 takes less only where no
length is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from gatehouse.domain.artifact.model_config import LENGTHS, ModelConfig
from gatehouse.domain.hardware.architectures import Architecture, defaults_of, known_architecture

__all__ = ["Dimensions", "Unmodelled", "dimensions_of", "limit_named"]

_WRITTEN: Final = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "sliding_window",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "qk_nope_head_dim",
    "v_head_dim",
    "num_experts",
)


@dataclass(frozen=True, slots=True)
class Unmodelled:
    """Why a part of a model is not computed: a reason in CamelCase and a sentence."""

    reason: str
    detail: str


class Dimensions(NamedTuple):
    """A model's numbers under their Hugging Face names.

    ``own`` are the numbers of config.json; ``values`` also has the defaults of the class. ``whole`` is the model's
    architecture, ``text`` that of its language part: the same one, or another that ``whole`` wraps.
    """

    config: ModelConfig
    own: Mapping[str, int]
    values: Mapping[str, int]
    whole: Architecture | None
    text: Architecture | None

    def said(self, name: str) -> int | None:
        """The number in config.json, without the default of the class."""
        return self.own.get(name)

    def get(self, name: str) -> int | None:
        """The number as vLLM sees it; None where neither config.json nor the class has one."""
        return self.values.get(name)

    def first(self, *names: str, otherwise: int = 0) -> int:
        """The first of the numbers that config.json has, or else the first default of the class."""
        for numbers in (self.own, self.values):
            for name in names:
                value = numbers.get(name)
                if value is not None:
                    return value
        return otherwise

    @property
    def layers(self) -> int | None:
        """Layers of the decoder."""
        if self.text is not None and self.text.cross:
            return self.get("decoder_layers")
        return self.get("num_hidden_layers")

    @property
    def heads(self) -> int | None:
        """Attention heads."""
        if self.text is not None and self.text.cross:
            return self.get("decoder_attention_heads")
        return self.get("num_attention_heads")

    @property
    def kv_heads(self) -> int | None:
        """Heads of keys and values; without grouping, every attention head has its own."""
        text = self.text
        if text is not None and text.cross:
            return self.heads
        if text is not None and text.multi_query:
            if self.get("new_decoder_architecture"):
                return self.get("num_kv_heads") or self.heads
            return 1 if self.get("multi_query") != 0 else self.heads
        return self.get("num_key_value_heads") or self.heads

    @property
    def head_dim(self) -> int | None:
        """Elements of a head."""
        found = self.get("head_dim")
        if found:
            return found
        hidden, heads = self.get("hidden_size"), self.heads
        return None if hidden is None or heads is None else -(-hidden // heads)

    @property
    def expert_size(self) -> int | None:
        """Intermediate size of an expert; None for models without experts."""
        if not self.get("num_experts"):
            return None
        return self.get("moe_intermediate_size") or self.get("intermediate_size")

    @property
    def inner_size(self) -> int | None:
        """Intermediate size of the feed-forward layer; for GPT-2 and similar models, four times the hidden size."""
        found = self.get("intermediate_size")
        if found is not None or self.text is None or self.text.gated:
            return found
        hidden = self.get("hidden_size")
        return None if hidden is None else 4 * hidden


def dimensions_of(config: ModelConfig) -> Dimensions:
    """The numbers of a model; its architecture may be unknown."""
    pair = (
        known_architecture(config.architecture, text_model_type=config.text_model_type) if config.architecture else None
    )
    own = {**config.lengths, **config.details}
    for each in _WRITTEN:
        value = getattr(config, each)
        if value is not None:
            own[each] = value
    whole, text = pair or (None, None)
    return Dimensions(config, own, {**defaults_of(config.text_model_type, config.model_type), **own}, whole, text)


_COUNTED_IN: Final = frozenset({"su", "longrope", "llama3"})
"""Kinds of RoPE scaling that the length in config.json already includes."""


def limit_named(model: Dimensions) -> tuple[int | None, str]:
    """The limit in tokens, with the name of the number that decides.

    The limit is None where no key has a length, as vLLM then takes a guess of its own.
    """
    config = model.config
    limit: int | None = None
    name = ""
    for key in LENGTHS:
        length = model.get(key)
        if length and (limit is None or length < limit):
            limit, name = length, key
    said = model.get("model_max_length")
    if said:
        limit, name = said, "model_max_length"
    pooling = model.whole is not None and (model.whole.encoder or model.whole.pooling)
    if pooling and config.position_embedding_type == "absolute" and config.tokenizer_max_length is not None:
        shorter = config.tokenizer_max_length
        if limit is None or shorter < limit:
            limit, name = shorter, "the tokenizer's model_max_length"
    if limit is not None:
        limit = _stretched(model, limit)
    if config.sentence_max_length is not None:
        limit, name = config.sentence_max_length, "max_seq_length of sentence_bert_config.json"
    return limit, name


def _stretched(model: Dimensions, limit: int) -> int:
    rope = model.config.rope_scaling
    kinds = (model.config.text_model_type or "", model.config.model_type or "")
    if rope is None or rope.kind in _COUNTED_IN or any("gemma3" in kind for kind in kinds):
        return limit
    if rope.kind == "yarn":
        limit = rope.original_max_position_embeddings or limit
    return limit if rope.factor is None else max(1, int(limit * Fraction(rope.factor)))
