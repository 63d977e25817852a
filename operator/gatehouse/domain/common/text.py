"""Text for people: terminal-safe, and sizes with units.

Names, messages and reasons in an object, a file or a row may hold any text. A control character moves the cursor, sets
the title or types for the reader; a bidirectional override lets a line read as another; a character without width hides
a difference. Each is replaced by its escape, as Python writes it.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["escaped_json", "human_bytes", "is_plain", "one_line", "plain_lines"]

_BLANK: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\U000e0100-\U000e01ef]")
"""Letters and marks that are invisible. Variation selectors of the base plane stay: they only choose a glyph."""
_SPACES: Final = "\u00a0\u3000"
"""Python calls them not printable; they are harmless spaces of other widths."""
_SHORT: Final = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}


def is_plain(text: str) -> bool:
    """Whether the text has nothing to escape except ends of lines."""
    return _is_one_line(text.replace("\n", ""))


def one_line(text: str) -> str:
    """The text as a part of one line: ends of lines are escaped as well, so that the text cannot forge another line."""
    return text if _is_one_line(text) else "".join(char if _is_one_line(char) else _escape(char) for char in text)


def plain_lines(text: str) -> str:
    """The text with its lines and its tabs."""
    if is_plain(text):
        return text
    return "\n".join(one_line(line.expandtabs(4).removesuffix("\r")) for line in text.split("\n"))


def escaped_json(text: str) -> str:
    """JSON in which characters that a terminal could take for a command are JSON escapes: the same data.

    Outside of its strings, JSON has no such character.
    """
    if is_plain(text):
        return text
    return "".join(char if is_plain(char) else _json_escape(char) for char in text)


def _is_one_line(text: str) -> bool:
    for space in _SPACES:
        text = text.replace(space, "")
    return text.isprintable() and _BLANK.search(text) is None


def _escape(char: str) -> str:
    number = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(count: int) -> str:
    """A number of bytes in the largest binary unit with a value of at least one, as in ``7.8 GiB``."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes everything")
