"""What vLLM makes of a model whatever the memory: over how many accelerators, and how long a sequence."""

from __future__ import annotations

from fractions import Fraction

from gatehouse.domain.model_config import ModelConfig

__all__ = ["length_limit", "tensor_parallel_size"]


def tensor_parallel_size(config: ModelConfig, count: int) -> int:
    """The most accelerators, up to ``count``, that vLLM can split the model over; 1 if the heads are not known.

    It splits attention heads evenly, KV heads evenly or by copying them, and the feed-forward layer evenly.
    """
    heads = config.num_attention_heads
    if heads is None:
        return 1
    kv_heads = heads if config.kv_lora_rank else config.num_key_value_heads or heads

    def splits(size: int) -> bool:
        shared = kv_heads % size == 0 or size % kv_heads == 0
        return heads % size == 0 and shared and (config.intermediate_size or 0) % size == 0

    return next(size for size in range(count, 0, -1) if splits(size))


def length_limit(config: ModelConfig) -> int | None:
    """The longest sequence vLLM accepts for the model: max_position_embeddings, stretched by RoPE scaling.

    As vLLM derives it: types that already count in max_position_embeddings (llama3, longrope, Gemma 3's) are not
    applied twice, and yarn stretches the original length.
    """
    limit = config.max_position_embeddings
    rope = config.rope_scaling
    if rope is None or rope.factor is None or rope.kind in {"su", "longrope", "llama3"}:
        return limit
    if (config.model_type or "").startswith("gemma3"):
        return limit
    if rope.kind == "yarn":
        limit = rope.original_max_position_embeddings or limit
    return None if limit is None else max(1, int(limit * Fraction(rope.factor)))
