"""How much KV cache a model needs on one accelerator, from its configuration.

A layer with plain attention keeps ``2 * kv_heads * head_dim`` elements of every token (keys and values); with tensor
parallelism every accelerator keeps its share of the KV heads, at least one. Multi-head latent attention (MLA) keeps
``kv_lora_rank + qk_rope_head_dim`` elements a layer on every accelerator. Sliding-window layers keep a bounded
number of tokens. Source: vLLM's KV cache specifications (``FullAttentionSpec``, ``MLAAttentionSpec``,
``SlidingWindowSpec``), release 0.11.

Only architectures in :data:`FAMILIES` are computed. Where a model may or may not use its window, it is taken not to:
that can only overestimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gatehouse.domain.model_config import ModelConfig

__all__ = ["BLOCK", "FAMILIES", "STATEFUL", "CacheLayout", "Family", "Unmodelled", "cache_layout", "family_of"]

BLOCK: Final = 16
"""Tokens in a block of vLLM's KV cache; a sequence takes whole blocks."""

_LARGEST_CHUNK: Final = 8192
"""Largest ``max_num_batched_tokens`` that vLLM's API server takes by default; windowed layers keep the chunk too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Attention of an architecture.

    ``full_every``: every n-th layer sees all tokens and the others a window; 0: all see a window; None: none does.
    The other numbers are what the architecture's configuration class in transformers fills in when config.json is
    silent.
    """

    full_every: int | None = None
    latent: bool = False
    multimodal: bool = False
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int | None = None


_PLAIN = Family()
_WINDOWED = Family(full_every=0)
_LATENT = Family(latent=True)
_GEMMA3 = Family(
    full_every=6, num_attention_heads=8, num_key_value_heads=4, head_dim=256, max_position_embeddings=131_072
)
_GEMMA3_VISION = Family(
    full_every=6,
    multimodal=True,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
    max_position_embeddings=131_072,
)

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "Cohere2ForCausalLM": Family(full_every=4),
        "CohereForCausalLM": _PLAIN,
        "DeepseekV2ForCausalLM": _LATENT,
        "DeepseekV3ForCausalLM": _LATENT,
        "GPTNeoXForCausalLM": _PLAIN,
        "Gemma2ForCausalLM": Family(full_every=2, head_dim=256),
        "Gemma3ForCausalLM": _GEMMA3,
        "Gemma3ForConditionalGeneration": _GEMMA3_VISION,
        "GemmaForCausalLM": Family(head_dim=256),
        "Glm4ForCausalLM": _PLAIN,
        "GlmForCausalLM": _PLAIN,
        "GptOssForCausalLM": Family(full_every=2, head_dim=64),
        "GraniteForCausalLM": _PLAIN,
        "GraniteMoeForCausalLM": _PLAIN,
        "GraniteMoeSharedForCausalLM": _PLAIN,
        "LlamaForCausalLM": _PLAIN,
        "Mistral3ForConditionalGeneration": Family(multimodal=True, head_dim=128),
        "MistralForCausalLM": _WINDOWED,
        "MixtralForCausalLM": _WINDOWED,
        "Olmo2ForCausalLM": _PLAIN,
        "OlmoForCausalLM": _PLAIN,
        "OlmoeForCausalLM": _PLAIN,
        "Phi3ForCausalLM": _PLAIN,
        "PhiForCausalLM": _PLAIN,
        "Qwen2ForCausalLM": _PLAIN,
        "Qwen2MoeForCausalLM": _PLAIN,
        "Qwen3ForCausalLM": Family(head_dim=128),
        "Qwen3MoeForCausalLM": Family(head_dim=128),
        "SmolLM3ForCausalLM": _PLAIN,
        "StableLmForCausalLM": _PLAIN,
        "Starcoder2ForCausalLM": _WINDOWED,
    }
)
"""Architectures, by the class name in config.json, whose cache is what this module computes."""

STATEFUL: Final = frozenset(
    {
        "BambaForCausalLM",
        "FalconH1ForCausalLM",
        "FalconMambaForCausalLM",
        "GraniteMoeHybridForCausalLM",
        "JambaForCausalLM",
        "Lfm2ForCausalLM",
        "Mamba2ForCausalLM",
        "MambaForCausalLM",
        "MiniMaxText01ForCausalLM",
        "NemotronHForCausalLM",
        "Plamo2ForCausalLM",
        "Qwen3NextForCausalLM",
        "RwkvForCausalLM",
        "Zamba2ForCausalLM",
    }
)
"""Architectures that keep a state beside, or instead of, a KV cache."""


