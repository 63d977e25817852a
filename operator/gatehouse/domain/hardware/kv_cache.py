"""How much KV cache one sequence of a model takes on one accelerator, as vLLM counts it.

A layer with plain attention keeps ``2 * kv_heads * head_dim`` elements of every token (keys and values); with tensor
parallelism every accelerator keeps its share of the KV heads, at least one. Multi-head latent attention keeps
``kv_lora_rank + qk_rope_head_dim`` elements a layer on every accelerator, and an indexer ``index_head_dim`` bytes and a
scale of 4 bytes for each 128 of them. Windowed and chunked layers keep a bounded number of tokens, including the chunk
being computed. Layers with a state keep the state and no tokens; the block of the attention beside them is as large as
a state. Source: vLLM's KV cache specifications (``v1/kv_cache_interface.py``), ``HybridAttentionMambaModelConfig``
(``models/config.py``), ``mamba_utils.py`` and, for groups, ``v1/core/kv_cache_utils.py``.

Where a model's use of its window is uncertain, the cost assumes no window, which can only overestimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gatehouse.domain.hardware.dimensions import Dimensions, Unmodelled
from gatehouse.domain.runtimes.releases import Release

__all__ = ["BLOCK", "CacheLayout", "CacheTerm", "Layers", "cache_layout", "layers_of", "mamba2_sizes"]

BLOCK: Final = 16
"""Tokens in a block of vLLM's KV cache; a sequence takes whole blocks."""

_FULL: Final = frozenset({"full_attention", "attention"})
_WINDOWED: Final = frozenset({"sliding_attention"})
_CHUNKED: Final = frozenset({"chunked_attention"})
_STATEFUL: Final = frozenset({"linear_attention", "mamba", "conv"})
_BOTH: Final = frozenset({"hybrid"})
_BARE: Final = frozenset({"mlp", "moe"})
_KINDS: Final = _FULL | _WINDOWED | _CHUNKED | _STATEFUL | _BOTH | _BARE
_INDEXER_SCALE_EVERY: Final = 128
_STATE_BYTES: Final = 2
_SINGLE: Final = 4


