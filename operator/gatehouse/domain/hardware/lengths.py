"""The longest sequence that vLLM accepts for a model, whatever the memory.

As its ``_get_and_verify_max_len`` (config/model.py) derives it for a ``--max-model-len`` that is given: the smallest of
the keys of ``LENGTHS``, then ``model_max_length`` in its place, then the tokenizer's for pooling models with absolute
positions, RoPE scaling, and what a sentence-transformers model says. 0.33 takes less only where no length is given.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.model_config import LENGTHS

__all__ = ["length_limit", "limit_named"]

_COUNTED_IN: Final = frozenset({"su", "longrope", "llama3"})
"""Kinds of RoPE scaling that the length in config.json already has in it."""


def length_limit(model: Dimensions) -> int | None:
    """Tokens; None where nothing says a length, as vLLM then takes a guess of its own."""
    return limit_named(model)[0]


def limit_named(model: Dimensions) -> tuple[int | None, str]:
    """The same, with the name of the number that decides."""
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
