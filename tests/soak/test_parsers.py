"""Mutants of what real programs write: a parser answers or raises FormatError, in little time and memory."""

from __future__ import annotations

import random
import resource
import sys
import time
from pathlib import Path

import pytest

from gatehouse.domain.common.format_error import FormatError
from hostile import parse
from soak.mutating import mutant
from soak.seeds import ARGUMENTS, SEEDS

SECONDS = 2.0
"""CPU for one input of at most 64 KiB, whatever else the machine does."""
GROWTH = 96 * 1024 * 1024
"""Bytes of memory that a million mutants may add to what the first thousand took."""


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("name", SEEDS)
def test_no_mutant_does_more_than_be_refused(name: str, mutants: int, seed: int, tmp_path: Path) -> None:
    seeds, arguments = SEEDS[name](), ARGUMENTS.get(name, {})
    taken = refused = 0
    peak = 0
    slowest = 0.0
    for number in range(mutants):
        data = mutant(seeds, random.Random(f"{name} {seed + number}"))
        began = time.process_time()
        try:
            answer = parse(name, data, arguments)
        except Exception:
            kept = tmp_path / "mutant"
            kept.write_bytes(data)
            sys.stderr.write(f"\nmutant {number} of {name} is kept in {kept}\n")
            raise
        slowest = max(slowest, time.process_time() - began)
        if isinstance(answer, FormatError | ValueError):
            refused += 1
        else:
            taken += 1
        if number == 1_000:
            peak = _peak()
    assert slowest < SECONDS
    assert mutants <= 1_000 or _peak() - peak < GROWTH
    sys.stderr.write(
        f"\n{name}: {mutants} mutants, {taken} taken, {refused} refused, the slowest took {slowest:.3f} s\n"
    )