class CacheTerm(NamedTuple):
    """``bytes`` for each block of ``block`` tokens, of at most ``cap`` tokens, and ``extra`` blocks more."""

    bytes: int
    block: int
    cap: int | None = None
    extra: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLayout:
    """KV cache of one sequence on one accelerator: ``fixed`` bytes, and the bytes of its tokens in each term."""

    fixed: int = 0
    terms: tuple[CacheTerm, ...] = ()

    @property
    def bytes_per_token(self) -> int:
        """Bytes of a token while every layer keeps it."""
        return sum(term.bytes // term.block for term in self.terms)

    def cost(self, tokens: int) -> int:
        """Bytes of a sequence, in whole blocks."""
        total = self.fixed
        for size, block, cap, extra in self.terms:
            kept = tokens if cap is None or tokens < cap else cap
            total += size * (-(-kept // block) + extra)
        return total

    def longest(self, budget: int, *, limit: int) -> int:
        """The longest sequence, at most ``limit`` tokens, that costs no more than ``budget`` bytes; 0 for none."""
        if limit < 1 or self.cost(limit) <= budget:
            return max(limit, 0)
        below, beyond = 0, limit
        slope, most = 0.0, self.fixed
        for size, block, cap, extra in self.terms:
            slope += size / block if cap is None else 0.0
            most += size * (extra + 1 + (0 if cap is None else cap // block))
        if slope and most < budget < 2**100:
            # The cost lies between every window full, with a block begun in each term, and none of that.
            guess = int((budget - most) / slope)
            if 0 < guess < limit and self.cost(guess) <= budget:
                below = guess
            guess = int((budget - self.fixed) / slope) + 1
            if below < guess < limit and self.cost(guess) > budget:
                beyond = guess
        while beyond - below > 1:
            middle = (below + beyond) // 2
            if self.cost(middle) <= budget:
                below = middle
            else:
                beyond = middle
        return below


class Layers(NamedTuple):
    """Layers by the data that they keep. A layer with attention and a state counts twice."""

    full: int = 0
    windowed: int = 0
    chunked: int = 0
    stateful: int = 0


def cache_layout(
    model: Dimensions, release: Release, *, tensor_parallel_size: int, element_bytes: int, chunk: int
) -> CacheLayout | Unmodelled:
    """The cache on each of ``tensor_parallel_size`` accelerators with elements of ``element_bytes``.

    ``chunk`` is ``max_num_batched_tokens``. ``model.text`` must be known.
    """
    text = model.text
    if text is None:
        return Unmodelled("ArchitectureUnknown", "how the model caches attention is unknown")
    if text.encoder:
        return CacheLayout()
    layers = layers_of(model)
    if not isinstance(layers, Layers):
        return layers
    if text.latent:
        return _latent(model, release, layers.full, element_bytes)
    state = _state_bytes(model, tensor_parallel_size) if text.state else 0
    if state is None:
        return _missing("the sizes of its state")
    if layers.full + layers.windowed + layers.chunked == 0:
        return _states_alone(
            model,
            release,
            layers=layers.stateful,
            state=state,
            tensor_parallel_size=tensor_parallel_size,
            element_bytes=element_bytes,
        )
    pages = _pages(model, tensor_parallel_size, element_bytes)
    if isinstance(pages, Unmodelled):
        return pages
    if not layers.windowed and text.is_plain:
        size = layers.full * pages[0] * BLOCK
        return CacheLayout(fixed=size if release.groups else 0, terms=(CacheTerm(size, BLOCK),))
    block = BLOCK
    if state and (layers.stateful or release.always_aligned):
        step = release.state_align.get(text.state or "", BLOCK)
        block = step * -(-state // (step * pages[0]))
    kinds = [
        _Kind(layers.full, pages[0] * block, block),
        _Kind(layers.windowed, pages[1] * block, block, (model.get("sliding_window") or 1) - 1, 1),
        _Kind(layers.chunked, pages[0] * block, block, model.get("attention_chunk_size") or 0),
    ]
    if text.cross:
        positions = model.get("max_source_positions") or 0
        # Newer releases reserve room for all tokens that a batch may bring to the encoder.
        positions = max(positions, chunk) if release.groups else positions
        kinds.append(_Kind(layers.full, pages[0] * block, block, fixed_blocks=-(-positions // block)))
    if layers.stateful:
        blocks = release.state_blocks.get(text.name, release.state_blocks[""])
        kinds.append(_Kind(layers.stateful, pages[0] * block, block, fixed_blocks=blocks))
    kept = [kind for kind in kinds if kind.layers]
    return _grouped(kept, release, chunk) if release.groups else _summed(kept, release, chunk)


class _Kind(NamedTuple):
    """Layers that keep the same data: the bytes of one layer's block, and the tokens of a block.

    ``window`` is the number of tokens kept besides the chunks being computed, None for all. ``extra`` is one more
    block, as a window need not start at the start of a block. ``fixed_blocks`` is for layers whose cache does not grow.
    """

    layers: int
    page: int
    block: int
    window: int | None = None
    extra: int = 0
    fixed_blocks: int | None = None


def _summed(kinds: list[_Kind], release: Release, chunk: int) -> CacheLayout:
    fixed = sum(kind.layers * kind.page * kind.fixed_blocks for kind in kinds if kind.fixed_blocks is not None)
    growing = [kind for kind in kinds if kind.fixed_blocks is None]
    return CacheLayout(
        fixed=fixed,
        terms=tuple(
            CacheTerm(kind.layers * kind.page, kind.block, _cap(kind, release, chunk), kind.extra) for kind in growing
        ),
    )


def _grouped(kinds: list[_Kind], release: Release, chunk: int) -> CacheLayout:
    """Layers in groups that share one page size, with one block that is never used. Each group has as many layers as
    the smallest kind, or as the largest kind where the two differ by less than a quarter."""
    few, most = min(kind.layers for kind in kinds), max(kind.layers for kind in kinds)
    size = most if 4 * most < 5 * few else few
    page = max(kind.page for kind in kinds)
    fixed, terms = size * page, []
    for kind in kinds:
        groups = -(-kind.layers // size)
        if kind.fixed_blocks is not None:
            fixed += groups * size * page * kind.fixed_blocks
        else:
            block = kind.block * (page // kind.page)
            terms.append(CacheTerm(groups * size * page, block, _cap(kind, release, chunk), kind.extra))
    return CacheLayout(fixed=fixed, terms=tuple(terms))


def _cap(kind: _Kind, release: Release, chunk: int) -> int | None:
    return None if kind.window is None else kind.window + release.chunks_kept * chunk


def _latent(model: Dimensions, release: Release, layers: int, element_bytes: int) -> CacheLayout | Unmodelled:
    rank, rope = model.get("kv_lora_rank"), model.get("qk_rope_head_dim")
    if not rank or rope is None:
        return _missing("kv_lora_rank or qk_rope_head_dim")
    indexed = model.text is not None and model.text.indexer
    block = 64 if indexed else release.latent_block
    token = layers * (rank + rope) * element_bytes
    if indexed:
        keys = model.first("index_head_dim", otherwise=128)
        token += model.first("indexer_layers", otherwise=layers) * (keys + 4 * -(-keys // _INDEXER_SCALE_EVERY))
    return CacheLayout(fixed=token * block if release.groups else 0, terms=(CacheTerm(token * block, block),))


def _states_alone(
    model: Dimensions, release: Release, *, layers: int, state: int, tensor_parallel_size: int, element_bytes: int
) -> CacheLayout:
    """A model without attention; older releases pad its states to a block of the attention that it might have."""
    page = state
    if release.always_aligned and model.text is not None and model.text.attention:
        pages = _pages(model, tensor_parallel_size, element_bytes)
        token = BLOCK * (state if isinstance(pages, Unmodelled) else pages[0])
        page = token * -(-state // token)
    blocks = release.state_blocks.get(model.text.name if model.text else "", release.state_blocks[""])
    return CacheLayout(fixed=layers * page * (blocks + (1 if release.groups else 0)))


def _pages(model: Dimensions, tensor_parallel_size: int, element_bytes: int) -> tuple[int, int] | Unmodelled:
    """Bytes of a token in a layer that keeps all tokens, and in one with a window."""
    kv_heads, head_dim = model.kv_heads, model.head_dim
    if kv_heads is None:
        return _missing("num_attention_heads")
    if head_dim is None:
        return _missing("head_dim and hidden_size")
    plain = _share(kv_heads, tensor_parallel_size) * 2 * head_dim * element_bytes
    if (wide := model.said("global_head_dim")) is not None:
        heads = model.said("num_global_key_value_heads") or kv_heads
        return _share(heads, tensor_parallel_size) * 2 * wide * element_bytes, plain
    if (windowed := model.said("swa_num_key_value_heads")) is not None:
        values = model.said("v_head_dim") or head_dim
        near = (model.said("swa_head_dim") or head_dim) + (model.said("swa_v_head_dim") or values)
        full = _share(kv_heads, tensor_parallel_size) * (head_dim + values) * element_bytes
        return full, _share(windowed, tensor_parallel_size) * near * element_bytes
    return plain, plain


def _share(heads: int, tensor_parallel_size: int) -> int:
    return max(1, -(-heads // tensor_parallel_size))


def layers_of(model: Dimensions) -> Layers | Unmodelled:
    """Layers of the model by the data that they keep."""
    text, layers = model.text, model.layers
    if layers is None or text is None:
        return _missing("num_hidden_layers")
    layers = max(0, layers - (model.get("num_kv_shared_layers") or 0)) if text.full_every else layers
    kinds = model.config.layer_types
    odd = _odd_kinds(kinds, layers) if kinds else None
    if odd is not None:
        return odd
    if text.state is not None:
        return _layers_with_state(model, layers)
    if text.chunked_but is not None:
        full = kinds.get("full_attention") or model.first("layers_without_rope", otherwise=layers // text.chunked_but)
        return Layers(full=full, chunked=max(0, layers - full))
    full = _full_layers(model, layers)
    return Layers(full=full, windowed=layers - full)


def _odd_kinds(kinds: Mapping[str, int], layers: int) -> Unmodelled | None:
    other = sorted(kinds.keys() - _KINDS)
    if other:
        return Unmodelled("LayerTypeUnknown", f"layers of type {other[0]} are not known")
    named = sum(kinds.values())
    if named != layers:
        return Unmodelled("ConfigIncomplete", f"layer_types names {named} layers, num_hidden_layers {layers}")
    return None


def _layers_with_state(model: Dimensions, layers: int) -> Layers | Unmodelled:
    text, kinds = model.text, model.config.layer_types
    if text is None or not text.attention:
        return Layers(stateful=layers)
    if kinds:
        both = sum(kinds.get(name, 0) for name in _BOTH)
        full = sum(kinds.get(name, 0) for name in _FULL)
        return Layers(full=full + both, stateful=sum(kinds.get(name, 0) for name in _STATEFUL) + both)
    if text.both:
        return Layers(full=layers, stateful=layers)
    period = model.get("attn_layer_period")
    if period:
        offset = model.get("attn_layer_offset") or 0
        full = sum(1 for layer in range(layers) if layer % period == offset)
    elif text.full_every is not None:
        full = layers // (model.get("full_attention_interval") or text.full_every)
    else:
        full = 0
    return Layers(full=full, stateful=layers - full)


def _full_layers(model: Dimensions, layers: int) -> int:
    text, config, kinds = model.text, model.config, model.config.layer_types
    window = model.get("sliding_window")
    unused = config.use_sliding_window is False or (
        config.use_sliding_window is None and model.get("use_sliding_window") == 0
    )
    if not window or unused or text is None:
        return layers
    if kinds:
        return sum(kinds.get(name, 0) for name in _FULL)
    if text.full_every is None or isinstance(config.sliding_window_pattern, str):
        return layers
    if text.full_every == 0:
        return 0
    return layers // (config.sliding_window_pattern or text.full_every)


def _state_bytes(model: Dimensions, tensor_parallel_size: int) -> int | None:
    """Bytes of the state of one layer on one accelerator; None where config.json does not have its sizes."""
    long = _SINGLE if model.config.state_dtype == "float32" else _STATE_BYTES
    hidden = model.get("hidden_size") or 0
    match model.text and model.text.state:
        case "mamba1":
            width = model.first("mamba_expand", "expand", otherwise=2) * hidden
            conv, states = model.first("mamba_d_conv", "conv_kernel"), model.first("mamba_d_state", "state_size")
            elements, kept = width * (conv - 1), width * states
        case "mamba2":
            heads, groups, states, width = mamba2_sizes(model, hidden)
            conv = model.first("mamba_d_conv", "conv_kernel")
            elements, kept = (width + 2 * groups * states) * (conv - 1), width * states
            if not heads:
                return None
        case "delta":
            keys = model.first("linear_num_key_heads") * model.first("linear_key_head_dim")
            heads, size = model.first("linear_num_value_heads"), model.first("linear_value_head_dim")
            elements = (2 * keys + heads * size) * (model.first("linear_conv_kernel_dim") - 1)
            kept = heads * size * model.first("linear_key_head_dim")
        case "conv":
            elements, kept = hidden * (model.first("conv_L_cache") - 1), 0
        case _:
            return 0
    if elements <= 0:
        return None
    return -(-elements // tensor_parallel_size) * _STATE_BYTES + -(-kept // tensor_parallel_size) * long


def mamba2_sizes(model: Dimensions, hidden: int) -> tuple[int, int, int, int]:
    """Heads, groups, elements of a head's state, and the width of all heads together."""
    heads = model.first("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads")
    size = model.first("mamba_d_head", "mamba_head_dim", "mamba_headdim")
    if not size and model.text is not None and not model.text.attention:
        size = model.get("head_dim") or 0
    inner = model.first("mamba_d_ssm") or model.first("mamba_expand", "expand", otherwise=2) * hidden
    groups = model.first("mamba_n_groups", "n_groups", "mamba_ngroups", otherwise=1)
    states = model.first("mamba_d_state", "ssm_state_size", "state_size")
    return heads, groups, states, heads * size if size else inner


def _missing(name: str) -> Unmodelled:
    return Unmodelled("ConfigIncomplete", f"config.json does not say {name}")
