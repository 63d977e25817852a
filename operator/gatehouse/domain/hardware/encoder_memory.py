"""What the encoder of images or sound takes while vLLM measures its memory: an upper bound, where one follows.

When vLLM starts it runs the encoder once with as many of the largest items as one batch may have, keeps what comes out,
and then runs the language part and its sampler (``GPUModelRunner.profile_run``; ``MultiModalBudget`` and
``compute_mm_encoder_budget`` say how many, releases 0.11.0 and 0.33.0)::

    items = max(max_num_batched_tokens, tokens of an item) // tokens of an item       with --limit-mm-per-prompt at 999
    peak  = items * (patches * widest moment of a layer + 6 bytes * 3 * image_size ** 2)
    kept  = items * tokens of an item * hidden_size of the language part

The widest moment of a layer is the larger of two sums of tensors that live at once, in elements of two bytes a patch:
in attention what went in, the norm of it, queries, keys and values, copies of them, and what comes out; in the
feed-forward layer what went in, its norm, what the first matrices make, and what the activation makes of that
(``siglip.py``, ``pixtral.py``, ``whisper.py``). A batch of pixels is there in 32 bits and in 16. Before 0.12 Pixtral
may have a mask of all patches by all. No run measured an encoder alone: of the one that has an encoder, Mistral
Small 3.1 on an H100, the sampler takes more than the encoder does.

Qwen's and GLM's towers take images of any size up to a number of pixels, and videos, which config.json does not say:
they have no bound here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.hardware.releases import Release

__all__ = ["EncoderMemory", "encoder_memory"]

_HALF: Final = 2
_PIXEL: Final = 6
_COLOURS: Final = 3
_ATTENTION: Final = 9
_ROTATED_ATTENTION: Final = 16
_NO_MASK_SINCE: Final = 12


class EncoderMemory(NamedTuple):
    """Bytes on each accelerator: ``peak`` while the encoder runs, ``kept`` while the language part does."""

    peak: int
    kept: int


class _Item(NamedTuple):
    """One image or sound: tokens that the language part sees, patches that the encoder does; its sizes."""

    tokens: int
    patches: int
    pixels: int
    hidden: int
    feed_forward: int
    attention: int
    masked: bool


def encoder_memory(
    model: Dimensions, release: Release, *, tensor_parallel_size: int, chunk: int
) -> EncoderMemory | None:
    """The bound, zero for a model without an encoder, None where none follows from config.json.

    ``chunk`` is ``max_num_batched_tokens``.
    """
    whole, width = model.whole, model.get("hidden_size")
    if whole is None or not whole.multimodal:
        return EncoderMemory(0, 0)
    item = _whisper(model) if whole.cross else _image(model, tensor_parallel_size)
    if item is None or not width:
        return None
    items = max(chunk, item.tokens) // item.tokens
    widest = max(item.attention * item.hidden, 2 * item.hidden + item.feed_forward)
    peak = item.patches * _HALF * widest + item.pixels * _PIXEL
    mask = (items * item.patches) ** 2 * _HALF if item.masked and release.minor < _NO_MASK_SINCE else 0
    return EncoderMemory(items * peak + mask, items * item.tokens * width * _HALF)


def _image(model: Dimensions, tensor_parallel_size: int) -> _Item | None:
    whole, said = model.whole, model.said
    image, patch = said("tower_image"), said("tower_patch")
    hidden, inner = said("tower_hidden"), said("tower_inner")
    if whole is None or not image or not patch or patch > image:
        return None
    side = image // patch
    if whole.tower == "siglip" and hidden and inner:
        tokens = said("tower_tokens") or 256
        part = -(-inner // tensor_parallel_size)
        return _Item(tokens, side * side, _COLOURS * image * image, hidden, 2 * part, _ATTENTION, masked=False)
    if model.config.tower_type == "pixtral" and whole.tower in {"pixtral", "llava"}:
        # What its class fills in: transformers' PixtralVisionConfig.
        hidden, part = hidden or 1024, -(-(inner or 4096) // tensor_parallel_size)
        merged = (said("tower_merge") or 2) if whole.tower == "pixtral" else 1
        tokens = max(1, side // merged) ** 2
        patches = tokens * merged * merged
        return _Item(tokens, patches, _COLOURS * image * image, hidden, 3 * part, _ROTATED_ATTENTION, masked=True)
    return None


def _whisper(model: Dimensions) -> _Item | None:
    hidden, inner = model.get("hidden_size"), model.get("encoder_ffn_dim")
    positions, mels = model.get("max_source_positions"), model.first("num_mel_bins", otherwise=128)
    if not hidden or not positions:
        return None
    # Two frames of sound make one position; the first convolution has all frames at the full width.
    return _Item(
        positions, 2 * positions, 2 * positions * mels, hidden, 2 * (inner or 4 * hidden), _ATTENTION, masked=False
    )
