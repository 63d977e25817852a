"""Bytes of a model's weights on each accelerator, as vLLM loads them.

Where the headers of the tensors were read, their bytes count, without what vLLM leaves out: layers that predict more
than one token ahead (MTP), and a head that is stored beside the embedding it is tied to. Where only config.json is
there, the sizes of the matrices follow from it. Tensor parallelism divides matrices, but every accelerator keeps norms,
routers, the compressing half of latent attention, and at least one KV head. MXFP4 experts are padded to whole blocks.
Source: vLLM's model classes (``model_executor/models``) and ``layers/quantization/mxfp4.py``, release 0.11.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatehouse.domain.artifact import ArtifactSummary
from gatehouse.domain.hardware.dimensions import Dimensions, Unmodelled
from gatehouse.domain.hardware.kv_cache import Layers, layers_of, mamba2_sizes
from gatehouse.domain.hardware.releases import Release
from gatehouse.domain.hardware.towers import tower_parameters
from gatehouse.domain.quantization import Quantization

__all__ = ["estimated_bytes", "loaded_bytes", "stored_bytes"]

_HALF: Final = 2
_VOCABULARY_STEP: Final = 64
_MXFP4_GROUP: Final = 32
_MXFP4_BITS_A_GROUP: Final = 4 * _MXFP4_GROUP + 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matrices:
    """Parameters of the decoder: ``split`` and ``experts`` are divided and may be quantized, ``kv`` is divided down to
    one head, ``latent`` is whole on every accelerator and may be quantized, ``whole`` too but is not, ``vocabulary`` is
    divided and not quantized."""

    split: int
    experts: int
    kv: int
    latent: int
    whole: int
    vocabulary: int


def loaded_bytes(summary: ArtifactSummary, model: Dimensions, release: Release, *, tensor_parallel_size: int) -> int:
    """Bytes on each accelerator of weights whose tensors are known; vLLM loads FP32 models in half precision."""
    stored = summary.weights_bytes or 0
    quantization = model.config.quantization
    stored -= _unloaded(summary, model)
    if summary.config is None or quantization is None:
        stored = max(0, stored - 2 * summary.dtypes.get("F32", 0))
    stored += _padding(model, release, tensor_parallel_size)
    return -(-stored // tensor_parallel_size) + _copied(model, tensor_parallel_size)


def estimated_bytes(model: Dimensions, release: Release, *, tensor_parallel_size: int) -> int | None:
    """Bytes on each accelerator of weights of which only config.json is known; None where that does not tell.

    Of a multimodal model whose tower is not known the language part alone is counted, so that the whole is more.
    """
    stored = stored_bytes(model)
    if stored is None:
        return None
    total = stored + _padding(model, release, tensor_parallel_size)
    return -(-total // tensor_parallel_size) + _copied(model, tensor_parallel_size)


def stored_bytes(model: Dimensions) -> int | None:
    """Bytes of the tensors of which only config.json is known, as :func:`loaded_bytes` takes them."""
    matrices, quantization = _matrices(model), model.config.quantization
    if matrices is None or (quantization is not None and quantization.bits is None):
        return None
    bits = _bits_a_weight(model.config.quantization)
    quantized = (matrices.split + matrices.kv + matrices.latent) * (
        16 if _is_mxfp4(model.config.quantization) else bits
    )
    plain = matrices.whole + matrices.vocabulary + (tower_parameters(model) or 0)
    return int(quantized + matrices.experts * bits) // 8 + _HALF * plain


def _is_mxfp4(quantization: Quantization | None) -> bool:
    return quantization is not None and quantization.method == "mxfp4"


def _bits_a_weight(quantization: Quantization | None) -> float:
    """Bits of a weight with its share of the scales."""
    if quantization is None or quantization.bits is None:
        return 16
    if _is_mxfp4(quantization):
        return _MXFP4_BITS_A_GROUP / _MXFP4_GROUP
    if quantization.block is not None:
        return quantization.bits + 32 / (quantization.block[0] * quantization.block[1])
    if quantization.group and quantization.group > 0:
        scale = 8 if quantization.bits == 4 and quantization.weight_type == "float" else 16 + quantization.bits
        return quantization.bits + scale / quantization.group
    return quantization.bits


def _unloaded(summary: ArtifactSummary, model: Dimensions) -> int:
    """A head is left out where config.json itself ties it: what a class fills in may not be true of the files."""
    return summary.unloaded_bytes + (summary.head_bytes if model.said("tie_word_embeddings") else 0)


def _padding(model: Dimensions, release: Release, tensor_parallel_size: int) -> int:
    """Bytes that MXFP4 experts take more in memory, on all accelerators together."""
    if not _is_mxfp4(model.config.quantization):
        return 0
    hidden, inner = model.get("hidden_size"), model.get("intermediate_size")
    layers, experts = model.layers, model.get("num_experts")
    if not hidden or not inner or not layers or not experts:
        return 0
    to_hidden, to_inner = release.expert_rounding
    part = -(-inner // tensor_parallel_size)
    padded = _up(hidden, to_hidden) * _up(part, to_inner) * tensor_parallel_size
    return max(0, padded - hidden * inner) * 3 * layers * experts * _MXFP4_BITS_A_GROUP // (8 * _MXFP4_GROUP)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _copied(model: Dimensions, tensor_parallel_size: int) -> int:
    """Bytes that each accelerator has beyond its share, because all have them."""
    if tensor_parallel_size == 1:
        return 0
    matrices = _matrices(model)
    if matrices is None:
        return 0
    size = _bits_a_weight(None if _is_mxfp4(model.config.quantization) else model.config.quantization)
    more = matrices.latent * size / 8 + _HALF * matrices.whole
    kept = more * (tensor_parallel_size - 1) / tensor_parallel_size
    heads = model.kv_heads or 0
    if 0 < heads < tensor_parallel_size:
        kept += matrices.kv * size / 8 * (1 / heads - 1 / tensor_parallel_size)
    return int(kept)


def _matrices(model: Dimensions) -> _Matrices | None:
    text, layers, hidden = model.text, model.layers, model.get("hidden_size")
    heads, head_dim, vocabulary = model.heads, model.head_dim, model.get("vocab_size")
    if text is None or text.encoder or text.cross or not text.sized or not layers or not hidden:
        return None
    if not heads or not head_dim or not vocabulary:
        return None
    if text.latent:
        split, kv, latent = _latent(model, hidden, heads)
    else:
        split = 2 * hidden * heads * head_dim
        kv, latent = 2 * hidden * (model.kv_heads or heads) * head_dim, 0
    found = layers_of(model) if text.state else Layers(full=layers)
    states = _state(model, hidden) if text.state else 0
    if isinstance(found, Unmodelled) or states is None:
        return None
    if model.first("attn_output_gate", otherwise=1 if text.state == "delta" else 0):
        split += hidden * heads * head_dim
    dense, experts, routers = _feed_forward(model, layers, hidden, 3 if text.gated else 2)
    tied = bool(model.get("tie_word_embeddings"))
    return _Matrices(
        split=found.full * split + found.stateful * states + dense,
        experts=experts,
        kv=found.full * kv,
        latent=layers * latent,
        whole=routers + (2 * layers + 1) * hidden + (_positions(model) * hidden if text.positions else 0),
        vocabulary=_up(vocabulary, _VOCABULARY_STEP) * hidden * (1 if tied else 2),
    )


def _positions(model: Dimensions) -> int:
    return model.get("n_positions") or model.get("max_position_embeddings") or 0


def _state(model: Dimensions, hidden: int) -> int | None:
    """Parameters of what makes the state of one layer; None where that is not known."""
    match model.text and model.text.state:
        case "mamba2":
            heads, groups, states, width = mamba2_sizes(model, hidden)
            return hidden * (2 * width + 2 * groups * states + heads) + width * hidden
        case "delta":
            keys = model.first("linear_num_key_heads") * model.first("linear_key_head_dim")
            heads = model.first("linear_num_value_heads")
            values = heads * model.first("linear_value_head_dim")
            return hidden * (2 * keys + 2 * values + 2 * heads) + values * hidden
        case _:
            return None


def _latent(model: Dimensions, hidden: int, heads: int) -> tuple[int, int, int]:
    """Parameters of a layer: divided, of KV heads, and whole on every accelerator."""
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
    step = max(1, model.first("decoder_sparse_step", "interleave_moe_layer_step", otherwise=1))
    before = model.first("first_k_dense_replace", "moe_layer_start_index")
    sparse = model.first("expert_layers", otherwise=kinds.get("moe") or max(0, layers - before) // step)
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
