"""What a walk over an ONNX model learns, message by message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatehouse.domain.format_error import FormatError, shown
from gatehouse.domain.manifest import check_path
from gatehouse.domain.onnx_schema import ELEMENT_BITS, ELEMENT_TYPES

__all__ = ["Message", "OnnxFacts", "OnnxGraph", "OnnxTypeTotal", "normalised", "refusal"]

_I64_MAX = (1 << 63) - 1
_MAX_EXTERNAL_FILES = 10_000
_MAX_OPSETS = 1_000
_KEPT_ENTRIES = frozenset({"location", "offset", "length"})
"""What counts of where a tensor lies outside; of any others there may be as many as the file is long."""
_ANY_INITIALIZER = {("GraphProto", 5), ("SparseTensorProto", 1)}


@dataclass(frozen=True, slots=True)
class OnnxTypeTotal:
    """What the initializers of one element type add up to; strings have no bytes."""

    elements: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """A model whose graph can be parsed.

    `opsets` is the version of each operator set by domain, the default one being the empty string. `parameters` and
    `tensor_bytes` count initializers, inside the model and outside. `external` is, for each file beside the model
    that tensors lie in, by its path normalised, the size in bytes that it must at least have.
    """

    ir_version: int
    opsets: Mapping[str, int]
    nodes: int
    parameters: int
    tensor_bytes: int
    dtypes: Mapping[str, OnnxTypeTotal]
    external: Mapping[str, int]


@dataclass(slots=True)
class Message:
    """A message that is being read: `number` is its field in its parent, `end` where it ends in the object."""

    kind: str
    number: int
    end: int
    numbers: dict[int, int] = field(default_factory=dict)
    texts: dict[int, bytes] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    elements: int = 1
    raw_bytes: int | None = None

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
    dtypes: dict[str, OnnxTypeTotal] = field(default_factory=dict)
    external: dict[str, int] = field(default_factory=dict)

    def close(self, message: Message, parent: Message | None) -> None:
        """Take in a message that has been read, with the message that it lies in."""
        match message.kind:
            case "ModelProto":
                self.ir_version = message.numbers.get(1, 0)
            case "GraphProto" if parent and parent.kind == "ModelProto":
                self.has_graph = True
            case "NodeProto":
                self.nodes += 1
            case "OperatorSetIdProto" if parent and parent.kind == "ModelProto":
                self._opset(message)
            case "StringStringEntryProto" if parent and parent.kind == "TensorProto" and message.number == 13:
                if (entry := message.text(1)) in _KEPT_ENTRIES:
                    parent.external[entry] = message.text(2)
            case "TensorProto":
                counted = parent is not None and (parent.kind, message.number) in _ANY_INITIALIZER
                self._tensor(message, counted=counted)

    def graph(self) -> OnnxGraph:
        """Return the whole once the model has been read to its end."""
        if not self.has_graph or not 0 < self.ir_version <= _I64_MAX or not self.opsets:
            raise refusal("NoGraph", "no graph, IR version or operator set", "an ONNX model with all three")
        return OnnxGraph(
            ir_version=self.ir_version,
            opsets=dict(sorted(self.opsets.items())),
            nodes=self.nodes,
            parameters=sum(total.elements for total in self.dtypes.values()),
            tensor_bytes=sum(total.bytes for total in self.dtypes.values()),
            dtypes=dict(sorted(self.dtypes.items())),
            external=dict(sorted(self.external.items())),
        )

    def _opset(self, message: Message) -> None:
        self.opsets[message.text(1)] = message.numbers.get(2, 0)
        if len(self.opsets) > _MAX_OPSETS:
            raise refusal("TooManyFields", "operator sets without end", f"at most {_MAX_OPSETS}")

    def _tensor(self, message: Message, *, counted: bool) -> None:
        dtype = ELEMENT_TYPES.get(message.numbers.get(2, 0))
        if dtype is None:
            raise refusal("TensorInvalid", f"data_type {message.numbers.get(2, 0)} of a tensor", "one of 1 to 28")
        size = (message.elements * ELEMENT_BITS.get(dtype, 0) + 7) // 8
        if message.raw_bytes is not None and message.raw_bytes != size:
            found = f"{message.raw_bytes} bytes of raw data for {message.elements} elements of {dtype}"
            raise refusal("TensorInvalid", found, f"{size} bytes")
        if message.numbers.get(14) == 1:
            self._external(message.external, size)
        if counted:
            before = self.dtypes.get(dtype, OnnxTypeTotal(0, 0))
            self.dtypes[dtype] = OnnxTypeTotal(before.elements + message.elements, before.bytes + size)

    def _external(self, entries: Mapping[str, str], size: int) -> None:
        location = normalised(entries.get("location", ""))
        offset = _decimal(entries.get("offset", "0"))
        length = _decimal(entries.get("length", str(size)))
        if length != size:
            raise refusal("ExternalDataInvalid", f"{length} bytes in {shown(location)}", f"{size}, as its shape says")
        self.external[location] = max(self.external.get(location, 0), offset + length)
        if len(self.external) > _MAX_EXTERNAL_FILES:
            raise refusal("ExternalDataInvalid", "files without end", f"at most {_MAX_EXTERNAL_FILES}")


def normalised(location: str) -> str:
    """The path of external data relative to the model's folder, as ONNX makes it of what the model says.

    ``./weights`` is ``weights``, and ``a/../b`` is ``b`` whether there is an ``a`` or not. Source:
    ``resolve_external_data_location`` in ``onnx/checker.cc``.

    Raises FormatError with the rule HostileName for one that is absolute, leads out of the folder or names no file.
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
    # ONNX takes two dots for a way out wherever they are left, also in the midst of a name.
    if location.endswith(("/", "/.", "/..")) or not kept or ".." in path:
        raise _hostile(location)
    return check_path(path)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise refusal("ExternalDataInvalid", f"{shown(text)} as offset or length", "a decimal number")
    return int(text)


def refusal(rule: str, found: str, wanted: str) -> FormatError:
    """Return the error for a model that cannot be parsed."""
    return FormatError(rule, found, wanted, "Export the model to ONNX again and upload every file whole.")


def _hostile(location: str) -> FormatError:
    return FormatError(
        "HostileName",
        f"external data at {shown(location)}",
        "a file in the folder of the model or below it",
        "Export the model to ONNX again with its data beside it.",
    )
