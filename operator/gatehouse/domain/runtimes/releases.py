"""The facts about releases of vLLM: data by range of releases, chosen by the tag of the image.

For a fact that only the two releases of ``heldAgainst`` show, the releases between them take the most careful value,
unless the code of a release of ``readIn`` settles the fact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

import orjson

__all__ = ["Capability", "Release", "release_of", "releases"]

Capability = tuple[int, int]

_TAG: Final = re.compile(r":v?0\.([0-9]{1,3})(?:\.[0-9]{1,3})?(?:[-.+_][\w.+-]*)?(?:@sha256:[0-9a-f]{64})?$", re.ASCII)
_OLDEST: Final = 10
"""The oldest release whose engine the fit describes."""
_MOST_CAREFUL: Final = 21
"""The release with the most careful value of every fact, which stands for unknown releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The release 0.``minor`` of vLLM, with the facts of its range, which begins with 0.``since``.

    ``oldest`` is the least compute capability of its binaries. ``base_bytes`` is the memory that does not grow with the
    model, alone and with tensor parallelism. ``graph_bytes`` is the least and the most that CUDA graphs take of the
    memory vLLM may use, 0 where they lie beside it. ``chunks`` is ``max_num_batched_tokens`` of the API server by class
    of accelerator (large, small, blackwell). A windowed layer keeps ``chunks_kept`` of them beside its window.
    ``groups``: layers lie in groups of one size, and one block of each is never used. ``latent_block`` is the block of
    multi-head latent attention in tokens. ``state_blocks`` are blocks of a layer with a state, by architecture, "" for
    all others. ``state_align`` is the number that divides the block of a hybrid's attention, by kind of state (16
    otherwise). ``always_aligned``: the alignment applies even where the model has no such layer. ``checkpoint_cache``:
    the KV cache has the data type that the checkpoint names. ``latent_fp8_cache`` is the least capability for latent
    attention with an FP8 cache. ``expert_rounding`` is the multiple to which hidden and intermediate size of MXFP4
    experts are rounded up. ``least`` is the least capability by method to store weights. ``loads`` are the quantization
    methods that the release loads, with ``gguf`` where it loads GGUF files. ``without_arguments`` are arguments of
    older releases that the release refuses, each with its replacement.
    """

    minor: int
    since: int
    oldest: Capability
    base_bytes: tuple[int, int]
    graph_bytes: tuple[int, int]
    chunks: Mapping[str, int]
    chunks_kept: int
    groups: bool
    latent_block: int
    state_blocks: Mapping[str, int]
    state_align: Mapping[str, int]
    always_aligned: bool
    checkpoint_cache: bool
    latent_fp8_cache: Capability
    expert_rounding: tuple[int, int]
    least: Mapping[str, Capability]
    loads: frozenset[str]
    without_arguments: Mapping[str, str]

    @property
    def name(self) -> str:
        """As in ``vLLM 0.11``."""
        return f"vLLM 0.{self.minor}"


@lru_cache(maxsize=1)
def releases() -> tuple[Release, ...]:
    """All ranges, oldest first. A fact that a range does not state is that of the range before."""
    document = orjson.loads((files("gatehouse.domain.runtimes") / "releases.json").read_bytes())
    kept: dict[str, Any] = {}
    found = []
    for said in document["releases"]:
        kept |= said
        found.append(_release(kept))
    return tuple(found)


def _release(said: Mapping[str, Any]) -> Release:
    since = int(said["from"].partition(".")[2])
    return Release(
        minor=since,
        since=since,
        oldest=_capability(said["oldest"]),
        base_bytes=(said["baseBytes"][0], said["baseBytes"][1]),
        graph_bytes=(said["graphBytes"][0], said["graphBytes"][1]),
        chunks=MappingProxyType(said["chunks"]),
        chunks_kept=said["chunksKept"],
        groups=said["groups"],
        latent_block=said["latentBlock"],
        state_blocks=MappingProxyType(said["stateBlocks"]),
        state_align=MappingProxyType(said["stateAlign"]),
        always_aligned=said["alwaysAligned"],
        checkpoint_cache=said["cacheOfCheckpoint"],
        latent_fp8_cache=_capability(said["latentFp8Cache"]),
        expert_rounding=(said["expertRounding"][0], said["expertRounding"][1]),
        least=MappingProxyType({name: _capability(text) for name, text in said["least"].items()}),
        loads=frozenset(said["loads"]),
        without_arguments=MappingProxyType(said["withoutArguments"]),
    )


def _capability(text: str) -> Capability:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


@lru_cache(maxsize=256)
def release_of(image: str) -> tuple[Release, str | None]:
    """The release that an image's tag names, and a warning where nothing is known of it.

    A tag that names no release (``latest``, a digest alone, a vendor's own numbers) selects the most careful range; a
    release beyond the newest selects the newest.
    """
    known = releases()
    tag = _TAG.search(image)
    if tag is None:
        careful = next(each for each in known if each.since == _MOST_CAREFUL)
        return careful, f"the vLLM release of {_short(image)} is unknown: the fit uses the most careful figures"
    minor = int(tag[1])
    told = None
    if minor < _OLDEST:
        told = f"{_short(image)} is older than vLLM 0.{_OLDEST}: the fit is a rough estimate"
    if minor > known[-1].since:
        return known[-1], f"{_short(image)} is newer than {known[-1].name}, whose figures the fit uses"
    return replace(next((each for each in reversed(known) if each.since <= minor), known[0]), minor=minor), told


def _short(image: str) -> str:
    return image if len(image) <= 128 else f"{image[:128]}..."
