"""The GGUF header: metadata and tensor infos, checked as llama.cpp's loader checks them, without any tensor data.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; what is refused: `ggml/src/gguf.cpp`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.formats.parsers import DtypeTotal
from gatehouse.domain.formats.shards import Marks

__all__ = ["GGML_TYPES", "MAX_HEADER", "GgufHeader", "GgufSplit", "NeedMore", "parse"]


@dataclass(frozen=True, slots=True)
class GgmlType:
    """`block` elements along the first dimension take `size` bytes together."""

    name: str
    block: int
    size: int


GGML_TYPES: Mapping[int, GgmlType] = {
    0: GgmlType("F32", 1, 4),
    1: GgmlType("F16", 1, 2),
    2: GgmlType("Q4_0", 32, 18),
    3: GgmlType("Q4_1", 32, 20),
    6: GgmlType("Q5_0", 32, 22),
    7: GgmlType("Q5_1", 32, 24),
    8: GgmlType("Q8_0", 32, 34),
    9: GgmlType("Q8_1", 32, 40),
    10: GgmlType("Q2_K", 256, 84),
    11: GgmlType("Q3_K", 256, 110),
    12: GgmlType("Q4_K", 256, 144),
    13: GgmlType("Q5_K", 256, 176),
    14: GgmlType("Q6_K", 256, 210),
    15: GgmlType("Q8_K", 256, 292),
    16: GgmlType("IQ2_XXS", 256, 66),
    17: GgmlType("IQ2_XS", 256, 74),
    18: GgmlType("IQ3_XXS", 256, 98),
    19: GgmlType("IQ1_S", 256, 50),
    20: GgmlType("IQ4_NL", 32, 18),
    21: GgmlType("IQ3_S", 256, 110),
    22: GgmlType("IQ2_S", 256, 82),
    23: GgmlType("IQ4_XS", 256, 136),
    24: GgmlType("I8", 1, 1),
    25: GgmlType("I16", 1, 2),
    26: GgmlType("I32", 1, 4),
    27: GgmlType("I64", 1, 8),
    28: GgmlType("F64", 1, 8),
    29: GgmlType("IQ1_M", 256, 56),
    30: GgmlType("BF16", 1, 2),
    34: GgmlType("TQ1_0", 256, 54),
    35: GgmlType("TQ2_0", 256, 66),
    39: GgmlType("MXFP4", 32, 17),
    40: GgmlType("NVFP4", 64, 36),
    41: GgmlType("Q1_0", 128, 18),
    42: GgmlType("Q2_0", 64, 18),
}
"""Numbers missing here were withdrawn from the format (4, 5, 31-33, 36-38)."""


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
    """Reads little-endian fields; raises MoreError where the prefix ends and FormatError where the object ends."""

    def __init__(self, prefix: bytes, object_size: int) -> None:
        self._prefix = prefix
        self._object_size = object_size
        self.position = 0

    def skip(self, length: int) -> int:
        """Skip `length` bytes and return where they begin."""
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
        """Return a string, or None for one too long to keep."""
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
        """Refuse a field of at least `length` bytes that exceeds the object or the bound on headers."""
        start = self.position
        try:
            self.skip(length)
        finally:
            self.position = start


def refusal(reason: str, contents: str, allowed: str) -> FormatError:
    """Return the error for a file that contradicts its GGUF header."""
    return FormatError(reason, contents, allowed, "Convert the model to GGUF again and upload the whole file.")


OTHER_KINDS = frozenset({"adapter", "imatrix", "mmproj"})
"""``general.type`` of files that are no model, as llama.cpp's tools write it. Any other file is a model."""

MAX_TENSORS = 100_000
MAX_KEYS = 65_536
MAX_SPLITS = 99_999
"""The most files of one model: their names have five digits."""
MAX_KEY_BYTES = 65_535
MAX_TENSOR_NAME_BYTES = 255
_FIRST_READ = 65_536
_MAX_DIMENSIONS = 4
_KEPT_ELEMENTS = 50_000
_I64_MAX = (1 << 63) - 1

_UINT32, _STRING, _ARRAY = 4, 8, 9

