"""A walk over an ONNX model that reads its graph and steps over its tensors' data.

The walk asks for ranges of the object (`Want`) and is fed their bytes, so gigabytes of weights cost a few requests. It
checks the wire format of every message that protobuf's own parser would check, and what each tensor says of itself.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from gatehouse.domain.onnx_facts import DOMAIN, OP_TYPE, Message, OnnxFacts, OnnxGraph, OnnxTypeTotal, refusal
from gatehouse.domain.onnx_schema import MESSAGES

__all__ = ["MAX_OBJECT", "OnnxGraph", "OnnxScan", "OnnxTypeTotal", "Want"]

MAX_OBJECT = (1 << 31) - 1
"""The longest message of protobuf. Larger models keep their weights in files beside the model."""

MAX_READ = 512 * 1024 * 1024
MAX_REQUESTS = 20_000
MAX_FIELDS = 1_000_000
_MAX_DEPTH = 100
_LONGEST_HEAD = 20
_MAX_KEPT = 4096
_SHORT_WINDOW = 16 * 1024
_LONG_WINDOW = 1024 * 1024
_VARINT, _I64, _LENGTH, _I32 = 0, 1, 2, 5
_DIMS, _RAW_DATA = 1, 9

_KEPT_NUMBERS = {("ModelProto", 1), ("OperatorSetIdProto", 2), ("TensorProto", 2), ("TensorProto", 14)}
_KEPT_TEXTS = {
    ("NodeProto", OP_TYPE),
    ("NodeProto", DOMAIN),
    ("OperatorSetIdProto", 1),
    ("StringStringEntryProto", 1),
    ("StringStringEntryProto", 2),
}


@dataclass(frozen=True, slots=True)
class Want:
    """The next bytes that the walk needs."""

    offset: int
    length: int


class OnnxScan:
    """One walk. Call `step` first without data, then with the bytes wanted (or the first of them), until it returns
    the graph.

    `step` raises FormatError with the rules WireInvalid, TooDeep, TooScattered, TooManyFields, TensorInvalid,
    ExternalDataInvalid, HostileName, NoGraph; the constructor with ObjectTooLarge.
    """

    def __init__(self, object_size: int) -> None:
        if object_size > MAX_OBJECT:
            raise refusal(
                "ObjectTooLarge", f"a model of {object_size} bytes", f"at most {MAX_OBJECT}, protobuf's limit"
            )
        self._window = _Window(object_size)
        self._facts = OnnxFacts()
        self._stack = [Message("ModelProto", 0, object_size)]
        self._walk = self._messages()

    def step(self, data: bytes | None = None) -> Want | OnnxGraph:
        """Go on until bytes are missing or the model ends."""
        try:
            return next(self._walk) if data is None else self._walk.send(data)
        except StopIteration as finished:
            graph: OnnxGraph = finished.value
            return graph

    def _messages(self) -> Generator[Want, bytes, OnnxGraph]:
        window = self._window
        position = fields = 0
        while self._stack:
            message = self._stack[-1]
            if position == message.end:
                self._stack.pop()
                self._facts.close(message, self._stack[-1] if self._stack else None)
                continue
            fields += 1
            if fields > MAX_FIELDS:
                raise refusal("TooManyFields", f"more than {MAX_FIELDS} fields", "a smaller graph")
            while not window.holds(position, _LONGEST_HEAD):
                window.fill((yield window.want(position)))
            tag, position = window.varint(position, message.end)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise refusal("WireInvalid", f"field {number} before byte {position}", "a field from 1 to 2^29 - 1")
            if wire == _VARINT:
                value, position = window.varint(position, message.end)
                _keep_number(message, number, value)
                continue
            length, position = window.length(wire, position, message.end)
            if wire == _LENGTH and self._opens(message, number, position + length):
                continue
            if wire == _LENGTH and _wants_content(message, number, length):
                while not window.holds(position, length):
                    window.fill((yield window.want(position)))
                _keep_content(message, number, window, position, length)
            position += length
        return self._facts.graph()

    def _opens(self, parent: Message, number: int, end: int) -> bool:
        kind = MESSAGES.get(parent.kind, {}).get(number)
        if kind is None:
            return False
        if len(self._stack) > _MAX_DEPTH:
            raise refusal("TooDeep", f"more than {_MAX_DEPTH} nested messages", "as deep as protobuf reads")
        self._stack.append(Message(kind, number, end))
        return True


def _keep_number(message: Message, number: int, value: int) -> None:
    if (message.kind, number) in _KEPT_NUMBERS:
        message.numbers[number] = value
    elif message.kind == "TensorProto" and number == _DIMS:
        message.multiply(value)


def _wants_content(message: Message, number: int, length: int) -> bool:
    if message.kind == "TensorProto" and number == _RAW_DATA:
        message.raw_bytes = length
    wanted = (message.kind, number) in _KEPT_TEXTS or (message.kind == "TensorProto" and number == _DIMS)
    if wanted and length > _MAX_KEPT and message.kind != "StringStringEntryProto":
        raise refusal("WireInvalid", f"{length} bytes in field {number} of {message.kind}", f"at most {_MAX_KEPT}")
    return wanted and length <= _MAX_KEPT


def _keep_content(message: Message, number: int, window: _Window, position: int, length: int) -> None:
    if message.kind != "TensorProto":
        message.texts[number] = window.bytes(position, length)
        return
    end = position + length
    while position < end:
        dimension, position = window.varint(position, end)
        message.multiply(dimension)


class _Window:
    """The part of the object in hand; the next one is longer while reading goes straight on, short after a leap."""

    def __init__(self, object_size: int) -> None:
        self._size = object_size
        self._start = 0
        self._data = b""
        self._length = _SHORT_WINDOW
        self._read = 0
        self._requests = 0

    def holds(self, position: int, length: int) -> bool:
        return self._start <= position and min(position + length, self._size) <= self._start + len(self._data)

    def want(self, position: int) -> Want:
        """Ask for the bytes from `position` on, which becomes the start of the window."""
        end = self._start + len(self._data)
        straight_on = position - end < 4 * self._length
        self._length = min(2 * self._length, _LONG_WINDOW) if straight_on else _SHORT_WINDOW
        self._data = self._data[position - self._start :] if position < end else b""
        self._start = position
        offset = position + len(self._data)
        wanted = Want(offset, min(self._length, self._size - offset))
        self._read += wanted.length
        self._requests += 1
        if self._read > MAX_READ or self._requests > MAX_REQUESTS:
            found = f"{self._read} bytes and {self._requests} requests for the graph alone"
            raise refusal("TooScattered", found, f"at most {MAX_READ} bytes and {MAX_REQUESTS} requests")
        return wanted

    def fill(self, data: bytes) -> None:
        self._data += data

    def bytes(self, position: int, length: int) -> bytes:
        return self._data[position - self._start :][:length]

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Return the number at `position` and where the next field begins; `end` is the end of its message."""
        value = shift = 0
        while position < end and shift < 70:
            byte = self._data[position - self._start]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & ((1 << 64) - 1), position
            shift += 7
        raise refusal("WireInvalid", f"a number that does not end before byte {position}", "at most 10 bytes")

    def length(self, wire: int, position: int, end: int) -> tuple[int, int]:
        """Return the length of a field that is no varint and where its content begins."""
        if wire == _LENGTH:
            length, position = self.varint(position, end)
        elif wire in (_I64, _I32):
            length = 8 if wire == _I64 else 4
        else:
            raise refusal("WireInvalid", f"wire type {wire} before byte {position}", "0, 1, 2 or 5")
        if position + length > end:
            raise refusal("WireInvalid", f"a field of {length} bytes at byte {position}", f"an end by byte {end}")
        return length, position
