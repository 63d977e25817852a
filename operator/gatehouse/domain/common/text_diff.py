"""Compares two small untrusted files, as lines for people. All pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Final

from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.format_error import FormatError

__all__ = ["MOST_LINES", "readable", "unified"]

MOST_LINES: Final = 10_000
"""Lines of one text that are compared: the time grows with their square in the worst case."""
MOST_SHOWN: Final = 500
LONGEST_LINE: Final = 2_000

_TEMPLATE: Final = "chat_template"
_MAX_BYTES: Final = 4 * 1024 * 1024


def readable(path: str, data: bytes) -> Mapping[str, str]:
    """The texts in a file by their names: JSON with one member per line, and its chat template by its own lines.

    Other files are taken as they are; bytes that are no UTF-8 are replaced.
    """
    if not path.endswith(".json"):
        return {path: data.decode("utf-8", "replace")}
    try:
        value = bounded_json.loads(data, what=path, max_bytes=_MAX_BYTES)
    except FormatError:
        return {path: data.decode("utf-8", "replace")}
    texts: dict[str, str] = {}
    if isinstance(value, dict) and isinstance(template := value.get(_TEMPLATE), str):
        value = {**value, _TEMPLATE: f"(see {path}: {_TEMPLATE})"}
        texts[f"{path}: {_TEMPLATE}"] = template
    return {path: json.dumps(value, indent=2, ensure_ascii=False), **texts}


def unified(a: Mapping[str, str], b: Mapping[str, str], *, names: tuple[str, str]) -> Iterator[str]:
    """A unified diff of the texts, safe for a terminal; empty when they are equal. ``names`` are the versions'."""
    for label in dict.fromkeys((*a, *b)):
        before, after = (side.get(label, "").split("\n") if label in side else [] for side in (a, b))
        if before == after:
            continue
        if max(len(before), len(after)) > MOST_LINES:
            yield f"{label}: {len(before)} and {len(after)} lines, too many to compare; expected: at most {MOST_LINES}"
            continue
        lines = difflib.unified_diff(
            [_safe(line) for line in before],
            [_safe(line) for line in after],
            fromfile=f"{names[0]}/{label}",
            tofile=f"{names[1]}/{label}",
            lineterm="",
        )
        yield from _bounded(lines)


def _bounded(lines: Iterator[str]) -> Iterator[str]:
    more = 0
    for number, line in enumerate(lines):
        if number < MOST_SHOWN:
            yield line
        else:
            more += 1
    if more:
        yield f"... and {more} more lines"


def _safe(line: str) -> str:
    """Escapes characters that move a cursor or hide text, such as carriage returns."""
    kept = line[:LONGEST_LINE] + ("..." if len(line) > LONGEST_LINE else "")
    return "".join(each if each.isprintable() or each == "\t" else ascii(each)[1:-1] for each in kept)
