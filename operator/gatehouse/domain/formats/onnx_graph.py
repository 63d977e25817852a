"""A walk over an ONNX model that reads its graph, skips its tensors' data and names its external files.

Source: `onnx.proto` of ONNX 1.23.

Weights are initializers, or tensors that Constant nodes hold as an attribute, as paddle2onnx writes them. Both count
once each in every graph: in the model's, in branches and bodies, and in functions.

The walk asks for ranges of the object (`Want`) and receives their bytes, so gigabytes of weights cost a few requests.
It checks the wire format of every message that protobuf's own parser would check, and the fields of each tensor.

The names of external files may have any ending: a file with the name of a pickle may be plain data.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gatehouse.domain.artifact.manifest import check_path
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.formats.parsers import DtypeTotal, Want

__all__ = [
    "ELEMENT_BITS",
    "ELEMENT_TYPES",
    "MESSAGES",
    "OnnxGraph",
    "OnnxScan",
    "normalised",
]

_ENTRY = "StringStringEntryProto"

MESSAGES: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {
        7: "GraphProto",
        8: "OperatorSetIdProto",
        14: _ENTRY,
        20: "TrainingInfoProto",
        25: "FunctionProto",
        26: "DeviceConfigurationProto",
    },
    "GraphProto": {
        1: "NodeProto",
        5: "TensorProto",
        11: "ValueInfoProto",
        12: "ValueInfoProto",
        13: "ValueInfoProto",
        14: "TensorAnnotation",
        15: "SparseTensorProto",
        16: _ENTRY,
    },
    "NodeProto": {5: "AttributeProto", 9: _ENTRY, 10: "NodeDeviceConfigurationProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        14: "TypeProto",
        15: "TypeProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "TensorProto": {3: "TensorProto.Segment", 13: _ENTRY, 16: _ENTRY},
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "FunctionProto": {7: "NodeProto", 9: "OperatorSetIdProto", 11: "AttributeProto", 12: "ValueInfoProto", 14: _ENTRY},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto", 3: _ENTRY, 4: _ENTRY},
    "ValueInfoProto": {2: "TypeProto", 4: _ENTRY},
    "TensorAnnotation": {2: _ENTRY},
    "TypeProto": {
        1: "TypeProto.Tensor",
        4: "TypeProto.Sequence",
        5: "TypeProto.Map",
        7: "TypeProto.Opaque",
        8: "TypeProto.SparseTensor",
        9: "TypeProto.Optional",
    },
    "TypeProto.Tensor": {2: "TensorShapeProto"},
    "TypeProto.Sequence": {1: "TypeProto"},
    "TypeProto.Map": {2: "TypeProto"},
    "TypeProto.Optional": {1: "TypeProto"},
    "TypeProto.SparseTensor": {2: "TensorShapeProto"},
    "TensorShapeProto": {1: "TensorShapeProto.Dimension"},
    "NodeDeviceConfigurationProto": {2: "ShardingSpecProto"},
    "ShardingSpecProto": {3: "IntIntListEntryProto", 4: "ShardedDimProto"},
    "ShardedDimProto": {2: "SimpleShardedDimProto"},
}
"""The fields of each message that are messages themselves; messages without such fields are not listed."""

ELEMENT_TYPES: Mapping[int, str] = {
    1: "FLOAT",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "STRING",
    9: "BOOL",
    10: "FLOAT16",
    11: "DOUBLE",
    12: "UINT32",
    13: "UINT64",
    14: "COMPLEX64",
    15: "COMPLEX128",
    16: "BFLOAT16",
    17: "FLOAT8E4M3FN",
    18: "FLOAT8E4M3FNUZ",
    19: "FLOAT8E5M2",
    20: "FLOAT8E5M2FNUZ",
    21: "UINT4",
    22: "INT4",
    23: "FLOAT4E2M1",
    24: "FLOAT8E8M0",
    25: "UINT2",
    26: "INT2",
    27: "FLOAT6E2M3",
    28: "FLOAT6E3M2",
}
"""TensorProto.DataType by number."""

ELEMENT_BITS: Mapping[str, int] = {
    "FLOAT": 32,
    "UINT8": 8,
    "INT8": 8,
    "UINT16": 16,
    "INT16": 16,
    "INT32": 32,
    "INT64": 64,
    "BOOL": 8,
    "FLOAT16": 16,
    "DOUBLE": 64,
    "UINT32": 32,
    "UINT64": 64,
    "COMPLEX64": 64,
    "COMPLEX128": 128,
    "BFLOAT16": 16,
    "FLOAT8E4M3FN": 8,
    "FLOAT8E4M3FNUZ": 8,
    "FLOAT8E5M2": 8,
    "FLOAT8E5M2FNUZ": 8,
    "UINT4": 4,
    "INT4": 4,
    "FLOAT4E2M1": 4,
    "FLOAT8E8M0": 8,
    "UINT2": 2,
    "INT2": 2,
    "FLOAT6E2M3": 6,
    "FLOAT6E3M2": 6,
}
"""Bits of an element in `raw_data`; the last byte may be partly used. Strings have no fixed size."""


OP_TYPE: Final = 4
DOMAIN: Final = 7
"""Fields of a NodeProto."""

_I64_MAX = (1 << 63) - 1
_MAX_EXTERNAL_FILES = 10_000
_MAX_OPSETS = 1_000
_KEPT_ENTRIES = frozenset({"location", "offset", "length"})
"""The entries that locate a tensor in an external file; a message may have any number of others."""
_ANY_INITIALIZER = {("GraphProto", 5), ("SparseTensorProto", 1)}
_VALUE = ("AttributeProto", 5)
"""The one tensor of an attribute."""
_ONNX_DOMAINS = {b"", b"ai.onnx"}
_CONSTANT = b"Constant"
_CLASSICAL = b"ai.onnx.ml"
"""Trees, linear models and similar ones, whose operators have their coefficients as lists of numbers in attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """A model whose graph can be parsed.

    `opsets` is the version of each operator set by domain, the default domain being the empty string. `parameters` and
    `tensor_bytes` count the elements and bytes of initializers and of the tensors of Constant nodes, inside and outside
    the model. Both are None where the weights cannot be distinguished: where a node is of ai.onnx.ml, which has its
    weights in attributes, and where the model has no tensors. `dtypes` has both by element type, and is empty then.
    `external` has each file beside the model that holds tensors, by its normalised path, with the least size in bytes
    that it must have.
    """

    ir_version: int
    opsets: Mapping[str, int]
    nodes: int
    parameters: int | None
    tensor_bytes: int | None
    dtypes: Mapping[str, DtypeTotal]
    external: Mapping[str, int]


