"""Weight files grouped by the set that their names show, and the remedy where an artifact has several sets.

Shards and splits of one model are named NAME-00001-of-00003 and so on. Of some formats, publishers put other weights
beside a model, under names that begin alike. Every other file is a set of its own.
"""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.common.format_error import shown

__all__ = ["WeightSet", "choice", "named_sets", "weight_sets"]

_NUMBERED: Final = re.compile(r"(?P<model>.+)-[0-9]{5}-of-(?P<count>[0-9]{5})(?P<ending>\.[a-z]+)")
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


def weight_sets(paths: Iterable[str], *, beside: Collection[str] = ()) -> tuple[WeightSet, ...]:
    """The sets in the order of their first file. Takes time in proportion to the names.

    ``beside`` are beginnings of names that publishers give to weights beside a model, at the top of the artifact.
    """
    members: dict[tuple[str, bool, bool], list[str]] = {}
    for path in sorted(paths):
        members.setdefault(_set_of(path, beside), []).append(path)
    return tuple(
        WeightSet(paths=tuple(files), pattern=pattern, beside=is_beside, numbered=numbered)
        for (pattern, is_beside, numbered), files in members.items()
    )


def _set_of(path: str, beside: Collection[str]) -> tuple[str, bool, bool]:
    kind = next((kind for kind in beside if path.startswith(kind) and "/" not in path), None)
    if kind is not None:
        return f"{kind}*{path[path.rindex('.') :]}", True, False
    numbered = _NUMBERED.fullmatch(path)
    if numbered:
        return f"{glob.escape(numbered['model'])}-?????-of-{numbered['count']}{numbered['ending']}", False, True
    return glob.escape(path), False, False


def named_sets(sets: Sequence[WeightSet]) -> str:
    """The names of the first three sets for people, and the number of others."""
    more = f" and {len(sets) - _SHOWN} more" if len(sets) > _SHOWN else ""
    return ", ".join(str(members) for members in sets[:_SHOWN]) + more


def choice(sets: Sequence[WeightSet], *, kept: WeightSet | None = None) -> str:
    """One sentence that says how to reduce the artifact to one set; ``kept`` is the set most likely meant, if any."""
    example = kept or sets[0]
    others = [other for other in sets if other is not example]
    which = f"Keep {example}" if kept else f"Keep one of the {len(sets)}"
    elsewhere = "give each other one a folder and a version of its own"
    if len(others) > _MOST_PATTERNS or not _leaves(example, others):
        return f"{which}, and {elsewhere}: gatehouse upload --exclude PATTERN leaves files out."
    flags = " ".join(f"--exclude '{other.pattern}'" for other in others)
    takes = "leaves the rest out" if kept else f"takes {example}"
    return f"{which}, and {elsewhere}: gatehouse upload {flags} {takes}."


def _leaves(kept: WeightSet, others: Sequence[WeightSet]) -> bool:
    """Whether the patterns of the others leave exactly the kept set, and a shell accepts them between quotes."""
    names = [path for members in (kept, *others) for path in members.paths]
    if not all(_PLAIN.fullmatch(name) for name in names):
        return False
    return not any(fnmatch.fnmatchcase(path, other.pattern) for other in others for path in kept.paths)
