"""The tensors of each shard, in eight bytes for each name: all that remains of the headers until the index is read.

A mark is a keyed hash of a tensor's name. The key is random for each artifact, so that no one can choose two names with
one mark.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gatehouse.domain.common.format_error import FormatError, shown

__all__ = ["KEY_BYTES", "MAX_MARKS", "Marks", "check_once", "has_mark"]

KEY_BYTES = 16
MAX_MARKS = 400_000
"""The most tensors of one artifact."""
_MARK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of some names, as base64 text."""

    text: str = ""

    @classmethod
    def of(cls, names: Iterable[str], *, key: bytes) -> Marks:
        """The marks of ``names``."""
        return cls(base64.b64encode(b"".join(sorted(_mark(name, key) for name in names))).decode())

    def __len__(self) -> int:
        return len(self.text) * 3 // 4 // _MARK_BYTES

    def all(self) -> Iterable[bytes]:
        """Each of the marks."""
        packed = base64.b64decode(self.text)
        return (packed[start : start + _MARK_BYTES] for start in range(0, len(packed), _MARK_BYTES))


def _mark(name: str, key: bytes) -> bytes:
    return hashlib.blake2b(name.encode(), key=key, digest_size=_MARK_BYTES).digest()


def has_mark(name: str, marks: Collection[bytes], *, key: bytes) -> bool:
    """Whether the mark of ``name`` is among ``marks``."""
    return _mark(name, key) in marks


def check_once(shards: Mapping[str, Marks], *, key: bytes, remedy: str, named: Iterable[str] = ()) -> None:
    """Check that no tensor is in two shards. ``named`` are names of tensors for the error message.

    Raises FormatError with the rule DuplicateTensor.
    """
    seen: set[bytes] = set()
    for path, marks in sorted(shards.items()):
        for mark in marks.all():
            if mark in seen:
                name = next((f" {shown(name)}" for name in named if _mark(name, key) == mark), "")
                raise FormatError(
                    "DuplicateTensor",
                    f"the tensor{name} of {shown(path)} in another shard too",
                    "each tensor once",
                    remedy,
                )
            seen.add(mark)