@dataclass(slots=True)
class Message:
    """A message that is being read: `number` is its field in its parent, `end` where it ends in the object.

    `held` sums the tensors that are attributes: at most one of an attribute, of a node by element type.
    """

    kind: str
    number: int
    end: int
    numbers: dict[int, int] = field(default_factory=dict)
    texts: dict[int, bytes] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    elements: int = 1
    raw_bytes: int | None = None
    held: dict[str, DtypeTotal] | None = None

    def multiply(self, dimension: int) -> None:
        self.elements *= dimension
        if dimension > _I64_MAX or self.elements > _I64_MAX:
            raise refusal("TensorInvalid", f"dimension {dimension} of a tensor", "0 to 2^63 - 1 elements")

    def text(self, number: int) -> str:
        raw = self.texts.get(number, b"")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise refusal("WireInvalid", f"{shown(raw)} in {self.kind}", "valid UTF-8") from None


@dataclass(slots=True)
class OnnxFacts:
    """Sums over the messages that were read to their end."""

    ir_version: int = 0
    has_graph: bool = False
    nodes: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    dtypes: dict[str, DtypeTotal] = field(default_factory=dict)
    external: dict[str, int] = field(default_factory=dict)
    is_told: bool = True

    def close(self, message: Message, parent: Message | None) -> None:
        """Add a message that has been read to the sums of its parent."""
        match message.kind:
            case "ModelProto":
                self.ir_version = message.numbers.get(1, 0)
            case "GraphProto" if parent and parent.kind == "ModelProto":
                self.has_graph = True
            case "NodeProto":
                self._node(message)
            case "AttributeProto" if parent and parent.kind == "NodeProto" and message.held:
                parent.held = _added(parent.held or {}, message.held)
            case "OperatorSetIdProto" if parent and parent.kind == "ModelProto":
                self._opset(message)
            case "StringStringEntryProto" if parent and parent.kind == "TensorProto" and message.number == 13:
                if (entry := message.text(1)) in _KEPT_ENTRIES:
                    parent.external[entry] = message.text(2)
            case "TensorProto":
                self._tensor(message, parent)

    def graph(self) -> OnnxGraph:
        """Return the graph once the model has been read to its end."""
        if not self.has_graph or not 0 < self.ir_version <= _I64_MAX or not self.opsets:
            raise refusal("NoGraph", "no graph, IR version or operator set", "an ONNX model with all three")
        told = self.dtypes if self.is_told else {}
        return OnnxGraph(
            ir_version=self.ir_version,
            opsets=dict(sorted(self.opsets.items())),
            nodes=self.nodes,
            parameters=sum(total.elements for total in told.values()) if told else None,
            tensor_bytes=sum(total.bytes for total in told.values()) if told else None,
            dtypes=dict(sorted(told.items())),
            external=dict(sorted(self.external.items())),
        )

    def _opset(self, message: Message) -> None:
        self.opsets[message.text(1)] = message.numbers.get(2, 0)
        if len(self.opsets) > _MAX_OPSETS:
            raise refusal("TooManyFields", "operator sets without end", f"at most {_MAX_OPSETS}")

    def _node(self, message: Message) -> None:
        self.nodes += 1
        domain = message.texts.get(DOMAIN, b"")
        if domain == _CLASSICAL:
            self.is_told = False
        if message.held and message.texts.get(OP_TYPE) == _CONSTANT and domain in _ONNX_DOMAINS:
            self.dtypes = _added(self.dtypes, message.held)

    def _tensor(self, message: Message, parent: Message | None) -> None:
        dtype = ELEMENT_TYPES.get(message.numbers.get(2, 0))
        if dtype is None:
            raise refusal("TensorInvalid", f"data_type {message.numbers.get(2, 0)} of a tensor", "one of 1 to 28")
        size = (message.elements * ELEMENT_BITS.get(dtype, 0) + 7) // 8
        if message.raw_bytes is not None and message.raw_bytes != size:
            data = f"{message.raw_bytes} bytes of raw data for {message.elements} elements of {dtype}"
            raise refusal("TensorInvalid", data, f"{size} bytes")
        if message.numbers.get(14) == 1:
            self._external(message.external, size)
        if parent is None:
            return
        place = (parent.kind, message.number)
        total = {dtype: DtypeTotal(message.elements, size)}
        if place in _ANY_INITIALIZER:
            self.dtypes = _added(self.dtypes, total)
        elif place == _VALUE:
            if parent.held is not None:
                raise refusal("TensorInvalid", "two tensors as one attribute", "one of them")
            parent.held = total

    def _external(self, entries: Mapping[str, str], size: int) -> None:
        location = normalised(entries.get("location", ""))
        offset = _decimal(entries.get("offset", "0"))
        length = _decimal(entries.get("length", str(size)))
        if length != size:
            raise refusal("ExternalDataInvalid", f"{length} bytes in {shown(location)}", f"{size}, as its shape says")
        self.external[location] = max(self.external.get(location, 0), offset + length)
        if len(self.external) > _MAX_EXTERNAL_FILES:
            raise refusal("ExternalDataInvalid", "files without end", f"at most {_MAX_EXTERNAL_FILES}")


