"""Little-endian fields of a GGUF header, read from a prefix of the object and bounded by its size."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TypeAlias

from gatehouse.domain.format_error import FormatError, shown

__all__ = ["MAX_HEADER", "SCALARS", "Cursor", "MoreError", "Scalar", "refusal"]

MAX_HEADER = 33_554_432
_KEPT_STRING_BYTES = 1024

Scalar: TypeAlias = bool | int | float

SCALARS: Mapping[int, struct.Struct] = {
    number: struct.Struct("<" + code)
    for number, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class MoreError(Exception):
    """The prefix ends before the field does."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class Cursor:
    """Reads little-endian fields; raises MoreError where the prefix ends and FormatError where the object does."""

    def __init__(self, prefix: bytes, object_size: int) -> None:
        self._prefix = prefix
        self._object_size = object_size
        self.position = 0

    def skip(self, length: int) -> int:
        """Step over `length` bytes and return where they begin."""
        start, end = self.position, self.position + length
        if end > self._object_size:
            raise refusal("HeaderTruncated", f"an object of {self._object_size} bytes", f"{end} for its header alone")
        if end > MAX_HEADER:
            raise refusal("HeaderTooLarge", f"a header of at least {end} bytes", f"at most {MAX_HEADER}")
        if end > len(self._prefix):
            raise MoreError(end)
        self.position = end
        return start

    def take(self, length: int) -> bytes:
        start = self.skip(length)
        return self._prefix[start : start + length]

    def u32(self) -> int:
        return int(_U32.unpack_from(self._prefix, self.skip(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack_from(self._prefix, self.skip(8))[0])

    def scalar(self, kind: int) -> Scalar:
        layout = SCALARS[kind]
        value: Scalar = layout.unpack_from(self._prefix, self.skip(layout.size))[0]
        return value

    def name(self, *, what: str, most: int) -> str:
        length = self.u64()
        if length > most:
            raise refusal("MetadataInvalid", f"{what} of {length} bytes", f"at most {most}")
        return self._text(length, what=what)

    def text(self, *, what: str) -> str | None:
        """Return a string, or None for one too long to be worth keeping."""
        length = self.u64()
        if length > _KEPT_STRING_BYTES:
            self.skip(length)
            return None
        return self._text(length, what=what)

    def _text(self, length: int, *, what: str) -> str:
        raw = self.take(length)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise refusal("MetadataInvalid", f"{shown(raw)} as {what}", "valid UTF-8") from None

    def skip_strings(self, count: int) -> None:
        self.require(count * _U64.size)
        prefix, end, last = self._prefix, self.position, len(self._prefix) - _U64.size
        for _ in range(count):
            if end > last:
                end += _U64.size
                break
            end += _U64.size + _U64.unpack_from(prefix, end)[0]
        self.skip(end - self.position)

    def require(self, length: int) -> None:
        """Refuse a field of at least `length` bytes that the object or the bound on headers cannot hold."""
        start = self.position
        try:
            self.skip(length)
        finally:
            self.position = start


def refusal(rule: str, found: str, wanted: str) -> FormatError:
    """Return the error for a file that is not what a GGUF header says."""
    return FormatError(rule, found, wanted, "Convert the model to GGUF again and upload the whole file.")
