"""Counters of a Prometheus endpoint, and what became of them between two looks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Samples", "parse"]

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples by name and labels."""

    values: Mapping[tuple[str, Labels], float] = field(default_factory=dict)

    def sum(self, name: str, **labels: str | Iterable[str]) -> float:
        """The sum over every sample of the name whose labels have these values, or one of them."""
        wanted = {key: {value} if isinstance(value, str) else set(value) for key, value in labels.items()}
        return sum(
            value
            for (sample, found), value in self.values.items()
            if sample == name and all(dict(found).get(key, "") in allowed for key, allowed in wanted.items())
        )

    def by(self, name: str, *labels: str, least: float = 1.0) -> dict[tuple[str, ...], float]:
        """Sums by the values of some labels, without those below ``least``."""
        sums: Counter[tuple[str, ...]] = Counter()
        for (sample, found), value in self.values.items():
            if sample == name:
                sums[tuple(dict(found).get(label, "") for label in labels)] += value  # type: ignore[assignment] # Counter is typed for int only
        return {key: value for key, value in sums.items() if value >= least}

    def since(self, before: Samples) -> Samples:
        """What was added since an earlier look."""
        return Samples({key: value - before.values.get(key, 0.0) for key, value in self.values.items()})


def parse(text: str, *, names: Iterable[str] = ()) -> Samples:
    """The samples of the text format; only those of some names, if any are given."""
    starts = tuple(names)
    values: dict[tuple[str, Labels], float] = {}
    for line in text.splitlines():
        if line.startswith("#") or (starts and not line.startswith(starts)):
            continue
        found = _SAMPLE.match(line)
        if found is not None:
            name, labels, value = found.groups()
            values[name, frozenset(_LABEL.findall(labels or ""))] = float(value)
    return Samples(values)
