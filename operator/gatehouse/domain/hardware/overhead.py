"""The memory of an accelerator that vLLM takes besides weights and KV cache, with an upper bound for encoders.

When vLLM starts it runs the encoder once with as many of the largest items as one batch may have, and keeps the output.
Then vLLM runs the language part and its sampler (``GPUModelRunner.profile_run``; ``MultiModalBudget`` and
``compute_mm_encoder_budget`` set the number of items, releases 0.11.0 and 0.33.0)::

    items = max(max_num_batched_tokens, tokens of an item) // tokens of an item       with --limit-mm-per-prompt at 999
    peak  = items * (patches * widest moment of a layer + 6 bytes * 3 * image_size ** 2)
    kept  = items * tokens of an item * hidden_size of the language part

The widest moment of a layer is the larger of two sums of tensors that live at once, in elements of two bytes a patch.
The first sum is attention: its input, the norm of the input, queries, keys and values, copies of them, and the output.
The second is the feed-forward layer: its input, the norm, the output of the first matrices, and of the activation
(``siglip.py``, ``pixtral.py``, ``whisper.py``). A batch of pixels exists in 32 bits and in 16. Before 0.12 Pixtral may
have a mask of all patches by all. No run measured an encoder alone. In the one run with an encoder, Mistral Small 3.1
on an H100, the sampler takes more than the encoder does.

Qwen's and GLM's towers take images of any size up to a number of pixels, and videos. config.json does not have these
limits, so these towers have no bound here.

vLLM's profile run sorts the logits of ``max_num_seqs`` sequences: 32-bit values, 64-bit indices and the memory for
sorting (``v1/worker/gpu_model_runner.py`` ``profile_run``, ``v1/sample/ops/topk_topp_sampler.py``)::

    overhead = 0.13 GiB (0.55 with tensor parallelism) + 38.5 bytes * sequences * vocabulary

The numbers are a fit to runs measured on H100, RTX 4090 and L4 (llm-d-planner docs/empirical-vllm-memory-results.md,
LLMServingSim, two runs of Granite 3.1 8B FP8). The formula meets each run within 0.3 GiB, except those of a multimodal
Mistral, where vLLM took 2 to 3 GiB less. In all of these runs sorting takes more than the forward pass before it. With
few sequences another term counts: the memory of one chunk of tokens in a feed-forward layer, an estimate that no run
confirms, or the memory of an image encoder (:func:`encoder_memory`). CUDA graphs count since 0.21
(:mod:`gatehouse.domain.runtimes.releases`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.runtimes.releases import Release

__all__ = [
    "MARGIN",
    "EncoderMemory",
    "Overhead",
    "default_chunk",
    "default_sequences",
    "encoder_memory",
    "overhead_of",
    "sequence_choices",
]

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
    """One image or sound: the tokens of the language part, the patches of the encoder, and its sizes."""

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
    """The bound, zero for a model without an encoder, None where config.json does not determine a bound.

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
        # The defaults of transformers' PixtralVisionConfig.
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
    # Two frames of sound make one position; the first convolution processes all frames at the full width.
    return _Item(
        positions, 2 * positions, 2 * positions * mels, hidden, 2 * (inner or 4 * hidden), _ATTENTION, masked=False
    )


_GIB: Final = 2**30
MARGIN: Final = _GIB // 2
"""Memory kept free on top, so that vLLM starts despite costs that the formula does not include."""
_HALF_BYTES_A_LOGIT: Final = 77
_HALF_PRECISION: Final = 2
_LARGE: Final = 70 * _GIB
_LARGEST: Final = 160 * _GIB
_MOST_SEQUENCES: Final = 1024
_USUAL_SEQUENCES: Final = 256
_CHOICES: Final = (1024, 512, 256, 128, 64, 32, 16)


class Overhead(NamedTuple):
    """Bytes on each accelerator: ``base``, and the larger of two sums. The first is the encoder's output with the
    larger of sorting and the forward pass. The second is the peak of the encoder before them."""

    base: int
    vocabulary: int
    forward: int
    encoder: EncoderMemory = EncoderMemory(0, 0)

    def of(self, sequences: int) -> int:
        """The bytes with at most ``sequences`` sequences at once."""
        language = max(_HALF_BYTES_A_LOGIT * sequences * self.vocabulary // 2, self.forward)
        return self.base + max(self.encoder.kept + language, self.encoder.peak)


def overhead_of(model: Dimensions, release: Release, *, tensor_parallel_size: int, chunk: int) -> Overhead:
    """The memory that vLLM takes for a model; ``chunk`` is ``max_num_batched_tokens``."""
    base = release.base_bytes[0 if tensor_parallel_size == 1 else 1]
    inner, expert = model.inner_size or 0, model.expert_size
    if expert is not None:
        inner = max(inner, expert * (model.config.num_experts_per_tok or 1))
    # Gate, up and their product; the hidden states and the residual.
    wide = 3 * -(-inner // tensor_parallel_size) + 4 * (model.get("hidden_size") or 0)
    whole = model.whole
    silent = whole is not None and (whole.encoder or whole.pooling)
    encoder = encoder_memory(model, release, tensor_parallel_size=tensor_parallel_size, chunk=chunk)
    return Overhead(
        base,
        0 if silent else model.get("vocab_size") or 0,
        _HALF_PRECISION * chunk * wide,
        encoder or EncoderMemory(0, 0),
    )


def _is_large(accelerator: str, memory: int) -> bool:
    return memory >= _LARGE and "a100" not in accelerator.lower()


def default_sequences(accelerator: str, memory: int) -> int:
    """``max_num_seqs`` of vLLM's API server (``engine/arg_utils.py``): 1024 from 70 GiB unless A100, else 256."""
    return _MOST_SEQUENCES if _is_large(accelerator, memory) else _USUAL_SEQUENCES


def default_chunk(accelerator: str, memory: int, release: Release) -> int:
    """``max_num_batched_tokens`` of vLLM's API server; since 0.30 at the latest, the largest from 160 GiB on."""
    if not _is_large(accelerator, memory):
        return release.chunks["small"]
    blackwell = any(name in accelerator.lower() for name in ("b200", "b300"))
    return release.chunks["blackwell" if blackwell or memory >= _LARGEST else "large"]


@lru_cache(maxsize=256)
def sequence_choices(most: int) -> tuple[int, ...]:
    """``max_num_seqs`` to choose from, the most first."""
    return (most, *(each for each in _CHOICES if each < most))
