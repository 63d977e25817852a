"""The memory figures of vLLM's start log, and the difference of a fit from each of them.

A log is untrusted text: the parser bounds the bytes of the log, the bytes of each line and the digits of numbers. A
pattern matches anywhere in a line, because Kubernetes, ranks and colours put text before it. The wordings are those of
0.11.0 and of 0.33.0 (``v1/worker/gpu_model_runner.py``, ``v1/worker/gpu_worker.py``, ``v1/core/kv_cache_utils.py``,
``v1/engine/core.py``, ``entrypoints/utils.py``); both have the same wording except where a note says otherwise.

overhead of vLLM = usable - weights - memory for the cache - CUDA graphs that count

The log has all of these except the first, which follows from the profile and the utilization of memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, BinaryIO, Final, Literal

from gatehouse.domain.hardware.fit import Fit

__all__ = [
    "LONGEST_LINE",
    "MOST_BYTES",
    "MemoryTerm",
    "StartLog",
    "differing_start",
    "held_against",
    "lines_of",
    "parse_start_log",
]

MOST_BYTES: Final = 64 * 2**20
"""The bytes of a log that are read."""
LONGEST_LINE: Final = 32 * 2**10
"""The bytes of a line that are read."""

_GIB: Final = 2**30
_NUMBER: Final = r"(\d{1,9}(?:\.\d{1,9})?)"
_WHOLE: Final = r"(\d{1,12}|\d{1,3}(?:,\d{3}){1,4})"

_RELEASE: Final = re.compile(rb"(?:vLLM API server version|LLM engine \(v) ?(0\.\d{1,4}(?:\.\d{1,4})?)")
_SERVER: Final = re.compile(rb"vLLM API server version ")
_WEIGHTS: Final = re.compile(rf"Model loading took {_NUMBER} GiB".encode())
"""0.11.0 continues with "and 5.1 seconds", 0.33.0 with "memory and 5.1 seconds"."""
_AVAILABLE: Final = re.compile(rf"Available KV cache memory: (-?){_NUMBER} GiB".encode())
_TOKENS: Final = re.compile(rf"GPU KV cache size: {_WHOLE} tokens".encode())
_AT_ONCE: Final = re.compile(rf"Maximum concurrency for {_WHOLE} tokens per request: {_NUMBER}x".encode())
_GRAPHS_ESTIMATED: Final = re.compile(rf"Estimated CUDA graph memory: {_NUMBER} GiB".encode())
"""Not in 0.11.0."""
_GRAPHS: Final = re.compile(rf"Graph capturing finished in \d{{1,6}} secs, took (-?){_NUMBER} GiB".encode())
_NEEDED: Final = re.compile(
    rf"max seq len \({_WHOLE}\), \(?{_NUMBER} GiB KV cache is needed, which is larger than the available".encode()
)
_PEAK: Final = re.compile(rf"torch peak memory increase: {_NUMBER} ?GiB".encode())
_ARGUMENTS: Final = re.compile(rb"non-default args: \{")
_CACHE_DTYPES: Final[Mapping[bytes, Literal["fp8", "fp8_e4m3", "fp8_e5m2", "bfloat16"]]] = {
    b"fp8": "fp8",
    b"fp8_e4m3": "fp8_e4m3",
    b"fp8_e5m2": "fp8_e5m2",
    b"bfloat16": "bfloat16",
}
_CONFIG: Final = re.compile(rb"LLM engine \(v[^)]{1,64}\) with config: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLog:
    """The figures that a log has; None is not in the log. Sizes are bytes on one accelerator.

    ``needed`` is the cache that a sequence of ``needed_tokens`` would have taken, where vLLM refused to start.
    ``at_once`` is the number of sequences of ``at_once_tokens`` that the cache holds. ``graphs`` is vLLM's estimate of
    CUDA graphs before it captured them, ``graphs_captured`` their actual size. ``max_model_len`` and the fields after
    it are the settings with which vLLM started. ``truncated`` is whether the log is longer than the part that was read.
    """

    release: str | None = None
    weights: int | None = None
    available: int | None = None
    tokens: int | None = None
    at_once: Fraction | None = None
    at_once_tokens: int | None = None
    needed: int | None = None
    needed_tokens: int | None = None
    graphs: int | None = None
    graphs_captured: int | None = None
    peak: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    tensor_parallel_size: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: str | None = None
    kv_cache_dtype: Literal["fp8", "fp8_e4m3", "fp8_e5m2", "bfloat16"] | None = None
    pipeline_parallel_size: int | None = None
    enforce_eager: bool = False
    truncated: bool = False

    @property
    def tells(self) -> bool:
        """Whether the log has any figure to compare a fit with."""
        return any(each is not None for each in (self.weights, self.available, self.needed, self.tokens))


def lines_of(stream: BinaryIO, *, most: int = MOST_BYTES, longest: int = LONGEST_LINE) -> Iterator[bytes]:
    """Lines of at most ``longest`` bytes, longer lines in pieces; at most ``most`` bytes and one piece."""
    read = 0
    while read < most and (line := stream.readline(longest)):
        read += len(line)
        yield line


def parse_start_log(stream: BinaryIO, *, most: int = MOST_BYTES) -> StartLog:
    """The last start in a log. Of several ranks, the most weights and the least memory for the cache, as vLLM counts.

    Lines that are not vLLM's are ignored.
    """
    found = StartLog()
    for line in lines_of(stream, most=most):
        if _SERVER.search(line):
            found = StartLog()
        found = _with_line(found, line)
    return replace(found, truncated=bool(stream.read(1)))


def _with_line(found: StartLog, line: bytes) -> StartLog:
    if said := _RELEASE.search(line):
        found = replace(found, release=said[1].decode())
    if _ARGUMENTS.search(line) or _CONFIG.search(line):
        found = _with_arguments(found, line)
    if said := _WEIGHTS.search(line):
        found = replace(found, weights=max(found.weights or 0, _bytes(said[1])))
    if said := _AVAILABLE.search(line):
        size = _signed(said[1], _bytes(said[2]))
        found = replace(found, available=size if found.available is None else min(size, found.available))
    if said := _TOKENS.search(line):
        found = replace(found, tokens=min(_whole(said[1]), found.tokens or 10**15))
    if said := _AT_ONCE.search(line):
        found = replace(found, at_once_tokens=_whole(said[1]), at_once=Fraction(said[2].decode()))
    if said := _NEEDED.search(line):
        found = replace(found, needed_tokens=_whole(said[1]), needed=_bytes(said[2]))
    if said := _GRAPHS_ESTIMATED.search(line):
        found = replace(found, graphs=max(found.graphs or 0, _bytes(said[1])))
    if said := _GRAPHS.search(line):
        found = replace(found, graphs_captured=max(found.graphs_captured or 0, _signed(said[1], _bytes(said[2]))))
    if said := _PEAK.search(line):
        found = replace(found, peak=max(found.peak or 0, _bytes(said[1])))
    return found


def _with_arguments(found: StartLog, line: bytes) -> StartLog:
    """``'max_model_len': 8192`` of the arguments, or ``max_seq_len=8192`` of the configuration made from them."""
    utilization = _said(line, rb"gpu_memory_utilization", rb"(0\.\d{1,6}|1\.0)")
    dtype = _said(line, rb"kv_cache_dtype", rb"'?([a-z0-9_]{1,16})")
    return replace(
        found,
        max_model_len=_number(line, rb"max_model_len") or _number(line, rb"max_seq_len") or found.max_model_len,
        max_num_seqs=_number(line, rb"max_num_seqs") or found.max_num_seqs,
        tensor_parallel_size=_number(line, rb"tensor_parallel_size") or found.tensor_parallel_size,
        max_num_batched_tokens=_number(line, rb"max_num_batched_tokens") or found.max_num_batched_tokens,
        pipeline_parallel_size=_number(line, rb"pipeline_parallel_size") or found.pipeline_parallel_size,
        kv_cache_dtype=_CACHE_DTYPES.get(dtype or b"", found.kv_cache_dtype),
        gpu_memory_utilization=utilization.decode() if utilization else found.gpu_memory_utilization,
        enforce_eager=found.enforce_eager or _said(line, rb"enforce_eager", rb"(True)") is not None,
    )


def _number(line: bytes, name: bytes) -> int | None:
    said = _said(line, name, rb"(\d{1,9})(?![\d.])")
    return int(said) if said else None


def _said(line: bytes, name: bytes, value: bytes) -> bytes | None:
    found = re.search(rb"(?<![A-Za-z_])" + name + rb"(?:': |=)" + value, line)
    return found[1] if found else None


def _bytes(gib: bytes) -> int:
    return int(Fraction(gib.decode()) * _GIB)


def _signed(sign: bytes, size: int) -> int:
    return -size if sign else size


def _whole(text: bytes) -> int:
    return int(text.replace(b",", b""))


_MOST_CONCURRENCY: Final = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTerm:
    """One figure: bytes as computed, and bytes as vLLM reported. ``derived``: the log does not have the figure itself.

    Where the fit only has a range, ``computed`` is vLLM's figure if it lies in the range, else the nearer end.
    """

    name: str
    computed: int
    measured: int
    derived: bool = False

    @property
    def off(self) -> int:
        """Bytes that the fit is above vLLM; negative where it is below."""
        return self.computed - self.measured

    @property
    def percent(self) -> float | None:
        """The same in percent of vLLM's figure; None where that figure is 0."""
        return 100 * self.off / abs(self.measured) if self.measured else None

    def wire(self) -> Mapping[str, Any]:
        """The form that ``-o json`` prints."""
        return {
            "term": self.name,
            "computedBytes": self.computed,
            "measuredBytes": self.measured,
            "derived": self.derived,
            "offBytes": self.off,
            "offPercent": None if self.percent is None else round(self.percent, 2),
        }


