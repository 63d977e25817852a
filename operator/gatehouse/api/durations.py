"""Durations on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

__all__ = ["Duration"]

Duration = Annotated[
    str,
    StringConstraints(max_length=16, pattern=r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$", min_length=2),
]
"""A Go duration in whole hours, minutes and seconds, as in 1h30m."""
