from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelfiles
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats import gguf_header as gguf
from gatehouse.domain.formats.gguf_header import GGML_TYPES, GgufHeader, GgufSplit, NeedMore, parse
from gatehouse.domain.formats.parsers import DtypeTotal
from modelfiles import outcome


def read(file: bytes) -> GgufHeader:
    header = parse(file, object_size=len(file))
    assert isinstance(header, GgufHeader)
    return header


def rule_of(file: bytes) -> str:
    error = outcome(parse, file, object_size=len(file))
    assert isinstance(error, FormatError)
    return error.finding.reason


def with_tensors(*tensors: bytes, data: int = 0, alignment: int = 32) -> bytes:
    header = modelfiles.gguf_header(modelfiles.LLAMA_METADATA, tensors)
    return header + bytes(-len(header) % alignment + data)


def test_sums_and_dimensions() -> None:
    header = read(modelfiles.gguf_file())
    assert (header.version, header.tensors, header.parameters, header.tensor_bytes) == (3, 2, 140, 184)
    assert header.types == {"F32": DtypeTotal(12, 48), "Q8_0": DtypeTotal(128, 136)}
    config = header.config
    assert config is not None
    assert config.model_type == "llama"
    assert (config.num_hidden_layers, config.hidden_size) == (2, 64)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)
    assert config.max_position_embeddings == 2048
    assert config.head_dim is None
    assert (header.kind, header.split) == (None, None)


def test_asks_for_as_much_as_it_needs() -> None:
    tokens = [f"token {index} " + "x" * 20 for index in range(10_000)]
    metadata = [*modelfiles.LLAMA_METADATA, ("tokenizer.ggml.tokens2", tokens), ("split.count", 3)]
    file = modelfiles.gguf_header(metadata)
    wanted, steps = 0, 0
    while isinstance(step := parse(file[:wanted], object_size=len(file)), NeedMore):
        assert wanted < step.bytes_wanted <= len(file)
        wanted, steps = step.bytes_wanted, steps + 1
    assert step.split == GgufSplit(number=0, count=3, tensors=0)
    assert steps == 4


def test_every_prefix_is_either_too_short_or_whole() -> None:
    file = modelfiles.gguf_file()
    whole = read(file)
    header_size = next(size for size in range(len(file)) if parse(file[:size], object_size=len(file)) == whole)
    for size in range(len(file)):
        step = parse(file[:size], object_size=len(file))
        assert step == whole if size >= header_size else isinstance(step, NeedMore)


def test_every_truncated_file_is_refused() -> None:
    file = modelfiles.gguf_file()
    for size in range(len(file)):
        assert rule_of(file[:size]) in {"HeaderTruncated", "DataTruncated"}


@pytest.mark.parametrize("alignment", [8, 32, 256])
def test_alignment_moves_the_tensors(alignment: int) -> None:
    assert read(modelfiles.gguf_file(alignment=alignment)).tensor_bytes == 184


def test_per_layer_heads_are_unknown_unless_all_the_same() -> None:
    same = read(modelfiles.gguf_header([("general.architecture", "x"), ("x.attention.head_count_kv", [4, 4])]))
    mixed = read(modelfiles.gguf_header([("general.architecture", "x"), ("x.attention.head_count_kv", [4, 0])]))
    assert same.config is not None
    assert mixed.config is not None
    assert (same.config.num_key_value_heads, mixed.config.num_key_value_heads) == (4, None)


def test_latent_attention_has_a_rope_dimension() -> None:
    metadata = [("general.architecture", "d"), ("d.attention.kv_lora_rank", 512), ("d.rope.dimension_count", 64)]
    config = read(modelfiles.gguf_header(metadata)).config
    assert (config.kv_lora_rank, config.qk_rope_head_dim) == (512, 64)


def test_version_2_reads_the_same() -> None:
    assert read(modelfiles.gguf_header(modelfiles.LLAMA_METADATA, version=2)).version == 2


@pytest.mark.parametrize("kind", GGML_TYPES)
def test_sizes_of_types(kind: int) -> None:
    ggml = GGML_TYPES[kind]
    tensor = modelfiles.gguf_tensor("a", [ggml.block * 2, 3], kind=kind, offset=0)
    header = read(with_tensors(tensor, data=ggml.size * 6))
    assert header.types == {ggml.name: DtypeTotal(ggml.block * 6, ggml.size * 6)}
    assert rule_of(with_tensors(tensor, data=ggml.size * 6 - 1)) == "DataTruncated"


