"""The tensors of each shard, in eight bytes for each name: all that remains of the headers until the index is read.

A mark is a keyed hash of a tensor's name. The key is random for each artifact, so that nobody can choose two names with
one mark.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.formats.safetensors import ShardIndex

__all__ = ["KEY_BYTES", "MAX_MARKS", "Marks", "check_index", "check_once"]

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


def check_index(index: ShardIndex, shards: Mapping[str, Marks], *, key: bytes) -> None:
    """Check that every tensor of the index is in the shard that the index names. ``shards`` has the marks of each
    shard.

    Raises FormatError with the rule TensorMissing.
    """
    placed: dict[str, list[str]] = {}
    for tensor, shard in index.weight_map.items():
        placed.setdefault(shard, []).append(tensor)
    absent: list[str] = []
    for shard, tensors in placed.items():
        there = frozenset(shards[shard].all())
        absent += (tensor for tensor in tensors if _mark(tensor, key) not in there)
    if absent:
        raise _refusal(
            "TensorMissing",
            f"{len(absent)} tensors not in the shard the index names, {shown(absent[0])} among them",
            f"{shown(absent[0])} in {shown(index.weight_map[absent[0]])}",
        )


def check_once(shards: Mapping[str, Marks], *, key: bytes, named: Iterable[str] = ()) -> None:
    """Check that no tensor is in two shards. ``named`` are names of tensors for the error message.

    Raises FormatError with the rule DuplicateTensor.
    """
    seen: set[bytes] = set()
    for path, marks in sorted(shards.items()):
        for mark in marks.all():
            if mark in seen:
                name = next((f" {shown(name)}" for name in named if _mark(name, key) == mark), "")
                raise _refusal(
                    "DuplicateTensor", f"the tensor{name} of {shown(path)} in another shard too", "each tensor once"
                )
            seen.add(mark)


def _refusal(rule: str, found: str, wanted: str) -> FormatError:
    return FormatError(rule, found, wanted, "Write the model again with safetensors and upload every file whole.")