def held_against(found: Fit, log: StartLog) -> tuple[MemoryTerm, ...]:
    """Every term that both the fit and the log have."""
    return tuple(_terms(found, log))


def _terms(found: Fit, log: StartLog) -> Iterator[MemoryTerm]:
    if found.weights_bytes is not None and log.weights is not None:
        yield MemoryTerm(name="weights", computed=found.weights_bytes, measured=log.weights)
    usable, weights, overhead = found.usable_bytes, found.weights_bytes, found.overhead_bytes
    least, most = found.graph_bytes
    if usable is not None and overhead is not None and log.weights is not None and log.available is not None:
        # Where the log has no figure for the CUDA graphs in the budget, the rest includes them.
        counted = (log.graphs or 0) if most else 0
        computed = overhead if log.graphs is not None or not most else overhead + least
        rest = usable - log.weights - log.available - counted
        yield MemoryTerm(name="overhead", computed=computed, measured=rest, derived=True)
    if most and log.graphs is not None:
        name = f"CUDA graphs ({least / 2**30:.2f} to {most / 2**30:.2f} GiB)"
        yield MemoryTerm(name=name, computed=min(max(log.graphs, least), most), measured=log.graphs)
    if usable is not None and weights is not None and overhead is not None and log.available is not None:
        graphs = min(max(log.graphs, least), most) if log.graphs is not None else least
        available = usable - weights - overhead - graphs
        yield MemoryTerm(name="memory for the cache", computed=available, measured=log.available)
    yield from _cache(found, log)


