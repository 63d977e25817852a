"""What a walk over an ONNX model learns, message by message.

Weights are initializers, or tensors that Constant nodes hold as an attribute, as paddle2onnx writes them. Both count in
every graph: in the model's, in branches and bodies, and in functions, once each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gatehouse.domain.format_error import FormatError, shown
from gatehouse.domain.manifest import check_path
from gatehouse.domain.onnx_schema import ELEMENT_BITS, ELEMENT_TYPES

__all__ = ["DOMAIN", "OP_TYPE", "Message", "OnnxFacts", "OnnxGraph", "OnnxTypeTotal", "normalised", "refusal"]

OP_TYPE: Final = 4
DOMAIN: Final = 7
"""Fields of a NodeProto."""

_I64_MAX = (1 << 63) - 1
_MAX_EXTERNAL_FILES = 10_000
_MAX_OPSETS = 1_000
_KEPT_ENTRIES = frozenset({"location", "offset", "length"})
"""What counts of where a tensor lies outside; of any others there may be as many as the file is long."""
_ANY_INITIALIZER = {("GraphProto", 5), ("SparseTensorProto", 1)}
_VALUE = ("AttributeProto", 5)
"""The one tensor of an attribute."""
_ONNX_DOMAINS = {b"", b"ai.onnx"}
_CONSTANT = b"Constant"
_CLASSICAL = b"ai.onnx.ml"
"""Trees, linear models and their like, whose operators have their coefficients as lists of numbers in attributes."""


@dataclass(frozen=True, slots=True)
class OnnxTypeTotal:
    """What the weights of one element type add up to; strings have no bytes."""

    elements: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """A model whose graph can be parsed.

    `opsets` is the version of each operator set by domain, the default one being the empty string. `parameters` and
    `tensor_bytes` count the elements and bytes of initializers and of the tensors of Constant nodes, inside the model
    and outside; both are None where the weights cannot be told from the rest: where a node is one of ai.onnx.ml, which
    has them in attributes, and where there are no tensors at all. `dtypes` has them by element type, and is empty then.
    `external` is, for each file beside the model that tensors lie in, by its path normalised, the size in bytes that it
    must at least have.
    """

    ir_version: int
    opsets: Mapping[str, int]
    nodes: int
    parameters: int | None
    tensor_bytes: int | None
    dtypes: Mapping[str, OnnxTypeTotal]
    external: Mapping[str, int]


@dataclass(slots=True)
class Message:
    """A message that is being read: `number` is its field in its parent, `end` where it ends in the object.

    `held` is what the tensors that are attributes add up to: at most one of an attribute, of a node by element type.
    """

    kind: str
    number: int
    end: int
    numbers: dict[int, int] = field(default_factory=dict)
    texts: dict[int, bytes] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    elements: int = 1
    raw_bytes: int | None = None
    held: dict[str, OnnxTypeTotal] | None = None

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
    is_told: bool = True

    def close(self, message: Message, parent: Message | None) -> None:
        """Take in a message that has been read, with the message that it lies in."""
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
        """Return the whole once the model has been read to its end."""
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
            found = f"{message.raw_bytes} bytes of raw data for {message.elements} elements of {dtype}"
            raise refusal("TensorInvalid", found, f"{size} bytes")
        if message.numbers.get(14) == 1:
            self._external(message.external, size)
        if parent is None:
            return
        place = (parent.kind, message.number)
        total = {dtype: OnnxTypeTotal(message.elements, size)}
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


def _added(sums: dict[str, OnnxTypeTotal], more: Mapping[str, OnnxTypeTotal]) -> dict[str, OnnxTypeTotal]:
    """``sums`` itself, which there is one of per model or node, with ``more`` added to each element type."""
    for dtype, total in more.items():
        before = sums.get(dtype, OnnxTypeTotal(0, 0))
        sums[dtype] = OnnxTypeTotal(before.elements + total.elements, before.bytes + total.bytes)
    return sums


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