def _added(sums: dict[str, DtypeTotal], more: Mapping[str, DtypeTotal]) -> dict[str, DtypeTotal]:
    """``sums`` itself, of one model or node, with ``more`` added to each element type."""
    for dtype, total in more.items():
        before = sums.get(dtype, DtypeTotal(0, 0))
        sums[dtype] = DtypeTotal(before.elements + total.elements, before.bytes + total.bytes)
    return sums


def normalised(location: str) -> str:
    """The path of external data relative to the model's folder, as ONNX derives it from the model's entry.

    ``./weights`` is ``weights``, and ``a/../b`` is ``b`` whether ``a`` exists or not. Source:
    ``resolve_external_data_location`` in ``onnx/checker.cc``.

    Raises FormatError with the rule HostileName for a path that is absolute, leads out of the folder or names no file.
    """
    if location.startswith("/"):
        raise _hostile(location)
    kept: list[str] = []
    for part in location.split("/"):
        if part == "..":
            if not kept:
                raise _hostile(location)
            kept.pop()
        elif part not in {"", "."}:
            kept.append(part)
    path = "/".join(kept)
    # ONNX refuses two dots that remain anywhere, even in the middle of a name.
    if location.endswith(("/", "/.", "/..")) or not kept or ".." in path:
        raise _hostile(location)
    return check_path(path)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise refusal("ExternalDataInvalid", f"{shown(text)} as offset or length", "a decimal number")
    return int(text)


