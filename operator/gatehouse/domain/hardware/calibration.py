"""How far a fit is from what vLLM said when it started: term by term.

    overhead of vLLM = usable - weights - memory for the cache - CUDA graphs that count

as its log has all of these but the first, which follows from the profile and the utilization of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.hardware.start_log import StartLog

__all__ = ["Term", "differing_start", "held_against"]

_MOST_CONCURRENCY: Final = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One figure: bytes as computed, and bytes as vLLM said. ``derived`` where its log does not have it as such.

    Of what is only known as a range, ``computed`` is the end that is nearer to what vLLM said, or that itself.
    """

    name: str
    computed: int
    measured: int
    derived: bool = False

    @property
    def off(self) -> int:
        """Bytes that the fit is above vLLM; less than nothing where it is below."""
        return self.computed - self.measured

    @property
    def percent(self) -> float | None:
        """The same in percent of what vLLM said; None of nothing."""
        return 100 * self.off / abs(self.measured) if self.measured else None

    def wire(self) -> Mapping[str, Any]:
        """What ``-o json`` prints of it."""
        return {
            "term": self.name,
            "computedBytes": self.computed,
            "measuredBytes": self.measured,
            "derived": self.derived,
            "offBytes": self.off,
            "offPercent": None if self.percent is None else round(self.percent, 2),
        }


def held_against(found: Fit, log: StartLog) -> tuple[Term, ...]:
    """Every term that both have."""
    return tuple(_terms(found, log))


def _terms(found: Fit, log: StartLog) -> Iterator[Term]:
    if found.weights_bytes is not None and log.weights is not None:
        yield Term(name="weights", computed=found.weights_bytes, measured=log.weights)
    usable, weights, overhead = found.usable_bytes, found.weights_bytes, found.overhead_bytes
    least, most = found.graph_bytes
    if usable is not None and overhead is not None and log.weights is not None and log.available is not None:
        # Where the log does not say what CUDA graphs took of the budget, they are in what is left over.
        counted = (log.graphs or 0) if most else 0
        computed = overhead if log.graphs is not None or not most else overhead + least
        rest = usable - log.weights - log.available - counted
        yield Term(name="overhead", computed=computed, measured=rest, derived=True)
    if most and log.graphs is not None:
        name = f"CUDA graphs ({least / 2**30:.2f} to {most / 2**30:.2f} GiB)"
        yield Term(name=name, computed=min(max(log.graphs, least), most), measured=log.graphs)
    if usable is not None and weights is not None and overhead is not None and log.available is not None:
        graphs = min(max(log.graphs, least), most) if log.graphs is not None else least
        available = usable - weights - overhead - graphs
        yield Term(name="memory for the cache", computed=available, measured=log.available)
    yield from _cache(found, log)


def _cache(found: Fit, log: StartLog) -> Iterator[Term]:
    """One sequence's, by what vLLM refused, or by how many it takes at once, or by how many tokens."""
    tokens, size = found.kv_cache_tokens, found.kv_cache_bytes
    if tokens is not None and size:
        name = f"cache of {tokens:,} tokens"
        if log.needed is not None and log.needed_tokens == tokens:
            yield Term(name=name, computed=size, measured=log.needed)
            return
        at_once = log.at_once
        if log.available is not None and at_once and log.at_once_tokens == tokens and at_once < _MOST_CONCURRENCY:
            yield Term(name=name, computed=size, measured=int(log.available / at_once), derived=True)
            return
    if found.kv_cache_bytes_per_token and log.available is not None and log.available > 0 and log.tokens:
        computed = found.kv_cache_bytes_per_token * 1024
        measured = log.available * 1024 // log.tokens
        yield Term(name="cache of 1,024 tokens", computed=computed, measured=measured, derived=True)


def differing_start(found: Fit, log: StartLog, *, length: int | None, utilization: str) -> Sequence[str]:
    """What vLLM was started with and the fit was not computed with: then the terms say little."""
    pairs: tuple[tuple[str, object, object], ...] = (
        ("max_model_len", log.max_model_len, length),
        ("max_num_seqs", log.max_num_seqs, found.sequences),
        ("tensor_parallel_size", log.tensor_parallel_size, found.tensor_parallel_size),
    )
    told = [
        f"vLLM was started with {name} {said}, the fit is computed with {own}"
        for name, said, own in pairs
        if said is not None and own is not None and said != own
    ]
    if log.gpu_memory_utilization is not None and float(log.gpu_memory_utilization) != float(utilization):
        told.append(
            f"vLLM was started with gpu_memory_utilization {log.gpu_memory_utilization}, the profile has {utilization}"
        )
    return told
