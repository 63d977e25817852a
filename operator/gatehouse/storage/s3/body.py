"""What a request sends: bytes that can be read once more for each attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

__all__ = ["Body", "BodyError"]


class BodyError(Exception):
    """The bytes to send cannot be read: the request is not retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """``size`` bytes with the hex ``sha256``; ``read`` gives them from the start, anew for each attempt.

    ``read`` may raise BodyError and OSError, which the request then raises.
    """

    size: int
    sha256: str
    read: Callable[[], AsyncIterator[bytes]]