def _cache(found: Fit, log: StartLog) -> Iterator[MemoryTerm]:
    """The cache of one sequence: from vLLM's refusal, from the sequences that fit at once, or from the tokens."""
    tokens, size = found.kv_cache_tokens, found.kv_cache_bytes
    if tokens is not None and size:
        name = f"cache of {tokens:,} tokens"
        if log.needed is not None and log.needed_tokens == tokens:
            yield MemoryTerm(name=name, computed=size, measured=log.needed)
            return
        at_once = log.at_once
        if log.available is not None and at_once and log.at_once_tokens == tokens and at_once < _MOST_CONCURRENCY:
            yield MemoryTerm(name=name, computed=size, measured=int(log.available / at_once), derived=True)
            return
    if found.kv_cache_bytes_per_token and log.available is not None and log.available > 0 and log.tokens:
        computed = found.kv_cache_bytes_per_token * 1024
        measured = log.available * 1024 // log.tokens
        yield MemoryTerm(name="cache of 1,024 tokens", computed=computed, measured=measured, derived=True)


def differing_start(found: Fit, log: StartLog, *, length: int | None, utilization: str) -> Sequence[str]:
    """The settings with which vLLM started that differ from those of the fit: with any, the terms say little."""
    pairs: tuple[tuple[str, object, object], ...] = (
        ("max_model_len", log.max_model_len, length),
        ("max_num_seqs", log.max_num_seqs, found.sequences),
        ("tensor_parallel_size", log.tensor_parallel_size, found.tensor_parallel_size),
    )
    told = [
        f"vLLM started with {name} {said}, the fit is computed with {own}"
        for name, said, own in pairs
        if said is not None and own is not None and said != own
    ]
    if log.gpu_memory_utilization is not None and float(log.gpu_memory_utilization) != float(utilization):
        told.append(
            f"vLLM was started with gpu_memory_utilization {log.gpu_memory_utilization}, the profile has {utilization}"
        )
    return told
