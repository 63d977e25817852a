"""The fit as a value, the memory of accelerators, and the findings that both kinds of fit share."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.api.model_registry import ServingDefaults
from gatehouse.api.model_version import Verdict
from gatehouse.api.values import bytes_of
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.formats.names import DEFAULT_FORMAT
from gatehouse.domain.hardware.dimensions import Unmodelled
from gatehouse.domain.hardware.overhead import default_chunk, default_sequences
from gatehouse.domain.runtimes.releases import releases

__all__ = [
    "COMPUTED",
    "SHIPPED_IMAGE",
    "UNKNOWN_MAX_MODEL_LEN",
    "Fit",
    "too_long",
    "unknown_fit",
    "usable_bytes",
    "usual_sizes",
]

_DRIVER_PERCENT: Final = 2
_DRIVER_MOST: Final = 768 * 2**20
"""A program sees less than the memory that nvidia-smi shows: L4 23034 and 22580 MiB, T4 15360 and 15102, A100 40960 and
40339, H100 81559 and 81008, B200 183359 and 182630 (deviceQuery and torch's total_memory)."""

SHIPPED_IMAGE: Final = ServingDefaults().vllm_image

UNKNOWN_MAX_MODEL_LEN: Final = 4096
"""The longest length that a template sets when only the model's limit is known and the version asks for no length."""

COMPUTED: Final = f"{DEFAULT_FORMAT} of an architecture whose KV cache is computed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The verdict and its figures.

    ``weights_bytes``, ``overhead_bytes`` and ``kv_cache_bytes_per_token`` are those of one accelerator.
    ``max_model_len`` is the length that the template sets: the requested length, or the longest that fits with a
    margin, rounded down to 256 tokens (whole blocks for every block size of vLLM) unless it is the model's own limit;
    None where no source has a length. For DoesNotFit, ``max_model_len`` is the longest length that would fit with a
    margin, None when none does. ``safe_max_model_len`` holds with the margin, ``largest_max_model_len`` without; None
    is unknown. ``max_num_seqs`` is the number that the template must set, None where vLLM's own number fits. ``dtype``
    is vLLM's ``--dtype``. ``usable_bytes`` is the memory that vLLM may take of one accelerator, ``graph_bytes`` the
    least and the most of it that CUDA graphs take. ``kv_cache_bytes`` is the cache of one sequence of
    ``kv_cache_tokens`` tokens: the requested length, or else the length that the template sets, or the shortest useful
    length. ``sequences`` is the number served at once, ``usual_sequences`` that of vLLM's own choice.
    """

    verdict: Verdict
    finding: Finding
    weights_bytes: int | None = None
    overhead_bytes: int | None = None
    kv_cache_bytes_per_token: int | None = None
    max_model_len: int | None = None
    safe_max_model_len: int | None = None
    largest_max_model_len: int | None = None
    max_num_seqs: int | None = None
    tensor_parallel_size: int = 1
    dtype: Literal["auto", "half"] = "auto"
    warnings: tuple[str, ...] = ()
    usable_bytes: int | None = None
    graph_bytes: tuple[int, int] = (0, 0)
    kv_cache_tokens: int | None = None
    kv_cache_bytes: int | None = None
    sequences: int | None = None
    usual_sequences: int | None = None


def usable_bytes(profile: HardwareProfileSpec) -> int:
    """Bytes that vLLM may take of one accelerator of a profile."""
    accelerator = profile.accelerator
    since = releases()[-1].since
    return usual_sizes(accelerator.memory, profile.serving.gpu_memory_utilization, accelerator.model, since)[0]


@lru_cache(maxsize=256)
def usual_sizes(memory: str, utilization: str, accelerator: str, since: int) -> tuple[int, int, int]:
    """Bytes that vLLM may take of an accelerator, and vLLM's own choice of sequences at once and of its chunk.

    The result is cached: thousands of versions share a few profiles, and fractions are slow.
    """
    shown = bytes_of(memory)
    visible = shown - min(shown * _DRIVER_PERCENT // 100, _DRIVER_MOST)
    release = next(each for each in releases() if each.since == since)
    chunk = default_chunk(accelerator, visible, release)
    return int(visible * Fraction(utilization)), default_sequences(accelerator, visible), chunk


def too_long(limit: int, requested: int, *, name: str) -> Finding:
    """The finding about a requested length beyond the model's limit."""
    return Finding(
        reason="MaxModelLenTooLong",
        found=f"maxModelLen {requested:,}; the model's limit is {limit:,} tokens ({name})",
        expected=f"a maxModelLen of at most {limit:,}",
        remedy=f"set spec.serving.maxModelLen to at most {limit:,}",
    )


def unknown_fit(why: Unmodelled, limit: int | None, requested: int | None, *, name: str, least: str = "") -> Fit:
    """A fit that is not computed. ``least`` says what the model takes at least, ``name`` where the limit is from."""
    cautious = None if limit is None else min(UNKNOWN_MAX_MODEL_LEN, limit)
    start = "vLLM uses its own default length" if cautious is None else f"the template starts with {cautious:,} tokens"
    asked = f"maxModelLen {requested:,} is not checked" if requested else None
    longest = f"; the model's limit is {limit:,} tokens ({name})" if limit else ""
    return Fit(
        verdict="Unknown",
        max_model_len=requested or cautious,
        warnings=(f"{why.detail}, so the fit is unknown: {asked or start}",),
        finding=Finding(
            reason=why.reason,
            found=f"{why.detail}{least}{longest}",
            expected=COMPUTED,
            remedy="set spec.serving.maxModelLen to a length that works on this hardware: the template starts vLLM "
            "with this length, and the fit stays unknown",
        ),
    )
