"""Sizes of a model's matrices, from config.json alone.

Most decoders have the same: attention, a feed-forward layer or experts, an embedding and a head. What differs more has
a function of its own in :mod:`gatehouse.domain.hardware.own_shapes`. Biases are left out: they are a thousandth.
Source: vLLM's model classes (``model_executor/models``), releases 0.11.0 and 0.33.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.domain.hardware.dimensions import Dimensions, Unmodelled
from gatehouse.domain.hardware.kv_cache import Layers, layers_of
from gatehouse.domain.hardware.own_shapes import Shape, mamba1_layer, mamba2_layer, own_shape, padded_vocabulary

__all__ = ["Matrices", "matrices_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrices:
    """Parameters: ``split`` and ``experts`` are divided and may be quantized, ``kv`` is divided down to one head,
    ``latent`` is whole on every accelerator and may be quantized, ``whole`` too but is not, ``plain`` is divided and
    not quantized (embeddings, for one)."""

    split: int
    experts: int
    kv: int
    latent: int
    whole: int
    plain: int


def matrices_of(model: Dimensions) -> Matrices | None:
    """Those of the language part; None where config.json does not tell, or the architecture's shapes are not known."""
    text, layers, hidden = model.text, model.layers, model.get("hidden_size")
    vocabulary = model.get("vocab_size")
    if text is None or not layers or not hidden or not vocabulary:
        return None
    if text.shape is not None or text.encoder or text.cross:
        return _as_matrices(own_shape(model, layers=layers, hidden=hidden, vocabulary=vocabulary))
    heads, head_dim = model.heads, model.head_dim
    if text.attention and not (heads and head_dim):
        return None
    found = layers_of(model) if text.state else Layers(full=layers)
    states = _state(model, hidden) if text.state else Shape()
    if isinstance(found, Unmodelled) or states is None:
        return None
    split, kv, latent = _attention(model, hidden) if text.attention else (0, 0, 0)
    dense, experts, routers = (
        _feed_forward(model, layers, hidden, 3 if text.gated else 2) if text.attention else (0,) * 3
    )
    tied = bool(model.get("tie_word_embeddings"))
    embeddings = padded_vocabulary(vocabulary) * hidden * (1 if tied else 2)
    norms = (2 if text.attention else 1) * layers + 1
    return Matrices(
        split=found.full * split + found.stateful * states.split + dense,
        experts=experts,
        kv=found.full * kv,
        latent=layers * latent,
        whole=routers + norms * hidden + (_positions(model) * hidden if text.positions else 0),
        plain=embeddings + found.stateful * states.plain,
    )


def _as_matrices(shape: Shape | None) -> Matrices | None:
    if shape is None:
        return None
    return Matrices(
        split=shape.split, experts=shape.experts, kv=shape.kv, latent=0, whole=shape.whole, plain=shape.plain
    )


def _attention(model: Dimensions, hidden: int) -> tuple[int, int, int]:
    """Parameters of a layer: divided, of KV heads, and whole on every accelerator."""
    text, heads, head_dim = model.text, model.heads or 0, model.head_dim or 0
    if text is not None and text.latent:
        return _latent(model, hidden, heads)
    split = 2 * hidden * heads * head_dim
    gated = text is not None and text.state == "delta"
    if model.first("attn_output_gate", otherwise=1 if gated else 0):
        split += hidden * heads * head_dim
    return split, 2 * hidden * (model.kv_heads or heads) * head_dim, 0


def _positions(model: Dimensions) -> int:
    return model.get("n_positions") or model.get("max_position_embeddings") or 0


def _state(model: Dimensions, hidden: int) -> Shape | None:
    """Parameters of what makes the state of one layer; None where that is not known."""
    match model.text and model.text.state:
        case "mamba1":
            return mamba1_layer(model, hidden)
        case "mamba2":
            return mamba2_layer(model, hidden)
        case "delta":
            keys = model.first("linear_num_key_heads") * model.first("linear_key_head_dim")
            heads = model.first("linear_num_value_heads")
            values = heads * model.first("linear_value_head_dim")
            return Shape(split=hidden * (2 * keys + 2 * values + 2 * heads) + values * hidden)
        case _:
            return None


def _latent(model: Dimensions, hidden: int, heads: int) -> tuple[int, int, int]:
    rank, rope = model.get("kv_lora_rank") or 0, model.get("qk_rope_head_dim") or 0
    plain, values = model.get("qk_nope_head_dim") or 0, model.get("v_head_dim") or 0
    query = model.get("q_lora_rank")
    split = heads * (rank * (plain + values) + values * hidden)
    whole = hidden * (rank + rope)
    if query:
        split += query * heads * (plain + rope)
        whole += hidden * query
    else:
        split += hidden * heads * (plain + rope)
    if model.text is not None and model.text.indexer:
        keys, count = model.first("index_head_dim", otherwise=128), model.first("index_n_heads", otherwise=64)
        whole += (query or hidden) * keys * count + hidden * (keys + count)
    return split, 0, whole


def _feed_forward(model: Dimensions, layers: int, hidden: int, matrices: int) -> tuple[int, int, int]:
    """Parameters of all layers: dense, of experts, of routers."""
    count, size, inner = model.get("num_experts") or 0, model.expert_size, model.inner_size or 0
    kinds = model.config.layer_types
    alone = kinds.get("mlp", 0) + kinds.get("moe", 0)  # layers that are nothing else
    layers = alone or layers
    if not size:
        return layers * matrices * hidden * (model.said("shared_intermediate_size") or inner), 0, 0
    sparse = _sparse_layers(model, layers)
    narrow, wide = hidden, inner
    shared = model.first(
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"
    ) or (size * model.first("n_shared_experts", "moe_num_shared_experts"))
    if model.text is not None and model.text.chunked_but is not None:  # Llama 4: a shared expert, wider dense layers
        wide, shared = model.first("intermediate_size_mlp", otherwise=inner), size
    dense = (layers - sparse) * matrices * hidden * wide + sparse * matrices * hidden * shared
    if model.said("moe_latent_size"):  # experts work on a narrower state, to and from which two matrices lead
        narrow = model.first("moe_latent_size")
        dense += sparse * 2 * hidden * narrow
    return dense, sparse * count * matrices * narrow * size, sparse * count * hidden


def _sparse_layers(model: Dimensions, layers: int) -> int:
    """Layers that have experts."""
    told = model.first("expert_layers", otherwise=model.config.layer_types.get("moe") or 0)
    if told:
        return told
    period = model.get("expert_layer_period")
    if period:
        offset = model.get("expert_layer_offset") or 0
        return sum(1 for layer in range(layers) if layer % period == offset)
    step = max(1, model.first("decoder_sparse_step", "interleave_moe_layer_step", otherwise=1))
    before = model.first("first_k_dense_replace", "moe_layer_start_index")
    return max(0, layers - before) // step