A = modelfiles.gguf_tensor("a", [32], kind=0, offset=0)
ARCHITECTURE = [("general.architecture", "llama")]


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        (b"", "HeaderTruncated"),
        (b"GGML" + bytes(20), "NotGguf"),
        (modelfiles.gguf_header([], version=1), "UnsupportedVersion"),
        (modelfiles.gguf_header([], version=4), "UnsupportedVersion"),
        (modelfiles.gguf_header([], version=0), "UnsupportedVersion"),
        (modelfiles.gguf_header([], version=0x03000000), "BigEndian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0), "TooManyTensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "MetadataInvalid"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 63), "MetadataInvalid"),
        (modelfiles.gguf_header([]), "MetadataInvalid"),
        (modelfiles.gguf_header([("", 1)]), "MetadataInvalid"),
        (modelfiles.gguf_header([("general.architecture", 1)]), "MetadataInvalid"),
        (modelfiles.gguf_header([*ARCHITECTURE, ("a", 1), ("a", 1)]), "DuplicateKey"),
        (modelfiles.gguf_header([*ARCHITECTURE, ("general.alignment", 24)]), "MetadataInvalid"),
        (modelfiles.gguf_header([*ARCHITECTURE, ("general.alignment", "32")]), "MetadataInvalid"),
        (modelfiles.gguf_header([*ARCHITECTURE, ("llama.block_count", 1_000_000)]), "ConfigInvalid"),
        (modelfiles.gguf_header([*ARCHITECTURE, ("llama.block_count", "32")]), "ConfigInvalid"),
        (modelfiles.gguf_header([*ARCHITECTURE, ("llama.block_count", True)]), "ConfigInvalid"),
        (modelfiles.gguf_header([*ARCHITECTURE, ("llama.block_count", 32.0)]), "ConfigInvalid"),
        (with_tensors(A, data=127), "DataTruncated"),
        (with_tensors(A, A, data=128), "DuplicateTensor"),
        (with_tensors(modelfiles.gguf_tensor("a", [32], kind=0, offset=32), data=160), "OffsetMismatch"),
        (with_tensors(A, modelfiles.gguf_tensor("b", [32], kind=0, offset=0), data=256), "OffsetMismatch"),
        (with_tensors(A, modelfiles.gguf_tensor("b", [32], kind=0, offset=160), data=999), "OffsetMismatch"),
        (with_tensors(modelfiles.gguf_tensor("a", [32], kind=4, offset=0), data=999), "UnknownType"),
        (with_tensors(modelfiles.gguf_tensor("a", [31], kind=2, offset=0), data=999), "TensorInvalid"),
        (with_tensors(modelfiles.gguf_tensor("a", [1] * 5, kind=0, offset=0), data=999), "TensorInvalid"),
        (with_tensors(modelfiles.gguf_tensor("a", [1 << 32, 1 << 32], kind=0, offset=0), data=999), "TensorInvalid"),
        (with_tensors(modelfiles.gguf_tensor("a", [0, 1 << 63], kind=0, offset=0), data=999), "TensorInvalid"),
        (with_tensors(modelfiles.gguf_tensor("a" * 256, [1], kind=0, offset=0), data=999), "MetadataInvalid"),
    ],
)
def test_refuses(file: bytes, rule: str) -> None:
    assert rule_of(file) == rule


def preamble(*, keys: int = 1) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, keys)


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (struct.pack("<IIQ", 9, 9, 1), "MetadataInvalid"),
        (struct.pack("<IIQ", 9, 13, 1), "MetadataInvalid"),
        (struct.pack("<I", 13), "MetadataInvalid"),
        (struct.pack("<IIQ", 9, 8, 1 << 60), "HeaderTruncated"),
        (struct.pack("<IIQ", 9, 0, 1 << 60), "HeaderTruncated"),
        (struct.pack("<IIQQ", 9, 8, 1, (1 << 64) - 1), "HeaderTruncated"),
        (struct.pack("<IQ", 8, (1 << 64) - 1), "HeaderTruncated"),
    ],
)
def test_refuses_values_without_reading_them(array: bytes, rule: str) -> None:
    assert rule_of(preamble() + modelfiles.gguf_string("k") + array) == rule


def test_a_header_beyond_the_bound_is_refused_before_it_is_read() -> None:
    start = preamble() + modelfiles.gguf_string("k") + struct.pack("<IIQ", 9, 0, gguf.MAX_HEADER)
    error = outcome(parse, start, object_size=1 << 40)
    assert isinstance(error, FormatError)
    assert error.finding.reason == "HeaderTooLarge"


def test_arrays_take_bounded_memory() -> None:
    array = struct.pack("<IIQ", 9, 0, 40_000) + bytes(40_000)
    keys = [modelfiles.gguf_string(f"k{index}") + array for index in range(50)]
    architecture = modelfiles.gguf_string("general.architecture") + modelfiles.gguf_value("x")
    file = preamble(keys=51) + architecture + b"".join(keys)
    tracemalloc.start()
    read(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@given(st.binary(max_size=100), st.integers(0, 1 << 44))
def test_arbitrary_bytes(data: bytes, size: int) -> None:
    for prefix in (data, b"GGUF\3\0\0\0" + data, preamble() + modelfiles.gguf_string("k") + data):
        step = outcome(parse, prefix, object_size=max(size, len(prefix)))
        assert not isinstance(step, NeedMore) or len(prefix) < step.bytes_wanted <= gguf.MAX_HEADER


@given(st.data())
def test_changed_bytes(data: st.DataObject) -> None:
    file = bytearray(modelfiles.gguf_file())
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    step = outcome(parse, bytes(file), object_size=len(file))
    assert isinstance(step, FormatError) or (isinstance(step, GgufHeader) and step.tensor_bytes <= len(file))
