"""Frames between the operator and its worker: a small JSON object and bytes, preceded by the length of each.

No code here creates objects that the other side chooses. The head is bounded JSON, and the users of its members check
them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["HEAD", "LONGEST_ANSWER", "FrameError", "frame", "head_of", "lengths"]

HEAD: Final = struct.Struct(">II")
_LONGEST_OBJECT: Final = 65_536
LONGEST_ANSWER: Final = 16 * 1024 * 1024
"""The most bytes of one answer that the operator accepts from a worker."""


class FrameError(Exception):
    """The other side violates the protocol."""


def frame(head: Mapping[str, Any], data: bytes = b"") -> tuple[bytes, bytes]:
    """The two parts of a frame, to be written one after the other."""
    text = json.dumps(head).encode()
    return HEAD.pack(len(text), len(data)) + text, data


def lengths(head: bytes, *, longest: int) -> tuple[int, int]:
    """The lengths of the two parts that follow. Raises FrameError for a part that is too long."""
    text, data = HEAD.unpack(head)
    if text > _LONGEST_OBJECT or data > longest:
        raise FrameError(f"a frame of {text} and {data} bytes")
    return int(text), int(data)


def head_of(text: bytes) -> dict[str, Any]:
    """The object of a frame. Raises FrameError."""
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame that is no JSON") from error
    if not isinstance(head, dict):
        raise FrameError("a frame that is no object")
    return head
