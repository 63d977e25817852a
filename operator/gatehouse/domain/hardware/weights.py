"""Bytes of a model's weights on each accelerator, as vLLM loads them, encoders included.

Attention of a layer has four square matrices, its feed-forward layer two or three; a merger or projector leads to the
language part. Source: the classes of each model in vLLM 0.11.0 and 0.33.0 (``models/{siglip,pixtral,qwen2_vl,
qwen2_5_vl,qwen3_vl,glm4_1v,mllama,gemma3n_mm,gemma4_mm}.py``), and for Gemma's towers those of transformers
(``modeling_gemma3n.py``, ``modeling_gemma4.py``) and timm.

Where the headers of the tensors were read, their bytes count, except the tensors that vLLM does not load: layers that
predict more than one token ahead (MTP), and a head that is stored beside the embedding it is tied to. Where only
config.json exists, the sizes of the matrices follow from it. Tensor parallelism divides matrices, but every accelerator
keeps norms, routers, the compressing half of latent attention, and at least one KV head. MXFP4 experts are padded to
whole blocks. Source: vLLM's model classes (``model_executor/models``) and ``layers/quantization/mxfp4.py``, release
0.11.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.hardware.matrices import matrices_of
from gatehouse.domain.runtimes.releases import Release

__all__ = ["estimated_bytes", "loaded_bytes", "stored_bytes", "tower_parameters"]

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
_LIKE_PIXTRAL: Final[Mapping[str, int]] = MappingProxyType({"layers": 24, "hidden": 1024, "inner": 4096})
"""The defaults of the class of Pixtral's tower (transformers 4.57.6, PixtralVisionConfig)."""
_MOBILENET_V5: Final = 294_126_912
"""Parameters of timm's mobilenetv5_300m_enc, the only tower of Gemma 3n."""
_OWN_TOKENS: Final = 128
_HEARD: Final = 1024
"""The output of two convolutions over 128 bands of sound: 32 channels of a quarter of the bands."""
_MERGED: Final = 4
"""Patches that are merged into one: two by two."""


class _Tower(NamedTuple):
    """Sizes of a tower: ``out`` is the width of its output, ``width`` that of the language part."""

    layers: int
    hidden: int
    inner: int
    out: int
    width: int

    def blocks(self, matrices: int, inner: int | None = None) -> int:
        """Parameters of all layers whose feed-forward layer has ``matrices`` matrices."""
        return self.layers * (4 * self.hidden**2 + matrices * self.hidden * (self.inner if inner is None else inner))

    @property
    def merger(self) -> int:
        """Parameters of the merger, which makes one patch of four."""
        merged = _MERGED * self.hidden
        return merged * merged + merged * self.out


def tower_parameters(model: Dimensions) -> int | None:
    """None where config.json lacks a size, or the kind of tower is not known; 0 for a model without a tower."""
    whole = model.whole
    if whole is None or not whole.multimodal or whole.cross:  # Whisper's encoder is counted with its decoder
        return 0
    kind = _KINDS.get(whole.tower or "")
    return None if kind is None else kind(model)


def _sizes(model: Dimensions, defaults: Mapping[str, int] = _NOTHING) -> _Tower | None:
    said, width = model.said, model.get("hidden_size")
    layers, hidden, inner = (said(f"tower_{name}") or defaults.get(name) for name in ("layers", "hidden", "inner"))
    if not layers or not hidden or not width:
        return None
    return _Tower(layers, hidden, inner or 0, said("tower_out") or width, width)


def _siglip(model: Dimensions) -> int | None:
    tower = _sizes(model)
    return tower.blocks(2) + tower.hidden * tower.width if tower and tower.inner else None


def _pixtral(model: Dimensions) -> int | None:
    tower = _sizes(model, _LIKE_PIXTRAL if model.config.tower_type == "pixtral" else _NOTHING)
    if not tower or not tower.inner:
        return None
    return tower.blocks(3) + _MERGED * tower.hidden**2 + tower.hidden * tower.width + tower.width**2


