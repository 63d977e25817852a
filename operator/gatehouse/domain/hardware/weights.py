"""Bytes of a model's weights on each accelerator, as vLLM loads them.

Where the headers of the tensors were read, their bytes count, without what vLLM leaves out: layers that predict more
than one token ahead (MTP), and a head that is stored beside the embedding it is tied to. Where only config.json is
there, the sizes of the matrices follow from it. Tensor parallelism divides matrices, but every accelerator keeps norms,
routers, the compressing half of latent attention, and at least one KV head. MXFP4 experts are padded to whole blocks.
Source: vLLM's model classes (``model_executor/models``) and ``layers/quantization/mxfp4.py``, release 0.11.0.
"""

from __future__ import annotations

from typing import Final

from gatehouse.domain.artifact import ArtifactSummary
from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.hardware.matrices import matrices_of
from gatehouse.domain.hardware.releases import Release
from gatehouse.domain.hardware.towers import tower_parameters
from gatehouse.domain.quantization import Quantization

__all__ = ["estimated_bytes", "loaded_bytes", "stored_bytes"]

_HALF: Final = 2
_MXFP4_GROUP: Final = 32
_MXFP4_BITS_A_GROUP: Final = 4 * _MXFP4_GROUP + 8


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
    matrices, quantization = matrices_of(model), model.config.quantization
    if matrices is None or (quantization is not None and quantization.bits is None):
        return None
    bits = _bits_a_weight(model.config.quantization)
    quantized = (matrices.split + matrices.kv + matrices.latent) * (
        16 if _is_mxfp4(model.config.quantization) else bits
    )
    plain = matrices.whole + matrices.plain + (tower_parameters(model) or 0)
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
    matrices = matrices_of(model)
    if matrices is None:
        return 0
    size = _bits_a_weight(None if _is_mxfp4(model.config.quantization) else model.config.quantization)
    more = matrices.latent * size / 8 + _HALF * matrices.whole
    kept = more * (tensor_parallel_size - 1) / tensor_parallel_size
    heads = model.kv_heads or 0
    if 0 < heads < tensor_parallel_size:
        kept += matrices.kv * size / 8 * (1 / heads - 1 / tensor_parallel_size)
    return int(kept)
