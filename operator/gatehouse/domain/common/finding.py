"""The one form in which Gatehouse says why something is not as it must be."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found: a stable ``reason`` in CamelCase, what was found, what is expected, and what to do.

    ``remedy`` is empty where nothing has to be done.
    """

    reason: str
    found: str
    expected: str
    remedy: str = ""
