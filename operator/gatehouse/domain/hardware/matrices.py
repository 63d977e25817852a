"""Sizes of a model's matrices from config.json alone: transformers, Mamba, encoders and Whisper.

The docstring of each function names vLLM's class whose layers the function sums, in ``model_executor/models`` of
release 0.33.0 (``jamba.py``, ``mamba.py``, ``bert.py``, ``modernbert.py``, ``gemma3n.py``, ``gemma4.py``,
``whisper.py``, ``zamba2.py``) and ``layers/mamba/{mamba_mixer,mamba_mixer2}.py``.

Most decoders have the same matrices: attention, a feed-forward layer or experts, an embedding and a head. Architectures
that differ more have a function of their own. Biases, about a thousandth of the total, are left out. Source: vLLM's
model classes (``model_executor/models``), releases 0.11.0 and 0.33.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatehouse.domain.hardware.dimensions import Dimensions, Unmodelled
from gatehouse.domain.hardware.kv_cache import Layers, layers_of, mamba2_sizes

__all__ = ["Matrices", "matrices_of"]

_VOCABULARY_STEP: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Parameters, as in :class:`gatehouse.domain.hardware.matrices.Matrices`."""

    split: int = 0
    experts: int = 0
    kv: int = 0
    whole: int = 0
    plain: int = 0