Value: TypeAlias = Scalar | str | tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The header is incomplete: call again with the first `bytes_wanted` bytes of the object."""

    bytes_wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufSplit:
    """One file of a model in several, as llama.cpp's gguf-split and gguf-py write it.

    `number` counts from 0, `count` is the number of files, `tensors` the number of tensors in all of them.
    """

    number: int
    count: int
    tensors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """The sums of a checked header.

    `config` has the model's dimensions under their Hugging Face names; its `model_type` is `general.architecture`.
    `config` is None where the file need not have any: in a split after the first, and in a file of a `kind` of
    OTHER_KINDS. `tensor_bytes` is without padding. `marks` are those of the tensors' names, where the caller gave a key
    for them.
    """

    version: int
    tensors: int
    parameters: int
    tensor_bytes: int
    types: Mapping[str, DtypeTotal]
    config: ModelConfig | None
    kind: str | None = None
    split: GgufSplit | None = None
    marks: Marks = field(default_factory=Marks)


def parse(prefix: bytes, *, object_size: int, key: bytes | None = None) -> GgufHeader | NeedMore:
    """Read the header from the first bytes of an object of `object_size` bytes.

    Each call starts from the beginning; `bytes_wanted` at least doubles, so the work stays linear. With `key`, the
    result has the marks of the tensors' names.

    Raises FormatError with the rules NotGguf, UnsupportedVersion, BigEndian, HeaderTooLarge, HeaderTruncated,
    TooManyTensors, MetadataInvalid, DuplicateKey, DuplicateTensor, TensorInvalid, UnknownType, OffsetMismatch,
    DataTruncated, and ConfigInvalid for absurd dimensions.
    """
    cursor = Cursor(prefix, object_size)
    try:
        version, tensor_count, key_count = _preamble(cursor)
        metadata = _metadata(cursor, key_count)
        infos = _Tensors()
        alignment = _alignment(metadata)
        for _ in range(tensor_count):
            infos.read(cursor, alignment)
    except MoreError as more:
        needed = max(more.end, 2 * len(prefix), _FIRST_READ)
        return NeedMore(min(needed, object_size, MAX_HEADER))
    if tensor_count:
        data_start = cursor.position + -cursor.position % alignment
        if data_start + infos.end > object_size:
            raise refusal(
                "DataTruncated", f"an object of {object_size} bytes", f"{data_start + infos.end}, as its tensors say"
            )
    stated, split = metadata.get("general.type"), _split(metadata)
    kind = stated if isinstance(stated, str) and stated in OTHER_KINDS else None
    may_be_silent = kind is not None or (split is not None and split.number > 0)
    return GgufHeader(
        version=version,
        tensors=tensor_count,
        parameters=sum(total.elements for total in infos.types.values()),
        tensor_bytes=sum(total.bytes for total in infos.types.values()),
        types=dict(sorted(infos.types.items())),
        config=None if may_be_silent and "general.architecture" not in metadata else _config(metadata),
        kind=kind,
        split=split,
        marks=Marks() if key is None else Marks.of(infos.names, key=key),
    )


def _split(metadata: Mapping[str, Value]) -> GgufSplit | None:
    """The set that the file names. A set of one file is a whole model, as llama.cpp treats it."""
    if "split.count" not in metadata:
        return None
    numbers = {name: metadata.get(f"split.{name}", 0) for name in ("no", "count", "tensors.count")}
    for name, number in numbers.items():
        if type(number) is not int or not 0 <= number <= MAX_SPLITS * MAX_TENSORS:
            raise refusal("MetadataInvalid", f"split.{name} {shown(number)}", "a whole number")
    number, count, tensors = (int(number) for number in numbers.values())  # type: ignore[arg-type]  # checked above
    if count <= 1 and number == 0:
        return None
    if count > MAX_SPLITS or number >= count:
        raise refusal("MetadataInvalid", f"split.no {number} of split.count {count}", f"0 to at most {MAX_SPLITS}")
    return GgufSplit(number=number, count=count, tensors=tensors)


def _preamble(cursor: Cursor) -> tuple[int, int, int]:
    magic = cursor.take(4)
    if magic != b"GGUF":
        raise refusal("NotGguf", f"a file that begins with {shown(magic)}", "`GGUF`")
    version = cursor.u32()
    if version & 0xFFFF == 0 and version:
        raise refusal("BigEndian", "a file in big-endian byte order", "little-endian")
    if version not in (2, 3):
        raise refusal("UnsupportedVersion", f"GGUF version {version}", "version 2 or 3")
    tensor_count, key_count = cursor.u64(), cursor.u64()
    if tensor_count > MAX_TENSORS:
        raise refusal("TooManyTensors", f"{tensor_count} tensors", f"at most {MAX_TENSORS}")
    if key_count > MAX_KEYS:
        raise refusal("MetadataInvalid", f"{key_count} metadata keys", f"at most {MAX_KEYS}")
    return version, tensor_count, key_count


def _metadata(cursor: Cursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    room = _KEPT_ELEMENTS
    for _ in range(count):
        key = cursor.name(what="a metadata key", most=MAX_KEY_BYTES)
        if not key:
            raise refusal("MetadataInvalid", "an empty metadata key", "a name")
        if key in metadata:
            raise refusal("DuplicateKey", f"the key {shown(key)} twice", "each key once")
        kind = cursor.u32()
        if key == "general.alignment" and kind != _UINT32:
            raise refusal("MetadataInvalid", f"general.alignment of type {kind}", "an unsigned 32-bit number")
        if kind != _ARRAY:
            metadata[key] = _value(cursor, key, kind)
            continue
        metadata[key] = numbers = _array(cursor, key, most=room)
        room -= len(numbers) if numbers else 0
    return metadata


def _value(cursor: Cursor, key: str, kind: int) -> Value:
    if kind == _STRING:
        return cursor.text(what=f"the value of {shown(key)}")
    if kind not in SCALARS:
        raise refusal("MetadataInvalid", f"type {kind} of {shown(key)}", "a type from 0 to 12")
    return cursor.scalar(kind)


def _array(cursor: Cursor, key: str, *, most: int) -> tuple[Scalar, ...] | None:
    """Return an array of at most `most` numbers; skip any other array, such as the vocabulary."""
    kind, count = cursor.u32(), cursor.u64()
    if kind == _STRING:
        cursor.skip_strings(count)
        return None
    if kind not in SCALARS:
        raise refusal("MetadataInvalid", f"elements of type {kind} in {shown(key)}", "numbers or strings")
    if count > most:
        cursor.skip(count * SCALARS[kind].size)
        return None
    cursor.require(count * SCALARS[kind].size)
    return tuple(cursor.scalar(kind) for _ in range(count))


def _alignment(metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise refusal("MetadataInvalid", f"general.alignment {shown(alignment)}", "a power of two")
    return alignment


class _Tensors:
    """Sums over the tensor infos read so far."""

    def __init__(self) -> None:
        self.types: dict[str, DtypeTotal] = {}
        self.end = 0
        self._padded_end = 0
        self.names: set[str] = set()

    def read(self, cursor: Cursor, alignment: int) -> None:
        name = cursor.name(what="a tensor name", most=MAX_TENSOR_NAME_BYTES)
        if name in self.names:
            raise refusal("DuplicateTensor", f"the tensor {shown(name)} twice", "each name once")
        self.names.add(name)
        dimensions = cursor.u32()
        if dimensions > _MAX_DIMENSIONS:
            raise refusal("TensorInvalid", f"{dimensions} dimensions of {shown(name)}", f"at most {_MAX_DIMENSIONS}")
        shape = [cursor.u64() for _ in range(dimensions)]
        kind, offset = cursor.u32(), cursor.u64()
        if offset != self._padded_end:
            raise refusal("OffsetMismatch", f"offset {offset} of tensor {shown(name)}", f"offset {self._padded_end}")
        self._add(name, shape, kind)
        self._padded_end = self.end + -self.end % alignment

    def _add(self, name: str, shape: list[int], kind: int) -> None:
        known = GGML_TYPES.get(kind)
        if known is None:
            raise refusal("UnknownType", f"ggml type {kind} of tensor {shown(name)}", "a type of ggml")
        elements = 1
        for size in shape:
            elements *= size
        if max(shape, default=1) > _I64_MAX or elements >= _I64_MAX:
            raise refusal("TensorInvalid", f"shape {shown(shape)} of {shown(name)}", "fewer than 2^63 elements")
        row = shape[0] if shape else 1
        if row % known.block:
            raise refusal(
                "TensorInvalid",
                f"rows of {row} elements in {shown(name)} of type {known.name}",
                f"a multiple of {known.block}",
            )
        size = elements // known.block * known.size
        before = self.types.get(known.name, DtypeTotal(0, 0))
        self.types[known.name] = DtypeTotal(before.elements + elements, before.bytes + size)
        self.end = self._padded_end + size


def _config(metadata: Mapping[str, Value]) -> ModelConfig:
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise refusal("MetadataInvalid", f"general.architecture {shown(architecture)}", "its name")

    def integer(name: str, *, most: int) -> int | None:
        return _integer(metadata, f"{architecture}.{name}", most=most)

    latent = integer("attention.kv_lora_rank", most=1_000_000)
    return ModelConfig(
        model_type=architecture,
        num_hidden_layers=integer("block_count", most=10_000),
        hidden_size=integer("embedding_length", most=1_000_000),
        num_attention_heads=integer("attention.head_count", most=10_000),
        num_key_value_heads=integer("attention.head_count_kv", most=10_000),
        head_dim=integer("attention.key_length", most=100_000),
        intermediate_size=integer("feed_forward_length", most=100_000_000),
        vocab_size=integer("vocab_size", most=100_000_000),
        max_position_embeddings=integer("context_length", most=10_000_000_000),
        sliding_window=integer("attention.sliding_window", most=10_000_000_000),
        kv_lora_rank=latent,
        qk_rope_head_dim=integer("rope.dimension_count", most=100_000) if latent else None,
        num_experts=integer("expert_count", most=1_000_000),
        num_experts_per_tok=integer("expert_used_count", most=1_000_000),
    )


def _integer(metadata: Mapping[str, Value], key: str, *, most: int) -> int | None:
    """Return the number at `key`; of an array with one number for each layer, the number that all layers share."""
    value = metadata.get(key)
    if value is None:
        return None
    # Not a set: a hostile file may choose numbers that all fall into one slot of it.
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if type(number) is not int or not 0 <= number <= most:
            raise FormatError(
                "ConfigInvalid",
                f"{shown(key)} = {shown(number)}",
                f"a whole number from 0 to {most}",
                "Convert the model to GGUF again.",
            )
    shared = numbers[0] if numbers and all(number == numbers[0] for number in numbers) else None
    return shared if isinstance(shared, int) and shared > 0 else None