@dataclass(frozen=True, slots=True)
class Unmodelled:
    """Why the cache of a model is not computed: a reason in CamelCase and a sentence."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLayout:
    """KV cache of one sequence on one accelerator: bytes a token in layers that keep every token, and in those that
    keep at most ``window_tokens``."""

    full_bytes: int
    window_bytes: int = 0
    window_tokens: int = 0

    @property
    def bytes_per_token(self) -> int:
        """Bytes a token takes while every layer keeps it."""
        return self.full_bytes + self.window_bytes

    def cost(self, tokens: int) -> int:
        """Bytes of a sequence, in whole blocks."""
        blocks = -(-tokens // BLOCK) * BLOCK
        return self.full_bytes * blocks + self.window_bytes * min(blocks, self.window_tokens)

    def longest(self, budget: int, *, limit: int) -> int:
        """The longest sequence, at most ``limit`` tokens, that costs no more than ``budget`` bytes; 0 for none."""
        if limit < 1 or self.cost(limit) <= budget:
            return max(limit, 0)
        if budget <= 0:
            return 0
        if budget > self.bytes_per_token * self.window_tokens:
            # The windows are full: what is left goes to the layers that keep every token.
            tokens = (budget - self.window_bytes * self.window_tokens) // self.full_bytes
        else:
            tokens = budget // self.bytes_per_token
        return tokens // BLOCK * BLOCK


def family_of(config: ModelConfig) -> Family | Unmodelled:
    """The family of a model's architecture."""
    name = config.architecture
    if name is None:
        return Unmodelled("ArchitectureUnknown", "config.json names no architecture")
    if name in STATEFUL:
        return Unmodelled("ArchitectureStateful", f"{name} keeps a state beside its KV cache")
    return FAMILIES.get(name) or Unmodelled("ArchitectureUnknown", f"how {name} caches attention is not known")


def cache_layout(
    config: ModelConfig, family: Family, *, tensor_parallel_size: int, element_bytes: int
) -> CacheLayout | Unmodelled:
    """The cache on each of ``tensor_parallel_size`` accelerators with elements of ``element_bytes``."""
    layers = config.num_hidden_layers
    if layers is None:
        return _missing("num_hidden_layers")
    a_layer = _elements(config, family, tensor_parallel_size)
    if isinstance(a_layer, Unmodelled):
        return a_layer
    full = _full_layers(config, family, layers)
    if isinstance(full, Unmodelled):
        return full
    windowed = layers - full
    return CacheLayout(
        full_bytes=full * a_layer * element_bytes,
        window_bytes=windowed * a_layer * element_bytes,
        # vLLM holds the window, the chunk being computed and one block, as a window need not start on one.
        window_tokens=(config.sliding_window or 0) + _LARGEST_CHUNK + BLOCK if windowed else 0,
    )


def _elements(config: ModelConfig, family: Family, tensor_parallel_size: int) -> int | Unmodelled:
    if family.latent:
        if config.kv_lora_rank is None or config.qk_rope_head_dim is None:
            return _missing("kv_lora_rank or qk_rope_head_dim")
        return config.kv_lora_rank + config.qk_rope_head_dim
    heads = config.num_attention_heads or family.num_attention_heads
    if heads is None:
        return _missing("num_attention_heads")
    # Without grouping every attention head has keys and values of its own.
    kv_heads = config.num_key_value_heads or family.num_key_value_heads or heads
    head_dim = config.head_dim or family.head_dim
    if head_dim is None:
        if config.hidden_size is None:
            return _missing("head_dim and hidden_size")
        head_dim = -(-config.hidden_size // heads)
    return 2 * max(1, -(-kv_heads // tensor_parallel_size)) * head_dim


def _full_layers(config: ModelConfig, family: Family, layers: int) -> int | Unmodelled:
    kinds = config.layer_types
    other = sorted(kinds.keys() - {"full_attention", "sliding_attention"})
    if other:
        return Unmodelled("LayerTypeUnknown", f"layers of type {other[0]} are not known")
    if kinds and sum(kinds.values()) != layers:
        return Unmodelled(
            "ConfigIncomplete", f"layer_types names {sum(kinds.values())} layers, num_hidden_layers {layers}"
        )
    if not config.sliding_window or config.use_sliding_window is False:
        return layers
    if kinds:
        return kinds.get("full_attention", 0)
    if family.full_every is None or isinstance(config.sliding_window_pattern, str):
        return layers
    if family.full_every == 0:
        return 0
    return layers // (config.sliding_window_pattern or family.full_every)


def _missing(field: str) -> Unmodelled:
    return Unmodelled("ConfigIncomplete", f"config.json does not say {field}")
