"""How often the processes that serve collect garbage."""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["collect_rarely"]

_THRESHOLD: Final = 10_000
"""New objects between two garbage collections. Python's 700 suits small programs."""


def collect_rarely() -> None:
    """Collects after as many new objects as one list or one burst of reconciles makes."""
    gc.set_threshold(_THRESHOLD)
