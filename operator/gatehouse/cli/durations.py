"""Durations on the command line, as kubectl takes them."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from gatehouse.domain.access import duration

__all__ = ["TimeoutOption", "seconds"]

_SECONDS: Final = re.compile(r"[0-9]{1,7}")
_GO: Final = re.compile(r"(?=[0-9])([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?")


def seconds(text: str | float) -> float:
    """Seconds of ``90``, ``90s``, ``5m`` or ``1h30m``. Raises typer.BadParameter."""
    if isinstance(text, float | int):
        return float(text)
    if _SECONDS.fullmatch(text):
        return float(text)
    if not _GO.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is no duration; wanted: seconds, or as in 90s, 5m or 1h30m")
    return duration(text).total_seconds()


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        parser=seconds,
        show_default=False,
        help="How long to wait, as in 90s or 1h30m; 5m when absent.",
    ),
]
