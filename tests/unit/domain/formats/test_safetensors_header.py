from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

import modelfiles
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats import safetensors_header as subject
from gatehouse.domain.formats.safetensors import check_index
from gatehouse.domain.formats.safetensors_header import (
    SafetensorsHeader,
    ShardIndex,
    check_there,
    header_length,
    parse_header,
    parse_index,
)
from gatehouse.domain.formats.shards import KEY_BYTES, Marks

KEY = bytes(KEY_BYTES)


def read(file: bytes) -> SafetensorsHeader:
    length = header_length(file[:8], len(file))
    return parse_header(file[8 : 8 + length], object_size=len(file))


def rule_of(file: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        read(file)
    return caught.value.finding.reason


def official(file: bytes) -> dict[str, Any] | None:
    try:
        return dict(safetensors.deserialize(file))
    except safetensors.SafetensorError:
        return None


def compare(file: bytes) -> None:
    expected = official(file)
    header = modelfiles.outcome(read, file)
    if isinstance(header, FormatError):
        # The two things that are refused though the official library reads them.
        assert expected is None or file[8:9] in b" \t\r\n" or has_duplicate_keys(file), str(header)
        return
    assert expected is not None
    assert header.names == set(expected)
    assert header.tensor_bytes == sum(len(tensor["data"]) for tensor in expected.values())
    elements = 0
    for tensor in expected.values():
        count = 1
        for size in tensor["shape"]:
            count *= size
        elements += count
    assert header.parameters == elements == sum(total.elements for total in header.dtypes.values())
    assert set(header.dtypes) == {tensor["dtype"] for tensor in expected.values()}


def has_duplicate_keys(file: bytes) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    length = int.from_bytes(file[:8], "little")
    json.loads(file[8 : 8 + length], object_pairs_hook=look)
    return found


class Raw(str):
    """JSON text that goes into the header as it is."""

    __slots__ = ()


class Pairs(list[Any]):
    """An object whose keys may come twice."""


def dumps(value: object) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{dumps(key)}:{dumps(member)}" for key, member in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


JUNK = list(
    map(
        Raw,
        [
            "null",
            "true",
            "false",
            "0",
            "1",
            "3",
            "4",
            "-0",
            "-1",
            "1.0",
            "1e0",
            "4.0",
            "1e999",
            "-1e400",
            "18446744073709551615",
            "18446744073709551616",
            "01",
            "NaN",
            "Infinity",
            '"4"',
            '"F32"',
            '"f32"',
            '""',
            '"\\ud800"',
            '"\\ud83d\\ude00"',
            '"\\u0046\\u0033\\u0032"',
            '"\x01"',
            '"\\x"',
            "[]",
            "{}",
            "[0]",
            "[4]",
            "[0,4]",
            "[4,0]",
            "[0,4,8]",
            "[null]",
            '{"F32":null}',
            '{"F32":[]}',
            '{"F32":null,"F16":null}',
            '{"X":null}',
            '{"F32":null,"F32":null}',
            "[[0],4]",
            '{"a":{"a":[{}]}}',
            '["F32",[1],[0,4]]',
            '["F32",[1]]',
            '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',
            "[1,]",
            '{"a":1,}',
            "9223372036854775808",
            "9" * 309,
            "9" * 308,
            "1" + "0" * 5000,
            "0." + "1" * 500,
            "[" * 125 + "]" * 125,
            "[" * 126 + "]" * 126,
            '{"a":' * 126 + "1" + "}" * 126,
            "[" * 2000,
            '"' + "[" * 200 + '"',
        ],
    )
)
AROUND = [(" ", ""), ("\n", ""), ("", "  \n"), ("", "\0"), ("", "x"), ("\ufeff", "")]
NAMES = st.sampled_from(["a", "b", "model.layers.0.w", "", "é", "😀", "__metadata__", 'q"\\', "\u007f", "a\u0000"])
DTYPES = st.sampled_from([*subject.DTYPE_BITS, "F128", "bool", "I4", "F8_E4M3FN", ""])
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 1 << 32, (1 << 64) - 1]), max_size=4) | st.lists(
    st.integers(0, 5), max_size=3
)


