"""Whether a listed model meets a filterQuery. The meaning is that of the rows: what a model lacks equals nothing and
differs from nothing. A list of texts equals a text that it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from gatehouse.domain.catalog.listed_models import FieldValue, ListedModel
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.query.filters import All, Any, Comparison, Filter, Scalar

__all__ = ["Described", "matches", "text_matches"]

_ARTIFACTS: Final = "artifacts"
_NEGATIVE: Final = frozenset({"!=", "NOT IN"})
_COMPARE: Final[Mapping[str, Callable[[float | str, float | str], bool]]] = {
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}


class Described(Protocol):
    """What filters compare: members by name, and custom properties."""

    @property
    def properties(self) -> Mapping[str, Property]:
        """The custom properties."""

    def field(self, name: str) -> FieldValue | None:
        """The value of a member."""


def matches(tree: Filter | None, item: Described) -> bool:
    """Whether an item meets a filter. A name as ``artifacts.x`` means any artifact of a model."""
    match tree:
        case None:
            return True
        case All(parts):
            return all(matches(part, item) for part in parts)
        case Any(parts):
            return any(matches(part, item) for part in parts)
        case Comparison(path=path) if path[0] == _ARTIFACTS and len(path) > 1 and isinstance(item, ListedModel):
            inner = Comparison(path[1:], tree.operator, tree.values, tree.type)
            return any(_holds(inner, artifact) for artifact in item.artifacts)
        case Comparison():
            return _holds(tree, item)


def text_matches(pattern: str, text: str, *, any_case: bool) -> bool:
    """LIKE: ``%`` is any text, ``_`` any character, and a backslash makes the next character literal.

    The time grows with the length of text and pattern only: each part between two ``%`` is searched once.
    """
    if any_case:
        pattern, text = pattern.lower(), text.lower()
    parts = _parts(pattern)
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first.fullmatch(text) is not None
    start = first.match(text)
    if start is None:
        return False
    at = start.end()
    for part in parts[1:-1]:
        found = part.search(text, at)
        if found is None:
            return False
        at = found.end()
    end = len(text) - _width(last)
    return end >= at and last.fullmatch(text, end) is not None


@lru_cache(maxsize=256)
def _parts(pattern: str) -> Sequence[re.Pattern[str]]:
    """The parts between the ``%`` of a pattern, each of a fixed width."""
    parts: list[list[str]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            parts.append([])
        elif character == "_":
            parts[-1].append(".")
        else:
            parts[-1].append(re.escape(next(characters, "\\") if character == "\\" else character))
    return [re.compile("".join(part), re.DOTALL) for part in parts]


@lru_cache(maxsize=1_024)
def _width(part: re.Pattern[str]) -> int:
    return len(re.sub(r"\\(.)", r"\1", part.pattern, flags=re.DOTALL))


def _holds(tree: Comparison, item: Described) -> bool:
    return any(_compared(tree, value) for value in _values(tree, item))


def _values(tree: Comparison, item: Described) -> Iterator[FieldValue]:
    """The member of the name, or the custom property of the name and type."""
    name = ".".join(tree.path)
    member = item.field(name)
    if member is not None and (tree.type is None or (tree.type == "string" and not isinstance(member, int | float))):
        yield member
        return
    kept = item.properties.get(name)
    if kept is None:
        return
    compared = tree.type or _type_of(tree.values[0])
    if kept.type == compared or (tree.type is None and compared in _NUMBERS and kept.type in _NUMBERS):
        yield kept.value


_NUMBERS: Final = frozenset({"int", "double"})


def _type_of(value: Scalar) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "double"
        case _:
            return "string"


def _compared(tree: Comparison, value: FieldValue) -> bool:
    if isinstance(value, tuple):
        if tree.operator in _NEGATIVE:
            return bool(value) and all(_compared(tree, part) for part in value)
        return any(_compared(tree, part) for part in value)
    expected = [other for other in (_alike(given, value) for given in tree.values) if other is not None]
    match tree.operator:
        case "=" | "IN":
            return value in expected
        case "!=":
            return bool(expected) and value not in expected
        case "NOT IN":
            return value not in expected
        case "LIKE" | "ILIKE":
            return isinstance(value, str) and text_matches(
                str(tree.values[0]), value, any_case=tree.operator == "ILIKE"
            )
        case operator:
            return bool(expected) and _COMPARE[operator](value, expected[0])


def _alike(given: Scalar, value: Scalar) -> Scalar | None:
    """The given value in the type of the value that it is compared with; None where it has no such form."""
    if isinstance(value, str):
        return str(given).lower() if isinstance(given, bool) else str(given)
    if isinstance(value, bool):
        return given if isinstance(given, bool) else None
    if isinstance(given, bool):
        return None
    if isinstance(given, str):
        try:
            return int(given) if len(given) < 20 and given.lstrip("-").isdecimal() else float(given)
        except ValueError:
            return None
    return given
