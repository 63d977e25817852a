"""The number of accelerators over which vLLM splits a model: the tensor parallel size.

vLLM splits attention heads evenly, and KV heads evenly or by copying them. It splits feed-forward layers and experts
evenly and in whole blocks or groups of quantized weights, and the vocabulary, padded to 64, evenly. Sources: vLLM
0.11.0, ``config/model.py`` (``verify_with_parallel_config``), ``layers/linear.py``,
``layers/vocab_parallel_embedding.py``, ``layers/quantization/{fp8,awq,gptq_marlin,moe_wna16}.py`` (``create_weights``)
and ``model_loader/bitsandbytes_loader.py``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.hardware.dimensions import Dimensions

__all__ = ["Split", "tensor_parallel_size"]

_VOCABULARY_STEP: Final = 64
_PACKED: Final = 8
"""Four-bit weights in one integer of AWQ and GPTQ."""
_SMALLEST_EXPERT_GROUP: Final = 32
_GROUPED: Final = frozenset({"awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq", "compressed-tensors"})


class Split(NamedTuple):
    """``size`` accelerators; ``with_experts`` is the possible size if vLLM spread the experts and did not split
    them."""

    size: int
    with_experts: int


def tensor_parallel_size(model: Dimensions, count: int, *, spread_experts: bool = False) -> Split:
    """The most accelerators, up to ``count``, that vLLM can split the model over; 1 if the heads are not known.

    ``spread_experts`` is ``--enable-expert-parallel``.
    """
    if count == 1:
        return Split(1, 1)
    heads = model.heads
    quantization = model.config.quantization
    if heads is None or (quantization is not None and quantization.method == "bitsandbytes"):
        return Split(1, 1)
    sizes = [size for size in range(count, 0, -1) if _splits(model, size, heads, quantization)]
    spread = sizes[0] if sizes else 1
    if spread_experts:
        return Split(spread, spread)
    return Split(next((size for size in sizes if _splits_experts(model, size, quantization)), 1), spread)


def _splits(model: Dimensions, size: int, heads: int, quantization: Quantization | None) -> bool:
    if size == 1:
        return True
    text, kv_heads = model.text, model.kv_heads or heads
    latent = text.latent if text is not None else model.config.kv_lora_rank is not None
    shared = latent or kv_heads % size == 0 or (size % kv_heads == 0 and (text is None or text.kv_heads_copied))
    vocabulary = -(-(model.get("vocab_size") or 0) // _VOCABULARY_STEP) * _VOCABULARY_STEP
    if heads % size or not shared or vocabulary % size or not _splits_states(model, size):
        return False
    inner = _dense_size(model)
    if inner is None:
        return True
    parts = _Parts(inner // size, heads // size, max(1, kv_heads // size))
    return inner % size == 0 and _whole_blocks(model, parts, quantization)


def _splits_states(model: Dimensions, size: int) -> bool:
    """Whether the size divides the heads of a state, and its groups, unless the state has only one."""
    match model.text and model.text.state:
        case "mamba2":
            groups = model.first("mamba_n_groups", "n_groups", "mamba_ngroups", otherwise=1)
            heads = model.first("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads")
            return heads % size == 0 and (groups == 1 or groups % size == 0)
        case "delta":
            return model.first("linear_num_key_heads") % size == 0 and model.first("linear_num_value_heads") % size == 0
    return True


def _dense_size(model: Dimensions) -> int | None:
    """Intermediate size of feed-forward layers without experts; None where all layers have experts, or if unknown."""
    if model.expert_size is None:
        return model.inner_size
    shared = model.first(
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"
    )
    dense = model.inner_size if model.get("first_k_dense_replace") else None
    return shared or dense


class _Parts(NamedTuple):
    """The part of a layer on one accelerator: its intermediate size, attention heads and KV heads."""

    inner: int
    heads: int
    kv_heads: int


def _whole_blocks(model: Dimensions, parts: _Parts, quantization: Quantization | None) -> bool:
    if quantization is None:
        return True
    head_dim, inner = model.head_dim or 0, parts.inner
    queries = parts.heads * head_dim
    if quantization.block is not None:
        outputs, inputs = quantization.block
        latent = model.text is not None and model.text.latent
        sizes = (inner,) if latent else (inner, queries, parts.kv_heads * head_dim)
        return all(each % outputs == 0 for each in sizes) and all(each % inputs == 0 for each in sizes[:2])
    group = quantization.group
    if group is None or quantization.method not in _GROUPED:
        return True
    return inner % group == 0 and queries % group == 0 and inner % _PACKED == 0


def _splits_experts(model: Dimensions, size: int, quantization: Quantization | None) -> bool:
    expert = model.expert_size
    if expert is None or size == 1:
        return True
    if quantization is not None and quantization.method == "mxfp4":
        return True  # padded to whole blocks
    if expert % size:
        return False
    part = expert // size
    if quantization is None:
        return True
    if quantization.block is not None:
        return part % quantization.block[0] == 0 and part % quantization.block[1] == 0
    grouped = quantization.group is not None and quantization.method in _GROUPED
    return not grouped or part % min(quantization.group or 1, _SMALLEST_EXPERT_GROUP) == 0
