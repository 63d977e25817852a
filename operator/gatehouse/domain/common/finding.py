"""The one form in which Gatehouse reports that a rule does not hold."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding: a stable ``reason`` in CamelCase, what was found, what is expected, and what to do.

    ``remedy`` is empty where no action is needed.
    """

    reason: str
    found: str
    expected: str
    remedy: str = ""
