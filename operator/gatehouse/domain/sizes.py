"""Sizes for people."""

from __future__ import annotations

from typing import Final

__all__ = ["human_bytes"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(count: int) -> str:
    """A number of bytes in the largest binary unit that leaves at least one, as in ``7.8 GiB``."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes everything")