@st.composite
def valid_tensors(draw: st.DrawFn) -> Pairs:
    entries = Pairs()
    offset = 0
    for name in draw(st.lists(NAMES.filter(lambda name: name != "__metadata__"), max_size=4, unique=True)):
        dtype = draw(st.sampled_from([*subject.DTYPE_BITS]))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        elements = 8 if subject.DTYPE_BITS[dtype] % 8 else 1
        shape = [elements, *shape] if elements > 1 else shape
        count = 1
        for size in shape:
            count *= size
        end = offset + count * subject.DTYPE_BITS[dtype] // 8
        info = Pairs([["dtype", dtype], ["shape", shape], ["data_offsets", [offset, end]]])
        entries.append([name, draw(st.permutations(info).map(Pairs))])
        offset = end
    return draw(st.permutations(entries).map(Pairs))


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    entries = draw(valid_tensors())
    size = max((dict(info)["data_offsets"][1] for _, info in entries), default=0)
    for mutate in draw(st.lists(st.sampled_from(MUTATIONS), max_size=2)):
        mutate(draw, entries)
    broken = draw(st.integers(0, 15))
    before, after = draw(st.sampled_from(AROUND)) if broken == 15 else ("", "")
    header = (before + dumps(entries) + after).encode("utf-8", "surrogatepass")
    if broken == 14:
        header = draw(bytes_changed(header))
    data = bytes(max(0, size + (draw(st.sampled_from([1, -1, 7, -4])) if broken == 13 else 0)))
    length = len(header) + (draw(st.sampled_from([1, -1, 1 << 40, 100_000_001])) if broken == 12 else 0)
    return (length % (1 << 64)).to_bytes(8, "little") + header + data


@st.composite
def bytes_changed(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    inserted = draw(
        st.sampled_from([b"", b" ", b",", b'"', b"{", b"}", b"[", b"]", b"0", b"\xff", b"\xc3", b"\\", b":", b"\n"])
    )
    return data[:at] + inserted + data[at + draw(st.integers(0, 2)) :]


def chosen_info(draw: st.DrawFn, entries: Pairs) -> Pairs:
    infos = [info for _, info in entries if isinstance(info, Pairs)]
    return draw(st.sampled_from(infos)) if infos else Pairs()


def repeat_an_entry(draw: st.DrawFn, entries: Pairs) -> None:
    if entries:
        entries.append(list(draw(st.sampled_from(entries))))


def rename(draw: st.DrawFn, entries: Pairs) -> None:
    if entries:
        draw(st.sampled_from(entries))[0] = draw(NAMES)


def add_metadata(draw: st.DrawFn, entries: Pairs) -> None:
    values: list[object] = [
        Raw("null"),
        Pairs(),
        Pairs([["format", "pt"]]),
        Pairs([["k", "v"], ["k", "w"]]),
        Pairs([["k", 1]]),
    ]
    entries.insert(draw(st.integers(0, len(entries))), ["__metadata__", draw(st.sampled_from([*values, *JUNK]))])


def replace_an_entry(draw: st.DrawFn, entries: Pairs) -> None:
    if entries:
        draw(st.sampled_from(entries))[1] = draw(st.sampled_from(JUNK))


def replace_a_field(draw: st.DrawFn, entries: Pairs) -> None:
    if info := chosen_info(draw, entries):
        draw(st.sampled_from(info))[1] = draw(st.sampled_from(JUNK))


def add_a_field(draw: st.DrawFn, entries: Pairs) -> None:
    if info := chosen_info(draw, entries):
        info.append([draw(st.sampled_from(["x", "dtype", "shape", "data_offsets", ""])), draw(st.sampled_from(JUNK))])


def drop_a_field(draw: st.DrawFn, entries: Pairs) -> None:
    if info := chosen_info(draw, entries):
        info.pop(draw(st.integers(0, len(info) - 1)))


def change_an_offset(draw: st.DrawFn, entries: Pairs) -> None:
    for field in chosen_info(draw, entries):
        if field[0] == "data_offsets" and isinstance(field[1], list) and field[1]:
            field[1][draw(st.integers(0, len(field[1]) - 1))] = draw(st.integers(0, 40) | st.sampled_from(JUNK))


def change_the_shape(draw: st.DrawFn, entries: Pairs) -> None:
    for field in chosen_info(draw, entries):
        if field[0] == "shape":
            field[1] = draw(SHAPES | st.lists(st.sampled_from(JUNK), max_size=3))


def change_the_dtype(draw: st.DrawFn, entries: Pairs) -> None:
    for field in chosen_info(draw, entries):
        if field[0] == "dtype":
            field[1] = draw(DTYPES | st.sampled_from(JUNK))


def write_an_entry_as_a_list(draw: st.DrawFn, entries: Pairs) -> None:
    if entries:
        entry = draw(st.sampled_from(entries))
        if isinstance(entry[1], Pairs):
            fields = dict(entry[1])
            entry[1] = [fields[name] for name in ("dtype", "shape", "data_offsets") if name in fields]


MUTATIONS: list[Callable[[st.DrawFn, Pairs], None]] = [
    repeat_an_entry,
    rename,
    add_metadata,
    replace_an_entry,
    replace_a_field,
    add_a_field,
    drop_a_field,
    change_an_offset,
    change_the_shape,
    change_the_dtype,
    write_an_entry_as_a_list,
]


@settings(max_examples=1000, deadline=None)
@given(mutated_files())
def test_agrees_with_the_official_library(file: bytes) -> None:
    compare(file)


PLACES = [
    '{"a":%s}',
    '{"__metadata__":%s}',
    '{"__metadata__":{"k":%s}}',
    '{"a":{"dtype":%s,"shape":[1],"data_offsets":[0,4]}}',
    '{"a":{"dtype":"F32","shape":%s,"data_offsets":[0,4]}}',
    '{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}',
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":%s}}',
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[%s,4]}}',
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,%s]}}',
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":%s}}',
    '{"a":[%s,[1],[0,4]]}',
    '{"a":["F32",%s,[0,4]]}',
    '{"a":["F32",[1],[0,4],%s]}',
]


