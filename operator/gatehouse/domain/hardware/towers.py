"""Parameters of what sees images in a multimodal model, from config.json alone.

Attention of a layer has four square matrices, its feed-forward layer two or three; a merger or projector leads to the
language part. Source: the classes of each model in vLLM 0.11.0 (``models/{siglip,pixtral,qwen2_vl,qwen2_5_vl,qwen3_vl,
glm4_1v}.py``).
"""

from __future__ import annotations

from gatehouse.domain.hardware.dimensions import Dimensions

__all__ = ["tower_parameters"]

_MERGED = 4
"""Patches that are made one: two by two."""


def tower_parameters(model: Dimensions) -> int | None:
    """None where config.json does not tell, or the kind of tower is not known; 0 for a model without."""
    whole, width = model.whole, model.get("hidden_size")
    if whole is None or not whole.multimodal:
        return 0
    layers, hidden, inner = model.said("tower_layers"), model.said("tower_hidden"), model.said("tower_inner")
    if whole.tower is None or not layers or not hidden or not width:
        return None
    out = model.said("tower_out") or width
    if whole.tower == "qwen2":
        inner = 4 * hidden
    if not inner:
        return None
    attention, merged = 4 * hidden * hidden, _MERGED * hidden
    match whole.tower:
        case "siglip":
            return layers * (attention + 2 * hidden * inner) + hidden * width
        case "pixtral":
            return layers * (attention + 3 * hidden * inner) + merged * hidden + hidden * width + width * width
        case "qwen2":
            return layers * (attention + 2 * hidden * inner) + merged * merged + merged * out
        case "qwen2_5":
            return layers * (attention + 3 * hidden * inner) + merged * merged + merged * out
        case "qwen3":
            mergers = 1 + (model.said("tower_stacks") or 0)
            return layers * (attention + 2 * hidden * inner) + mergers * (merged * merged + merged * out)
        case "glm":
            return layers * (attention + 3 * hidden * out) + out * out + 3 * out * inner + merged * out
        case _:
            return None
