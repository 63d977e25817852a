"""The body of a request: bytes that each attempt reads from the start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

__all__ = ["Body", "BodyError"]


class BodyError(Exception):
    """The bytes to send cannot be read; the request is not retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """``size`` bytes with the hex ``sha256``; ``read`` returns them from the start for each attempt.

    ``read`` may raise BodyError and OSError, which the request then raises.
    """

    size: int
    sha256: str
    read: Callable[[], AsyncIterator[bytes]]
