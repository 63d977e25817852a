"""What vLLM takes of an accelerator's memory besides weights and KV cache.

Its profile run sorts the logits of ``max_num_seqs`` sequences, 32-bit values, 64-bit indices and what sorting needs
(``v1/worker/gpu_model_runner.py`` ``profile_run``, ``v1/sample/ops/topk_topp_sampler.py``)::

    overhead = 0.13 GiB (0.55 with tensor parallelism) + 38.5 bytes * sequences * vocabulary

The numbers are a fit to runs measured on H100, RTX 4090 and L4 (llm-d-planner docs/empirical-vllm-memory-results.md,
LLMServingSim, two runs of Granite 3.1 8B FP8), which meets each within 0.3 GiB but those of a multimodal Mistral, of
which vLLM took 2 to 3 GiB less. In all of them sorting takes more than the forward pass before it. With few sequences
it does not: then what one chunk of tokens takes in a feed-forward layer counts, an estimate that no run was held
against, or what an encoder of images takes (:mod:`gatehouse.domain.hardware.encoder_memory`). CUDA graphs count since
0.21 (:mod:`gatehouse.domain.hardware.releases`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.hardware.encoder_memory import EncoderMemory, encoder_memory
from gatehouse.domain.hardware.releases import Release

__all__ = ["MARGIN", "Overhead", "default_chunk", "default_sequences", "overhead_of", "sequence_choices"]

_GIB: Final = 2**30
MARGIN: Final = _GIB // 2
"""What is kept free on top, so that what the formula does not see does not keep vLLM from starting."""
_HALF_BYTES_A_LOGIT: Final = 77
_HALF_PRECISION: Final = 2
_LARGE: Final = 70 * _GIB
_LARGEST: Final = 160 * _GIB
_MOST_SEQUENCES: Final = 1024
_USUAL_SEQUENCES: Final = 256
_CHOICES: Final = (1024, 512, 256, 128, 64, 32, 16)


class Overhead(NamedTuple):
    """Bytes on each accelerator: ``base``, and what the larger of sorting and the forward pass takes, with what an
    encoder left for them; or what that encoder takes before them, where that is more."""

    base: int
    vocabulary: int
    forward: int
    encoder: EncoderMemory = EncoderMemory(0, 0)

    def of(self, sequences: int) -> int:
        """With at most so many sequences at once."""
        language = max(_HALF_BYTES_A_LOGIT * sequences * self.vocabulary // 2, self.forward)
        return self.base + max(self.encoder.kept + language, self.encoder.peak)


def overhead_of(model: Dimensions, release: Release, *, tensor_parallel_size: int, chunk: int) -> Overhead:
    """What vLLM takes for a model; ``chunk`` is ``max_num_batched_tokens``."""
    base = release.base_bytes[0 if tensor_parallel_size == 1 else 1]
    inner, expert = model.inner_size or 0, model.expert_size
    if expert is not None:
        inner = max(inner, expert * (model.config.num_experts_per_tok or 1))
    # Gate, up and their product; the hidden states and what is added to them.
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
    """``max_num_batched_tokens`` of vLLM's API server: since 0.30 at the latest the largest from 160 GiB on."""
    if not _is_large(accelerator, memory):
        return release.chunks["small"]
    blackwell = any(name in accelerator.lower() for name in ("b200", "b300"))
    return release.chunks["blackwell" if blackwell or memory >= _LARGEST else "large"]


@lru_cache(maxsize=256)
def sequence_choices(most: int) -> tuple[int, ...]:
    """``max_num_seqs`` to choose from, the most first."""
    return (most, *(each for each in _CHOICES if each < most))
