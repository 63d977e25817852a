"""The rows of ``gatehouse fit`` as an SVG picture of the memory of one accelerator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from gatehouse.domain.common.text import one_line

if TYPE_CHECKING:
    from gatehouse.domain.hardware.scenarios import Scenario

__all__ = ["picture"]

_GIB: Final = 2**30
_LABELS: Final = 400
_BAR: Final = 560
_VERDICTS: Final = 150
_ROW: Final = 34
_THICK: Final = 20
_TOP: Final = 88
_OVER: Final = 1.25
"""The longest bar, as a multiple of the memory of the largest accelerator."""


class _Part(NamedTuple):
    name: str
    colour: str
    bytes: int


_COLOURS: Final = {
    "weights": "#33658a",
    "overhead": "#f6ae2d",
    "CUDA graphs": "#c98b00",
    "cache of one sequence": "#55a630",
    "free, for the cache of other sequences": "#d8e8cf",
}
_VERDICT_COLOURS: Final = {"Fits": "#2b7a0b", "Tight": "#a15c00", "DoesNotFit": "#b3261e", "Unknown": "#5f6368"}


def picture(rows: Sequence[Scenario], *, title: str) -> str:
    """An SVG document with one bar for each row. All bars have one scale of memory."""
    width, height = _LABELS + _BAR + _VERDICTS, _TOP + _ROW * len(rows) + 16
    most = max((row.found.usable_bytes or 0 for row in rows), default=0) or _GIB
    longest = max((_taken(row) for row in rows), default=0)
    scale = _BAR / min(max(most, longest), most * _OVER)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(_plain(title))}',
        '  font-family="sans-serif" font-size="13">',
        f"<title>{_text(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="16" font-weight="bold">{_text(title)}</text>',
        *_legend(),
        *(line for number, row in enumerate(rows) for line in _bar(row, y=_TOP + number * _ROW, scale=scale)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend() -> Iterator[str]:
    x = 12
    for name, colour in _COLOURS.items():
        yield f'<rect x="{x}" y="42" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 18}" y="53">{_text(name)}</text>'
        x += 42 + 7 * len(name)
    yield f'<text x="{_LABELS}" y="76" fill="#5f6368">GiB of each accelerator; the line shows what vLLM may use</text>'


def _parts(row: Scenario) -> Sequence[_Part]:
    found = row.found
    sizes = (found.weights_bytes, found.overhead_bytes, found.graph_bytes[1], row.cache_bytes, row.free_bytes)
    named = zip(_COLOURS.items(), sizes, strict=True)
    return [_Part(name, colour, size) for (name, colour), size in named if size is not None and size > 0]


def _taken(row: Scenario) -> int:
    return sum(part.bytes for part in _parts(row))


def _bar(row: Scenario, *, y: int, scale: float) -> Iterator[str]:
    found, end = row.found, _LABELS + _BAR
    machine = row.machine.name if row.size == 1 else f"{row.size} x {row.machine.name}"
    tokens = row.requested or found.kv_cache_tokens or found.max_model_len
    none = "length unknown" if found.verdict == "Unknown" else "no length"
    details = f"{tokens:,} tokens" if tokens else none
    if found.sequences is not None:
        details += f", {found.sequences:,} at once"
    baseline = y + 15
    yield f'<text x="12" y="{baseline}">{_text(_short(machine, 24))}</text>'
    yield f'<text x="{_LABELS - 12}" y="{baseline}" text-anchor="end" fill="#5f6368">{_text(details)}</text>'
    x = float(_LABELS)
    for part in _parts(row):
        length = min(part.bytes * scale, end - x)
        if length <= 0:
            break
        said = f"{part.name}: {part.bytes / _GIB:.2f} GiB"
        yield (
            f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{_THICK}" fill="{part.colour}">'
            f"<title>{_text(said)}</title></rect>"
        )
        x += length
    if found.usable_bytes is not None:
        at = min(_LABELS + found.usable_bytes * scale, end)
        ends = f'x1="{at:.1f}" y1="{y - 4}" x2="{at:.1f}" y2="{y + _THICK + 4}"'
        yield f'<line {ends} stroke="#000000" stroke-width="2"/>'
    colour = _VERDICT_COLOURS[found.verdict]
    usable = "" if found.usable_bytes is None else f", {found.usable_bytes / _GIB:.0f} GiB"
    yield f'<text x="{end + 12}" y="{baseline}" fill="{colour}">{found.verdict}{usable}</text>'


def _plain(text: str) -> str:
    return _short(one_line(text), 120)


def _text(text: str) -> str:
    return escape(_plain(text))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
