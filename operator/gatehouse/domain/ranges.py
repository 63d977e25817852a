"""A sorted map is cut into ranges of its keys, so that no piece is larger than what can be stored in one object.

As with the tablets of Bigtable: each range knows its bounds and nothing of the others, a range that grows too large is
cut by itself, and neighbours are put together when both have become small.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

__all__ = ["WHOLE", "Range", "covers", "cut"]

FILL: Final = 0.75
"""Of the limit: how full the pieces are of a range that is cut, at most."""
JOIN: Final = 0.5
"""Of the limit: what neighbours hold together that are put together. Cut ones hold more, so nothing goes to and fro."""


class Range(NamedTuple):
    """From ``start`` up to and without ``end``, by code points, as in UTF-8; an empty ``end`` is none."""

    start: str = ""
    end: str = ""

    def has(self, text: str) -> bool:
        """Whether it is within."""
        return self.start <= text and (not self.end or text < self.end)


WHOLE: Final = Range()


def covers(ranges: Iterable[Range]) -> bool:
    """Whether every text is in one of them, or in several."""
    reached = ""
    for each in sorted(ranges):
        if each.start > reached:
            return False
        if not each.end:
            return True
        reached = max(reached, each.end)
    return False


def cut(sizes: Mapping[str, int], *, bounds: Iterable[str], limit: int) -> tuple[Range, ...]:
    """Ranges that cover everything and do not overlap, each with at most ``limit`` of what ``sizes`` says of its texts.

    Only a text that is larger by itself has a range above the limit. ``bounds`` are those of the ranges that are there:
    they are kept where they can be. What this returns, it returns again when it is given its own bounds.
    """
    starts: list[str] = []
    held: list[int] = []
    for start, size in _pieces(sizes, bounds=bounds, limit=limit):
        if held and held[-1] + size <= limit * JOIN:
            held[-1] += size
        else:
            starts.append(start)
            held.append(size)
    return tuple(map(Range, starts, [*starts[1:], ""]))


def _pieces(sizes: Mapping[str, int], *, bounds: Iterable[str], limit: int) -> Iterator[tuple[str, int]]:
    """Start and size of each range of ``bounds``, those that are too large cut."""
    starts = sorted({"", *bounds})
    texts = sorted(sizes)
    at = 0
    for start, end in zip(starts, [*starts[1:], ""], strict=True):
        first = at
        while at < len(texts) and (not end or texts[at] < end):
            at += 1
        yield from _evenly(start, [(text, sizes[text]) for text in texts[first:at]], limit=limit)


def _evenly(start: str, texts: list[tuple[str, int]], *, limit: int) -> Iterator[tuple[str, int]]:
    total = sum(size for _, size in texts)
    share = math.inf if total <= limit else total / math.ceil(total / (limit * FILL))
    seen = held = 0
    for text, size in texts:
        if held and (held + size > limit or seen // share > (seen - held) // share):
            yield start, held
            start, held = text, 0
        seen += size
        held += size
    yield start, held