@pytest.mark.parametrize("place", PLACES)
def test_agrees_with_the_official_library_on_junk_in_each_place(place: str) -> None:
    for junk in JUNK:
        header = (place % junk).encode("utf-8", "surrogatepass")
        for size in (0, 4):
            compare(modelfiles.safetensors_frame(header, bytes(size)))


@settings(max_examples=200, deadline=None)
@given(valid_tensors())
def test_takes_every_valid_file(entries: Pairs) -> None:
    size = max((dict(info)["data_offsets"][1] for _, info in entries), default=0)
    file = modelfiles.safetensors_frame(dumps(entries).encode(), bytes(size))
    assert read(file).tensor_bytes == size
    compare(file)


@given(st.binary(max_size=80))
def test_arbitrary_bytes(data: bytes) -> None:
    compare(data)
    compare(modelfiles.safetensors_frame(data))
    compare(modelfiles.safetensors_frame(b'{"a":' + data + b"}", b"0000"))


def test_sums_of_a_file() -> None:
    file = modelfiles.safetensors_file(
        {"a": ("BF16", [3, 4]), "b": ("F8_E4M3", [5]), "c": ("F4", [2]), "d": ("BF16", []), "e": ("F32", [0, 9])},
        metadata={"format": "pt", "long": "x" * 300},
    )
    header = read(file)
    assert header.names == {"a", "b", "c", "d", "e"}
    assert (header.parameters, header.tensor_bytes) == (20, 32)
    assert {name: (total.elements, total.bytes) for name, total in header.dtypes.items()} == {
        "BF16": (13, 26),
        "F8_E4M3": (5, 5),
        "F4": (2, 1),
        "F32": (0, 0),
    }
    assert header.metadata == {"format": "pt"}


F32 = '{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'


