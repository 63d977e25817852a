"""Sizes of the matrices of architectures that are not like the most: Mamba, encoders, Whisper, Gemma 3n and 4, Zamba 2.

Each function has the name of vLLM's class whose layers it adds up, in ``model_executor/models`` of release 0.33.0
(``jamba.py``, ``mamba.py``, ``bert.py``, ``modernbert.py``, ``gemma3n.py``, ``gemma4.py``, ``whisper.py``,
``zamba2.py``) and ``layers/mamba/{mamba_mixer,mamba_mixer2}.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatehouse.domain.hardware.dimensions import Dimensions, Unmodelled
from gatehouse.domain.hardware.kv_cache import layers_of, mamba2_sizes

__all__ = ["Shape", "mamba1_layer", "mamba2_layer", "own_shape", "padded_vocabulary"]

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
    """None where config.json does not tell, or the architecture is none of these."""
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
    """``BertModel``, ``RobertaEmbeddingModel``, ``ModernBertModel``, ``BertWithRope``, without what ranks or sorts."""
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
    """``Zamba2Model``: every layer has a state, and a few also lead through a block that they share."""
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
