"""Weight files grouped by the set that their names show, and the remedy where an artifact has several sets.

Shards and splits of one model are named NAME-00001-of-00003 and so on. Publishers put Mistral's own form of the weights
(``consolidated*``) and adapters (``adapter*``) beside a model. Every other file is a set of its own.
"""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.common.format_error import shown

__all__ = ["WeightSet", "choice", "named_sets", "weight_sets"]

_NUMBERED: Final = re.compile(r"(?P<model>.+)-[0-9]{5}-of-(?P<count>[0-9]{5})(?P<ending>\.(gguf|safetensors))")
_BESIDE: Final = re.compile(r"(?P<kind>consolidated|adapter)[^/]*\.safetensors")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,@/-]{0,127}")
"""A name that a shell needs no quotes for."""
_MOST_PATTERNS: Final = 3
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSet:
    """One set of weight files.

    ``paths`` are in their order. ``pattern`` excludes the set by ``gatehouse upload --exclude``. ``beside``: publishers
    put such a set beside a model. ``numbered``: the names are those of shards or splits.
    """

    paths: tuple[str, ...]
    pattern: str
    beside: bool = False
    numbered: bool = False

    def __str__(self) -> str:
        more = len(self.paths) - 1
        rest = f" and {more} more of its set" if more else ""
        return f"{shown(self.paths[0])}{rest}"


def weight_sets(paths: Iterable[str]) -> tuple[WeightSet, ...]:
    """The sets in the order of their first file. Takes time in proportion to the names."""
    found: dict[tuple[str, bool, bool], list[str]] = {}
    for path in sorted(paths):
        found.setdefault(_set_of(path), []).append(path)
    return tuple(
        WeightSet(paths=tuple(files), pattern=pattern, beside=beside, numbered=numbered)
        for (pattern, beside, numbered), files in found.items()
    )


def _set_of(path: str) -> tuple[str, bool, bool]:
    beside, numbered = _BESIDE.fullmatch(path), _NUMBERED.fullmatch(path)
    if beside:
        return f"{beside['kind']}*.safetensors", True, False
    if numbered:
        return f"{glob.escape(numbered['model'])}-?????-of-{numbered['count']}{numbered['ending']}", False, True
    return glob.escape(path), False, False


def named_sets(sets: Sequence[WeightSet]) -> str:
    """The names of the first three sets for people, and the number of others."""
    more = f" and {len(sets) - _SHOWN} more" if len(sets) > _SHOWN else ""
    return ", ".join(str(each) for each in sets[:_SHOWN]) + more


def choice(sets: Sequence[WeightSet], *, kept: WeightSet | None = None) -> str:
    """One sentence that says how to reduce the artifact to one set; ``kept`` is the set most likely meant, if any."""
    example = kept or sets[0]
    others = [each for each in sets if each is not example]
    which = f"Keep {example}" if kept else f"Keep one of the {len(sets)}"
    elsewhere = "give each other one a folder and a version of its own"
    if len(others) > _MOST_PATTERNS or not _leaves(example, others):
        return f"{which}, and {elsewhere}: gatehouse upload --exclude PATTERN leaves files out."
    flags = " ".join(f"--exclude '{each.pattern}'" for each in others)
    takes = "leaves the rest out" if kept else f"takes {example}"
    return f"{which}, and {elsewhere}: gatehouse upload {flags} {takes}."


def _leaves(kept: WeightSet, others: Sequence[WeightSet]) -> bool:
    """Whether the patterns of the others leave exactly the kept set, and a shell accepts them between quotes."""
    names = [path for each in (kept, *others) for path in each.paths]
    if not all(_PLAIN.fullmatch(name) for name in names):
        return False
    return not any(fnmatch.fnmatchcase(path, each.pattern) for each in others for path in kept.paths)