def refusal(reason: str, contents: str, allowed: str) -> FormatError:
    """Return the error for a model that cannot be parsed."""
    return FormatError(reason, contents, allowed, "Export the model to ONNX again and upload every file whole.")


def _hostile(location: str) -> FormatError:
    return FormatError(
        "HostileName",
        f"external data at {shown(location)}",
        "a file in the folder of the model or below it",
        "Export the model to ONNX again with its data beside it.",
    )


MAX_OBJECT = (1 << 31) - 1
"""The longest message of protobuf. Larger models have their weights in external files."""

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


class OnnxScan:
    """One walk: `step` runs first without data, then with the requested bytes or the first of them, until the graph is
    complete.

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
        """Continue until bytes are missing or the model ends."""
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
    kept = (message.kind, number) in _KEPT_TEXTS or (message.kind == "TensorProto" and number == _DIMS)
    if kept and length > _MAX_KEPT and message.kind != "StringStringEntryProto":
        raise refusal("WireInvalid", f"{length} bytes in field {number} of {message.kind}", f"at most {_MAX_KEPT}")
    return kept and length <= _MAX_KEPT


def _keep_content(message: Message, number: int, window: _Window, position: int, length: int) -> None:
    if message.kind != "TensorProto":
        message.texts[number] = window.bytes(position, length)
        return
    end = position + length
    while position < end:
        dimension, position = window.varint(position, end)
        message.multiply(dimension)


class _Window:
    """The part of the object in memory; the next one is longer after a sequential read, short after a jump."""

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
        want = Want(offset, min(self._length, self._size - offset))
        self._read += want.length
        self._requests += 1
        if self._read > MAX_READ or self._requests > MAX_REQUESTS:
            effort = f"{self._read} bytes and {self._requests} requests for the graph alone"
            raise refusal("TooScattered", effort, f"at most {MAX_READ} bytes and {MAX_REQUESTS} requests")
        return want

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
        """Return the length of a field that is no varint, and where its content begins."""
        if wire == _LENGTH:
            length, position = self.varint(position, end)
        elif wire in (_I64, _I32):
            length = 8 if wire == _I64 else 4
        else:
            raise refusal("WireInvalid", f"wire type {wire} before byte {position}", "0, 1, 2 or 5")
        if position + length > end:
            raise refusal("WireInvalid", f"a field of {length} bytes at byte {position}", f"an end by byte {end}")
        return length, position
