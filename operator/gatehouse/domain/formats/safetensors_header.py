"""The safetensors header: accepts within bounds what the official library accepts, and nothing else.

The parser is stricter than the official library (0.8) in these points only, and each stops an attack or an accident:
the header begins with `{`, no object has a key twice, and there are bounds (MAX_TENSORS in a file, MAX_ENTRY bytes and
MAX_ENTRY_ITEMS items for one tensor, MAX_METADATA bytes and MAX_METADATA_ITEMS items of `__metadata__`, 65,536 bytes
for a name). Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeGuard

from gatehouse.domain.artifact import manifest
from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.formats.parsers import DtypeTotal

__all__ = [
    "DTYPE_BITS",
    "HEADER_LENGTH_BYTES",
    "MAX_HEADER",
    "Roles",
    "SafetensorsHeader",
    "ShardIndex",
    "check_there",
    "header_length",
    "parameters_of",
    "parse_header",
    "parse_index",
]

_LAYER: Final = re.compile(r"(?:model\.)?(?:language_model\.)?(?:model\.)?layers\.([0-9]{1,5})\.")
_AHEAD: Final = re.compile(r"(?:model\.)?mtp[._]")
_HEADS: Final = ("lm_head.weight", ".lm_head.weight")
_BESIDE_WEIGHTS: Final = re.compile(
    r"(?:[._](?:weight_)?(?:scales?|scale_inv|scale_2|zeros|qzeros|zero_point|shape|g_idx|global_scale|packed_shape)"
    r"|\.(?:input|output|k|v|q|prob)_scale|\.g_idx|\.(?:nested_)?(?:absmax|quant_map)|\.quant_state\.[^/]*|\.SCB)$"
)
_INTEGERS: Final = frozenset({"U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"})
"""Types of packed weights. Tensors of these types that are no weights (positions of a BERT) are in unpacked models."""


@dataclass(slots=True)
class Roles:
    """Sums over the tensors of one file.

    ``layers`` is the number of layers of the model; tensors of layers beyond belong to heads that predict further ahead
    (MTP). 0 stands for a model without such heads. ``head_bytes`` is the output head, ``unloaded_bytes`` those layers
    beyond. ``plain`` counts elements of weights that hold one parameter each. ``packed_bits`` counts bits of integer
    weights, which hold as many parameters as their bits allow.
    """

    layers: int = 0
    head_bytes: int = 0
    unloaded_bytes: int = 0
    plain: int = 0
    packed_bits: int = 0

    def add(self, name: str, dtype: str, elements: int, bits: int) -> None:
        """Add a tensor of ``elements``, which take ``bits`` together."""
        if name.endswith(_HEADS[1]) or name == _HEADS[0]:
            self.head_bytes += bits // 8
        elif self.layers and self._is_ahead(name):
            self.unloaded_bytes += bits // 8
        if _BESIDE_WEIGHTS.search(name):
            return
        if dtype in _INTEGERS:
            self.packed_bits += bits
        else:
            self.plain += elements

    def _is_ahead(self, name: str) -> bool:
        layer = _LAYER.match(name)
        return _AHEAD.match(name) is not None if layer is None else int(layer[1]) >= self.layers


def parameters_of(*, elements: int, plain: int, packed_bits: int, bits: int | None, quantized: bool) -> int | None:
    """Parameters of a model; None where weights are packed and the number of bits of a weight is unknown."""
    if not quantized:
        return elements
    if not packed_bits:
        return plain
    return None if bits is None else plain + packed_bits // bits


HEADER_LENGTH_BYTES = 8
MAX_HEADER = 33_554_432
MAX_TENSORS = 200_000
MAX_ENTRY = 65_536
MAX_ENTRY_ITEMS = 10_000
MAX_METADATA = 16_777_216
MAX_METADATA_ITEMS = 100_000
MAX_INDEX = 16_777_216
MAX_INDEX_ITEMS = 500_000
_U64 = 1 << 64
_KEPT_METADATA = 16
_KEPT_METADATA_CHARS = 256

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of an element, from the `Dtype` of the official library 0.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsHeader:
    """The sums of a checked header; `metadata` holds the first 16 entries that are at most 256 characters long."""

    names: frozenset[str]
    roles: Roles
    parameters: int
    tensor_bytes: int
    dtypes: Mapping[str, DtypeTotal]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """`model.safetensors.index.json`: the shard of each tensor; `total_size` in bytes, if the index has one."""

    weight_map: Mapping[str, str]
    shards: tuple[str, ...]
    total_size: int | None


def header_length(first8: bytes, object_size: int) -> int:
    """Return the length in bytes of the header, which follows the first eight bytes.

    Raises FormatError with the rules ObjectTooSmall, HeaderTooLarge, HeaderTruncated.
    """
    if object_size < HEADER_LENGTH_BYTES or len(first8) < HEADER_LENGTH_BYTES:
        raise _refusal("ObjectTooSmall", f"{min(object_size, len(first8))} bytes", "at least 8 bytes")
    length = int.from_bytes(first8[:HEADER_LENGTH_BYTES], "little")
    if length > MAX_HEADER:
        raise _refusal("HeaderTooLarge", f"a header length of {length} bytes", f"at most {MAX_HEADER} bytes")
    if HEADER_LENGTH_BYTES + length > object_size:
        raise _refusal(
            "HeaderTruncated", f"a header of {length} bytes in an object of {object_size}", "the whole header"
        )
    return length


def parse_header(header: bytes, *, object_size: int, layers: int = 0) -> SafetensorsHeader:
    """Check the JSON header of an object of `object_size` bytes and return its sums; `layers` are for its `Roles`.

    Besides `header` itself, the check takes memory for the names and some 200 bytes for each tensor.

    Raises FormatError with the rules DuplicateTensor, TooManyTensors, MetadataInvalid, TensorInvalid, UnknownDtype,
    SizeMismatch, SizeOverflow, OffsetGap, OffsetOverlap, ObjectSizeMismatch, and those of `bounded_json.members` and
    `bounded_json.loads`.
    """
    tensors = _Tensors(roles=Roles(layers=layers))
    metadata: Mapping[str, str] | None = None
    for name, value in bounded_json.members(header, what="the safetensors header"):
        if name != "__metadata__":
            tensors.add(name, value)
        elif metadata is None:
            metadata = _metadata(value)
        else:
            raise _refusal("MetadataInvalid", "__metadata__ twice", "__metadata__ once")
    end = tensors.check_tiling()
    stated = HEADER_LENGTH_BYTES + len(header) + end
    if stated != object_size:
        raise _refusal("ObjectSizeMismatch", f"an object of {object_size} bytes", f"{stated} bytes, as the header says")
    return SafetensorsHeader(
        names=frozenset(tensors.names),
        roles=tensors.roles,
        parameters=sum(tensors.elements.values()),
        tensor_bytes=end,
        dtypes={
            dtype: DtypeTotal(elements, elements * DTYPE_BITS[dtype] // 8)
            for dtype, elements in sorted(tensors.elements.items())
        },
        metadata=metadata or {},
    )


@dataclass(slots=True)
class _Tensors:
    """Tensors seen so far: for each, a name and its two offsets packed into one integer, not an object."""

    roles: Roles
    names: dict[str, None] = field(default_factory=dict)
    spans: list[int] = field(default_factory=list)
    elements: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, value: bytes) -> None:
        if name in self.names:
            raise _refusal("DuplicateTensor", f"the tensor {shown(name)} twice", "each name once")
        if len(self.names) >= MAX_TENSORS:
            raise _refusal("TooManyTensors", f"more than {MAX_TENSORS} tensors", f"at most {MAX_TENSORS} in one file")
        dtype, shape, begin, end = _tensor_info(name, value)
        elements = _element_count(name, dtype, shape)
        bits = elements * DTYPE_BITS[dtype]
        if begin > end or (end - begin) * 8 != bits:
            raise _refusal(
                "SizeMismatch",
                f"{end - begin} bytes for tensor {shown(name)} of dtype {dtype} and shape {shown(shape)}",
                f"{bits // 8} bytes" if bits % 8 == 0 else f"whole bytes, not {bits} bits",
            )
        self.names[name] = None
        self.spans.append(begin << 64 | end)
        self.elements[dtype] = self.elements.get(dtype, 0) + elements
        self.roles.add(name, dtype, elements, bits)

    def check_tiling(self) -> int:
        """Return the end of the last tensor; every byte before that end belongs to exactly one tensor."""
        position = 0
        for span in sorted(self.spans):
            begin, end = span >> 64, span & (_U64 - 1)
            if begin != position:
                name = next(name for name, other in zip(self.names, self.spans, strict=True) if other == span)
                rule = "OffsetGap" if begin > position else "OffsetOverlap"
                raise _refusal(rule, f"tensor {shown(name)} beginning at offset {begin}", f"offset {position}")
            position = end
        return position


def _metadata(value: bytes) -> Mapping[str, str]:
    entries = bounded_json.loads(
        value, what="__metadata__", max_bytes=MAX_METADATA, max_items=MAX_METADATA_ITEMS, constants=False
    )
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise _refusal("MetadataInvalid", f"{shown(entries)} as __metadata__", "a map of strings to strings")
    kept: dict[str, str] = {}
    for key, text in entries.items():
        if not isinstance(text, str):
            raise _refusal("MetadataInvalid", f"{shown(text)} at __metadata__ key {shown(key)}", "a string")
        if len(kept) < _KEPT_METADATA and max(len(key), len(text)) <= _KEPT_METADATA_CHARS:
            kept[key] = text
    return kept


def _tensor_info(name: str, value: bytes) -> tuple[str, list[int], int, int]:
    info = bounded_json.loads(
        value,
        what=f"tensor {shown(name)}",
        max_bytes=MAX_ENTRY,
        max_depth=bounded_json.MAX_DEPTH,
        max_items=MAX_ENTRY_ITEMS,
        constants=False,
    )
    match info:
        # Rust's serde reads the same structure, without its field names, from a list.
        case {"dtype": dtype, "shape": [*shape], "data_offsets": [begin, end]} | [
            dtype,
            [*shape],
            [begin, end],
        ]:
            sizes = [size for size in shape if _is_u64(size)]
            if len(sizes) == len(shape) and _is_u64(begin) and _is_u64(end):
                return _dtype_name(name, dtype), sizes, begin, end
    raise _refusal(
        "TensorInvalid",
        f"{shown(info)} as tensor {shown(name)}",
        "dtype, shape and two data_offsets, in whole numbers from 0 to 2^64 - 1",
    )


def _is_u64(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _U64


def _dtype_name(name: str, dtype: JsonValue) -> str:
    # Rust's serde also reads an enumeration as {"F32": null}.
    variant = next(iter(dtype)) if isinstance(dtype, dict) and list(dtype.values()) == [None] else dtype
    if not isinstance(variant, str) or variant not in DTYPE_BITS:
        raise _refusal(
            "UnknownDtype", f"dtype {shown(dtype)} of tensor {shown(name)}", f"one of {', '.join(DTYPE_BITS)}"
        )
    return variant


def _element_count(name: str, dtype: str, shape: list[int]) -> int:
    elements = 1
    for size in shape:
        elements *= size
        if elements >= _U64:
            break
    if elements * DTYPE_BITS[dtype] >= _U64:
        raise _refusal("SizeOverflow", f"shape {shown(shape)} of tensor {shown(name)}", "fewer than 2^64 bits")
    return elements


def parse_index(data: bytes) -> ShardIndex:
    """Read `model.safetensors.index.json`. Shards lie beside it: plain names that end in `.safetensors`.

    Raises FormatError with the rules IndexInvalid, ShardName, and those of `bounded_json.loads`.
    """
    index = bounded_json.loads(
        data, what="the shard index", max_bytes=MAX_INDEX, max_depth=16, max_items=MAX_INDEX_ITEMS
    )
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise _refusal("IndexInvalid", "no weight_map in the shard index", "a map of tensor names to shards")
    shards: dict[str, str] = {}
    placed: dict[str, str] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            raise _refusal("IndexInvalid", f"{shown(shard)} as the shard of {shown(tensor)}", "a file name")
        if shard not in shards:
            shards[shard] = _shard_name(shard)
        placed[tensor] = shards[shard]
    return ShardIndex(weight_map=placed, shards=tuple(sorted(shards)), total_size=_total_size(index))


def _shard_name(shard: str) -> str:
    plain = manifest.check_path(shard)
    if "/" in plain or not plain.endswith(".safetensors"):
        raise _refusal(
            "ShardName", f"the shard {shown(shard)}", "the plain name of a .safetensors file beside the index"
        )
    return plain


def _total_size(index: JsonValue) -> int | None:
    match index:
        case {"metadata": {"total_size": size}} if _is_u64(size):
            return size
    return None


def check_there(index: ShardIndex, files: Collection[str]) -> None:
    """Check that the files include every shard that the index names.

    Raises FormatError with the rule ShardMissing.
    """
    missing = [shard for shard in index.shards if shard not in files]
    if missing:
        raise FormatError(
            "ShardMissing",
            f"{len(missing)} of {len(index.shards)} shards missing, {shown(missing[0])} among them",
            "every shard that the index names",
            "Upload the missing shards.",
        )


def _refusal(reason: str, stated: str, right: str) -> FormatError:
    return FormatError(reason, stated, right, "Write the model again with safetensors and upload every file whole.")