def padded_vocabulary(rows: int) -> int:
    """Rows of an embedding as vLLM pads them (``VocabParallelEmbedding``)."""
    return -(-rows // _VOCABULARY_STEP) * _VOCABULARY_STEP


def own_shape(model: Dimensions, *, layers: int, hidden: int, vocabulary: int) -> Shape | None:
    """The parameters of an architecture of its own; None for other architectures, or where config.json lacks a size."""
    text = model.text
    if text is None:
        return None
    if text.encoder:
        return _encoder(model, layers=layers, hidden=hidden, vocabulary=vocabulary)
    if text.cross:
        return _whisper(model, layers=layers, hidden=hidden, vocabulary=vocabulary)
    match text.shape:
        case "gemma3n":
            return _gemma3n(model, layers=layers, hidden=hidden, vocabulary=vocabulary)
        case "gemma4":
            return _gemma4(model, layers=layers, hidden=hidden, vocabulary=vocabulary)
        case "zamba2":
            return _zamba2(model, layers=layers, hidden=hidden, vocabulary=vocabulary)
        case _:
            return None


def mamba2_layer(model: Dimensions, hidden: int) -> Shape:
    """``MambaMixer2`` of one layer."""
    heads, groups, states, width = mamba2_sizes(model, hidden)
    mixed = width + 2 * groups * states
    kernel = model.first("mamba_d_conv", "conv_kernel", otherwise=4)
    return Shape(split=hidden * (width + mixed + heads) + width * hidden, plain=mixed * (kernel + 1) + width)


def mamba1_layer(model: Dimensions, hidden: int) -> Shape | None:
    """``MambaMixer`` of one layer: none of its matrices is quantized, and ``A`` has 32 bits."""
    width = model.first("mamba_expand", "expand", otherwise=2) * hidden
    states = model.first("mamba_d_state", "state_size")
    kernel = model.first("mamba_d_conv", "conv_kernel", otherwise=4)
    rank = model.first("mamba_dt_rank", "time_step_rank") or -(-hidden // 16)  # what "auto" says
    if not states:
        return None
    projections = hidden * 2 * width + width * (rank + 2 * states) + rank * width + width * hidden
    return Shape(plain=projections + width * (kernel + 3) + 2 * width * states)


def _encoder(model: Dimensions, *, layers: int, hidden: int, vocabulary: int) -> Shape | None:
    """``BertModel``, ``RobertaEmbeddingModel``, ``ModernBertModel``, ``BertWithRope``, without heads that rank or
    sort."""
    text, inner = model.text, model.inner_size
    if text is None or not inner:
        return None
    positions = model.get("max_position_embeddings") or 0
    rows = padded_vocabulary(vocabulary)
    if text.positions:  # learned embeddings of positions and of the types of a token
        rows += padded_vocabulary(positions) + _VOCABULARY_STEP
    return Shape(
        split=layers * (4 * hidden * hidden + (3 if text.gated else 2) * hidden * inner),
        whole=(2 * layers + 1) * hidden,
        plain=rows * hidden,
    )


def _whisper(model: Dimensions, *, layers: int, hidden: int, vocabulary: int) -> Shape | None:
    """``WhisperModel``: an encoder of sound, and a decoder that attends to it; the head is the embedding."""
    encoders = model.get("encoder_layers")
    listening = model.get("encoder_ffn_dim") or model.get("intermediate_size")
    speaking = model.get("decoder_ffn_dim") or model.get("intermediate_size")
    if not encoders or not listening or not speaking:
        return None
    square = hidden * hidden
    positions = model.first("max_source_positions", otherwise=1500) + model.first("max_target_positions", otherwise=448)
    mels = model.first("num_mel_bins", otherwise=128)
    return Shape(
        split=encoders * (4 * square + 2 * hidden * listening) + layers * (8 * square + 2 * hidden * speaking),
        whole=positions * hidden + 3 * hidden * (mels + hidden) + (2 * encoders + 3 * layers + 2) * hidden,
        plain=padded_vocabulary(vocabulary) * hidden,
    )


def _gemma3n(model: Dimensions, *, layers: int, hidden: int, vocabulary: int) -> Shape | None:
    """``Gemma3nTextModel``: an embedding for each layer, alternating updates, and a learned residual (laurel)."""
    heads, head_dim, inner = model.heads, model.head_dim, model.said("total_intermediate_size")
    if not heads or not head_dim or not (inner or model.get("intermediate_size")):
        return None
    inner = inner or layers * (model.get("intermediate_size") or 0)
    narrow = model.first("hidden_size_per_layer_input", otherwise=256)
    inputs, rank = model.first("altup_num_inputs", otherwise=4), model.first("laurel_rank", otherwise=64)
    own = layers - model.first("num_kv_shared_layers")
    per_layer = padded_vocabulary(model.first("vocab_size_per_layer_input", otherwise=vocabulary)) * layers * narrow
    return Shape(
        split=layers * 2 * hidden * heads * head_dim
        + 3 * hidden * inner
        + layers * 2 * hidden * rank
        + layers * hidden * narrow
        + 2 * (inputs - 1) * hidden * hidden,
        kv=own * 2 * hidden * (model.kv_heads or heads) * head_dim,
        # Correction scales have 32 bits.
        whole=layers * (2 * hidden * narrow + hidden * (inputs + 7 + 2)),
        plain=padded_vocabulary(vocabulary) * hidden + per_layer,
    )


def _gemma4(model: Dimensions, *, layers: int, hidden: int, vocabulary: int) -> Shape | None:
    """``Gemma4ForCausalLM``: two sizes of heads, the last layers without keys and values of their own."""
    heads, head_dim, inner = model.heads, model.get("head_dim"), model.get("intermediate_size")
    wide = model.said("global_head_dim") or head_dim
    if not heads or not head_dim or not wide or not inner:
        return None
    shared = model.first("num_kv_shared_layers")
    full, full_shared = model.config.layer_types.get("full_attention", 0), model.first("shared_full_layers")
    near, near_shared = layers - shared - full, shared - full_shared
    kv_heads = model.kv_heads or heads
    # Without attention_k_eq_v every layer has as many KV heads.
    full_kv_heads = (
        (model.said("num_global_key_value_heads") or kv_heads) if model.said("attention_k_eq_v") else kv_heads
    )
    doubled = shared if model.said("use_double_wide_mlp") else 0
    experts = model.get("num_experts") or 0
    narrow = model.first("hidden_size_per_layer_input")
    split = 2 * hidden * heads * ((near + near_shared) * head_dim + (full + full_shared) * wide)
    split += 3 * hidden * inner * (layers + doubled) + layers * hidden * narrow
    per_layer = padded_vocabulary(model.first("vocab_size_per_layer_input", otherwise=vocabulary)) * layers * narrow
    return Shape(
        split=split,
        experts=layers * experts * 3 * hidden * (model.get("moe_intermediate_size") or 0),
        kv=2 * hidden * (near * kv_heads * head_dim + full * full_kv_heads * wide),
        whole=layers * (hidden * experts + 2 * hidden * narrow + 8 * hidden),
        plain=padded_vocabulary(vocabulary) * hidden + per_layer,
    )


def _zamba2(model: Dimensions, *, layers: int, hidden: int, vocabulary: int) -> Shape | None:
    """``Zamba2Model``: every layer has a state, and a few also pass through a block that they share."""
    heads, head_dim, inner = model.heads, model.head_dim, model.inner_size
    found = layers_of(model)
    if isinstance(found, Unmodelled) or not heads or not head_dim or not inner:
        return None
    state, rank = mamba2_layer(model, hidden), model.first("adapter_rank", otherwise=128)
    # A shared block sees the hidden state and the embedding side by side.
    block = 7 * hidden * heads * head_dim + 3 * hidden * inner
    adapters = rank * (hidden + 2 * inner) + hidden * hidden
    return Shape(
        split=layers * state.split + model.first("num_mem_blocks", otherwise=1) * block + found.full * adapters,
        whole=(layers + 1) * hidden,
        plain=padded_vocabulary(vocabulary) * hidden * (1 if model.get("tie_word_embeddings") else 2)
        + layers * state.plain,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrices:
    """Parameters by how vLLM distributes them. ``split`` and ``experts`` are divided and may be quantized. ``kv`` is
    divided down to one head. ``latent`` is whole on every accelerator and may be quantized. ``whole`` is whole and not
    quantized. ``plain`` is divided and not quantized, such as embeddings."""

    split: int
    experts: int
    kv: int
    latent: int
    whole: int
    plain: int


def matrices_of(model: Dimensions) -> Matrices | None:
    """The matrices of the language part; None where config.json lacks a size, or the shapes are not known."""
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
    """Parameters of the mechanism that makes the state of one layer; None where they are not known."""
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
    alone = kinds.get("mlp", 0) + kinds.get("moe", 0)  # layers that are only feed-forward
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
    if model.said("moe_latent_size"):  # two matrices lead to and from the narrower state of experts
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
