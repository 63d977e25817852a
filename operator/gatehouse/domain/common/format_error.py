"""The one exception that every file format and manifest in this package raises."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gatehouse.domain.common.finding import Finding

__all__ = ["FormatError", "listed", "shown"]

_SHOWN_CHARS = 200
_LISTED = 3


def _bounded_repr() -> reprlib.Repr:
    limits = reprlib.Repr()
    limits.maxstring = limits.maxother = _SHOWN_CHARS - 40
    limits.maxlong = 60
    limits.maxlevel = 3
    return limits


_REPR = _bounded_repr()


def shown(value: object) -> str:
    """Return `value` for people: escaped as `repr` does, at most 200 characters."""
    text = _REPR.repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def listed(texts: Sequence[str]) -> str:
    """The first three of the texts for people, and how many more there are."""
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(shown(text) for text in texts[:_LISTED]) + more


class FormatError(ValueError):
    """Bytes or names that violate their format.

    Positional arguments, so that the error survives pickling between processes.
    """

    def __init__(self, reason: str, found: str, expected: str, remedy: str) -> None:
        """`reason` is a short stable CamelCase code; the other three are sentences or parts of one."""
        super().__init__(reason, found, expected, remedy)
        self.finding: Final = Finding(reason=reason, found=found, expected=expected, remedy=remedy)

    def in_file(self, path: str) -> Finding:
        """The finding, for the file at ``path`` of an artifact."""
        return replace(self.finding, found=f"{shown(path)}: {self.finding.found}")

    def __str__(self) -> str:
        finding = self.finding
        return f"{finding.reason}: found {finding.found}; expected {finding.expected}. {finding.remedy}"
