"""How large objects are sent in parts, and what a store states about an object. Pure.

The place of a part depends on the object's size alone. A later run therefore cuts a file like the run before, and can
recognise its parts. Stores allow 10,000 parts for each object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "COPY_BYTES",
    "MAX_OBJECT_BYTES",
    "PART_BYTES",
    "SINGLE_BYTES",
    "Part",
    "StoredPart",
    "StoredSum",
    "composite_sha256",
    "part_size",
    "parts_of",
]

PART_BYTES: Final = 32 * 1024 * 1024
SINGLE_BYTES: Final = 64 * 1024 * 1024
"""Objects up to this size are sent in one request: sending one again costs less than listing its parts."""
COPY_BYTES: Final = 5 * 1024**3
"""The largest object that a store copies in one request."""
MAX_OBJECT_BYTES: Final = 5 * 1024**4
_MAX_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of an object to be sent; ``number`` counts from 1, ``start`` and ``size`` are bytes."""

    number: int
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """One part that the store has; ``sha256`` is lower-case hex, None where the store does not report it."""

    number: int
    size: int
    etag: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSum:
    """The store's statement about an object: size in bytes, ETag, and its SHA-256 in hex.

    ``sha256`` is the SHA-256 of the whole object. ``composite`` is the SHA-256 of the concatenated SHA-256 values of
    its parts. At most one of them is known.
    """

    size: int
    etag: str
    sha256: str | None
    composite: str | None


def part_size(size: int) -> int:
    """Bytes of each part but the last of an object of ``size`` bytes: the least sufficient multiple of 32 MiB."""
    return PART_BYTES * max(1, -(-size // (PART_BYTES * _MAX_PARTS)))


def parts_of(size: int) -> tuple[Part, ...]:
    """The parts of an object of ``size`` bytes."""
    step = part_size(size)
    return tuple(
        Part(number=number, start=start, size=min(step, size - start))
        for number, start in enumerate(range(0, size, step), 1)
    )


def composite_sha256(parts: Sequence[str]) -> str:
    """Hex SHA-256 of the parts' SHA-256 (hex) one after the other: stores keep this sum for an object sent in parts."""
    return hashlib.sha256(b"".join(bytes.fromhex(part) for part in parts)).hexdigest()
