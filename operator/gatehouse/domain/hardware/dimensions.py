"""The numbers of a model as vLLM sees them: what config.json says, and what its configuration class fills in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gatehouse.domain.hardware.architectures import Architecture, defaults_of, known_architecture
from gatehouse.domain.model_config import ModelConfig

__all__ = ["Dimensions", "Unmodelled", "dimensions_of"]

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
    """Why something of a model is not computed: a reason in CamelCase and a sentence."""

    reason: str
    detail: str


class Dimensions(NamedTuple):
    """A model's numbers under their Hugging Face names.

    ``own`` are those that config.json says, ``values`` also those that its class fills in. ``whole`` is its
    architecture, ``text`` that of its language part: the same one, or another that it wraps.
    """

    config: ModelConfig
    own: Mapping[str, int]
    values: Mapping[str, int]
    whole: Architecture | None
    text: Architecture | None

    def said(self, name: str) -> int | None:
        """What config.json says of a number, without what its class fills in."""
        return self.own.get(name)

    def get(self, name: str) -> int | None:
        """The number as vLLM sees it; None where neither says it."""
        return self.values.get(name)

    def first(self, *names: str, otherwise: int = 0) -> int:
        """The first of the numbers that config.json says, or else that the class fills in."""
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
        """Heads of keys and values; without grouping every attention head has its own."""
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
        """Intermediate size of the feed-forward layer; GPT-2 and its like take four times the hidden size."""
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