def _llava(model: Dimensions) -> int | None:
    """The only tower of Llava that is known is Pixtral's, which merges no patches."""
    tower = _sizes(model, _LIKE_PIXTRAL) if model.config.tower_type == "pixtral" else None
    return tower.blocks(3) + tower.hidden * tower.width + tower.width**2 if tower and tower.inner else None


def _mllama(model: Dimensions) -> int | None:
    tower, said = _sizes(model), model.said
    image, patch = said("tower_image"), said("tower_patch")
    if not tower or not tower.inner or not image or not patch:
        return None
    tower = tower._replace(layers=tower.layers + (said("tower_global_layers") or 0))
    # An embedding of positions for each shape of an image, and one for no shape: all its tiles and their patches.
    tiles = ((said("tower_ratios") or 8) + 1) * (said("tower_tiles") or 4) * ((image // patch) ** 2 + 1)
    return tower.blocks(2) + tower.out * tower.width + tiles * tower.hidden


def _qwen2(model: Dimensions) -> int | None:
    tower = _sizes(model)
    return tower.blocks(2, 4 * tower.hidden) + tower.merger if tower else None


def _qwen2_5(model: Dimensions) -> int | None:
    tower = _sizes(model)
    return tower.blocks(3) + tower.merger if tower and tower.inner else None


def _qwen3(model: Dimensions) -> int | None:
    tower = _sizes(model)
    mergers = 1 + (model.said("tower_stacks") or 0)
    return tower.blocks(2) + mergers * tower.merger if tower and tower.inner else None


def _glm(model: Dimensions) -> int | None:
    tower = _sizes(model)
    if not tower or not tower.inner:
        return None
    out = tower.out
    return tower.blocks(3, out) + out * out + 3 * out * tower.inner + _MERGED * tower.hidden * out


def _gemma3n(model: Dimensions) -> int | None:
    """MobileNet V5 always, and a conformer; each has an embedding of its own 128 tokens."""
    width, seen, heard = (
        model.get("hidden_size"),
        model.said("tower_hidden") or 2048,
        model.said("audio_hidden") or 1536,
    )
    if not width or model.config.tower_type != "gemma3n_vision":
        return None
    embedded = sum(_OWN_TOKENS * hidden + hidden * width for hidden in (seen, heard))
    return _MOBILENET_V5 + _conformer(model.said("audio_layers") or 12, heard) + embedded


def _gemma4(model: Dimensions) -> int | None:
    tower, said = _sizes(model), model.said
    if not tower or not tower.inner:
        return None
    positions, patch = said("tower_positions") or 10_240, said("tower_patch") or 16
    found = tower.blocks(3) + tower.hidden * (2 * positions + 3 * patch * patch + tower.width)
    layers, hidden = said("audio_layers"), said("audio_hidden")
    if layers and hidden:
        out = said("audio_out") or 1536
        found += _conformer(layers, hidden) + out * (hidden + tower.width)
    return found


def _conformer(layers: int, hidden: int) -> int:
    """Two feed-forward layers of four times the width, five matrices of attention, three of a gated convolution."""
    return layers * 24 * hidden * hidden + _HEARD * hidden


_KINDS: Final[Mapping[str, Callable[[Dimensions], int | None]]] = MappingProxyType(
    {
        "siglip": _siglip,
        "pixtral": _pixtral,
        "llava": _llava,
        "mllama": _mllama,
        "qwen2": _qwen2,
        "qwen2_5": _qwen2_5,
        "qwen3": _qwen3,
        "glm": _glm,
        "gemma3n": _gemma3n,
        "gemma4": _gemma4,
    }
)


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
    """Bytes on each accelerator of weights of which only config.json is known; None where config.json lacks a size.

    For a multimodal model whose tower is not known, only the language part counts, so the actual bytes are more.
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
    """A head is left out only where config.json itself ties it: the default of a class may be wrong for the files."""
    return summary.unloaded_bytes + (summary.head_bytes if model.said("tie_word_embeddings") else 0)


def _padding(model: Dimensions, release: Release, tensor_parallel_size: int) -> int:
    """Additional bytes of MXFP4 experts in memory, on all accelerators together."""
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
    """Bytes that each accelerator has beyond its share, because every accelerator has a copy."""
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