@pytest.mark.parametrize(
    ("header", "data", "rule"),
    [
        (f'{{"a":{F32 % (0, 4)}}}', 3, "ObjectSizeMismatch"),
        (f'{{"a":{F32 % (0, 4)}}}', 5, "ObjectSizeMismatch"),
        (f'{{"a":{F32 % (4, 8)}}}', 8, "OffsetGap"),
        (f'{{"a":{F32 % (0, 4)},"b":{F32 % (8, 12)}}}', 12, "OffsetGap"),
        (f'{{"a":{F32 % (0, 4)},"b":{F32 % (2, 6)}}}', 6, "OffsetOverlap"),
        (f'{{"a":{F32 % (0, 4)},"a":{F32 % (4, 8)}}}', 8, "DuplicateTensor"),
        (f'{{"a":{F32 % (0, 4)},"\\u0061":{F32 % (4, 8)}}}', 8, "DuplicateTensor"),
        (f'{{"a":{F32 % (0, 5)}}}', 5, "SizeMismatch"),
        (f'{{"a":{F32 % (4, 0)}}}', 4, "SizeMismatch"),
        ('{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}', 2, "SizeMismatch"),
        ('{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}', 4, "UnknownDtype"),
        ('{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}', 0, "SizeOverflow"),
        ('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4, "TensorInvalid"),
        ('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', 4, "TensorInvalid"),
        ('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4, "JsonDuplicateKey"),
        ('{"__metadata__":{"k":"v","k":"w"}}', 0, "JsonDuplicateKey"),
        ('{"__metadata__":{},"__metadata__":{}}', 0, "MetadataInvalid"),
        ('{"__metadata__":{"k":1}}', 0, "MetadataInvalid"),
        (" {}", 0, "HeaderStart"),
        ("[]", 0, "HeaderStart"),
        ("", 0, "HeaderStart"),
        ('{"a":1}', 0, "HeaderInvalid"),
        ('{"a"', 0, "HeaderInvalid"),
        ('{"a":{"b":"', 0, "HeaderInvalid"),
        ("{}x", 0, "HeaderInvalid"),
        ('{"a":' + "[" * 200 + "]" * 200 + "}", 0, "JsonTooDeep"),
    ],
)
def test_refuses_and_names_the_rule(header: str, data: int, rule: str) -> None:
    assert rule_of(modelfiles.safetensors_frame(header.encode(), bytes(data))) == rule


@pytest.mark.parametrize(
    ("first8", "size", "rule"),
    [
        (b"", 0, "ObjectTooSmall"),
        (b"\0" * 7, 7, "ObjectTooSmall"),
        ((100_000_001).to_bytes(8, "little"), 1 << 40, "HeaderTooLarge"),
        (b"\xff" * 8, 1 << 40, "HeaderTooLarge"),
        ((93).to_bytes(8, "little"), 100, "HeaderTruncated"),
    ],
)
def test_refuses_a_bad_length(first8: bytes, size: int, rule: str) -> None:
    with pytest.raises(FormatError) as caught:
        header_length(first8, size)
    assert caught.value.finding.reason == rule


def test_takes_the_longest_header() -> None:
    assert header_length((1 << 25).to_bytes(8, "little"), (1 << 25) + 8) == 1 << 25


def test_messages_name_the_tensor_and_stay_short() -> None:
    name = "evil\n\x1b[31m" + "x" * 10_000
    header = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}
    with pytest.raises(FormatError) as caught:
        read(modelfiles.safetensors_frame(json.dumps(header).encode(), b"0000"))
    assert "evil\\n\\x1b" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_TENSORS", 2)
    assert rule_of(modelfiles.safetensors_file({name: ("U8", [1]) for name in "abc"})) == "TooManyTensors"
    assert rule_of(modelfiles.safetensors_file({"a": ("U8", [1] * 40_000)})) == "JsonTooLarge"
    assert rule_of(modelfiles.safetensors_file({"a": ("U8", [1] * 10_000)})) == "JsonTooManyItems"
    assert rule_of(modelfiles.safetensors_file({}, metadata={"k": "v" * (16 << 20)})) == "JsonTooLarge"


def test_a_long_header_takes_little_memory_besides_the_names() -> None:
    count = 20_000
    file = modelfiles.safetensors_file({f"{index:0200}": ("U8", [1]) for index in range(count)})
    header = file[8 : len(file) - count]
    tracemalloc.start()
    parsed = parse_header(header, object_size=len(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(parsed.names) == count
    assert peak < count * (200 + 350)


TWO = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}


def marks(*names: str) -> Marks:
    return Marks.of(names, key=KEY)


def check(index: ShardIndex, shards: dict[str, Marks]) -> None:
    check_there(index, shards.keys())
    check_index(index, shards, key=KEY)


def test_index() -> None:
    index = parse_index(modelfiles.shard_index(TWO, total_size=2))
    assert index.weight_map == TWO
    assert index.shards == tuple(sorted(TWO.values()))
    assert index.total_size == 2
    check(index, {TWO["a"]: marks("a", "extra"), TWO["b"]: marks("b")})


@pytest.mark.parametrize(
    ("shards", "rule"),
    [({TWO["a"]: marks("a")}, "ShardMissing"), ({TWO["a"]: marks("a", "b"), TWO["b"]: marks("c")}, "TensorMissing")],
)
def test_index_that_its_shards_do_not_keep(shards: dict[str, Marks], rule: str) -> None:
    with pytest.raises(FormatError) as caught:
        check(parse_index(modelfiles.shard_index(TWO)), shards)
    assert caught.value.finding.reason == rule


@pytest.mark.parametrize(
    ("index", "rule"),
    [
        (b"", "JsonInvalid"),
        (b"[]", "IndexInvalid"),
        (b"{}", "IndexInvalid"),
        (b'{"weight_map":{}}', "IndexInvalid"),
        (b'{"weight_map":{"a":1}}', "IndexInvalid"),
        (b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}', "JsonDuplicateKey"),
        (b'{"weight_map":{"a":"../x.safetensors"}}', "HostileName"),
        (b'{"weight_map":{"a":"/x.safetensors"}}', "HostileName"),
        (b'{"weight_map":{"a":"x\\n.safetensors"}}', "HostileName"),
        (b'{"weight_map":{"a":"sub/x.safetensors"}}', "ShardName"),
        (b'{"weight_map":{"a":"pytorch_model.bin"}}', "ShardName"),
    ],
)
def test_refuses_a_bad_index(index: bytes, rule: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_index(index)
    assert caught.value.finding.reason == rule


@given(st.binary(max_size=60))
def test_arbitrary_bytes_as_index(data: bytes) -> None:
    for index in (data, b'{"weight_map":' + data + b"}", b'{"weight_map":{"a":' + data + b"}}"):
        read_back = modelfiles.outcome(parse_index, index)
        assert isinstance(read_back, FormatError) or read_back.shards


def test_a_total_size_that_is_no_number_is_unknown() -> None:
    assert parse_index(b'{"metadata":{"total_size":1.5},"weight_map":{"a":"x.safetensors"}}').total_size is None
