"""Hostile inputs of every parser, in any size: fragments repeated behind beginnings that lead a parser to them.

`SHAPES` has the shapes of each parser's inputs by its name. Whoever adds a parser to the table of parsers, or to
`OTHERS`, adds its shapes here: the tests that double sizes fail without them.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatehouse.domain.artifact import manifest, model_card
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common import bounded_json, bounded_yaml
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats.layout import lay_out
from gatehouse.domain.formats.parsers import Parser, Task
from gatehouse.domain.formats.table import CHECKED_FORMATS, PARSERS
from gatehouse.domain.governance import lm_eval
from gatehouse.domain.query import filter_query
from gatehouse.storage.s3 import listing, multipart, xml
from modelfiles import gguf_string, gguf_tensor

__all__ = ["OTHERS", "SHAPES", "Shape", "every_parser", "parse", "walk"]

KEY = "00" * 16


@dataclass(frozen=True)
class Shape:
    """``of`` makes an input of some `size` bytes."""

    name: str
    of: Callable[[int], bytes]
    arguments: Callable[[int], Mapping[str, Any]] = field(default=lambda _size: {})


def walk(parser: Parser[Any], data: bytes, arguments: Mapping[str, Any]) -> object:
    """Runs a parser over an object in memory; its result or the FormatError."""
    running = parser.walk(Task(size=len(data), arguments=arguments))
    try:
        want = next(running)
        while True:
            want = running.send(data[want.offset : want.offset + want.length])
    except StopIteration as finished:
        return finished.value
    except FormatError as error:
        return error


def _page(data: bytes) -> object:
    try:
        return listing.parse_page(data)
    except xml.DocumentError as error:
        return error


def _parts(data: bytes) -> object:
    try:
        return multipart.parse_parts(data)
    except xml.DocumentError as error:
        return error


def _code(data: bytes) -> object:
    return xml.error_code(data[:65_536])


def _refusing(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        try:
            return read(data)
        except FormatError as error:
            return error

    return run


def _layout(artifact_format: str) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        names = dict.fromkeys(data.decode("utf-8", "surrogateescape").split("\n"))
        found = Listing.of(StoredObject(path=name, size=1, etag='"e"') for name in names)
        return lay_out(found, artifact_format=artifact_format)

    return run


def _filter(data: bytes) -> object:
    """Without the bounds of a filterQuery, which end each of its inputs early."""
    try:
        return list(filter_query._tokens(data.decode("latin-1")))
    except filter_query.FilterQueryError as error:
        return error


OTHERS: dict[str, Callable[[bytes], object]] = {
    "json": _refusing(lambda data: bounded_json.loads(data, what="x", max_bytes=1 << 26)),
    "json leniently": _refusing(lambda data: bounded_json.loads_leniently(data, what="x", max_bytes=1 << 26)),
    "yaml text": _refusing(lambda data: bounded_yaml.loads_text(data, what="x", max_bytes=1 << 26)),
    "yaml documents": _refusing(lambda data: bounded_yaml.load_documents(data, what="x", max_bytes=1 << 26)),
    "model card": _refusing(model_card.parse_card),
    "lm_eval": _refusing(lm_eval.parse_results),
    "manifest": _refusing(lambda data: manifest.parse(data.decode("utf-8", "replace"))),
    "listing page": _page,
    "parts": _parts,
    "error code": _code,
    "filter query": _filter,
    **{f"layout {name}": _layout(name) for name in CHECKED_FORMATS},
}
"""Parsers of strangers' bytes that run elsewhere: in commands, or on what a store answers."""


def parse(name: str, data: bytes, arguments: Mapping[str, Any]) -> object:
    """Runs the parser of that name."""
    return OTHERS[name](data) if name in OTHERS else walk(PARSERS[name], data, arguments)


def every_parser() -> list[str]:
    """The names of all parsers."""
    return [*PARSERS, *OTHERS]


_FRAGMENTS = (
    *(
        b'"',
        b'\\"',
        b'"\\',
        b"\\\\",
        b'""',
        b'"",',
        b'"a":',
        b'{"a":',
        b"{",
        b"}",
        b"[",
        b"]",
        b"[]",
        b"{},",
        b"[[],",
        b",",
    ),
    *(
        b":",
        b" ",
        b"\n",
        b"\t",
        b"1",
        b"1,",
        b"-",
        b"1e",
        b"0.",
        b"\\u0041",
        b"\\ud800",
        b"\xff",
        b"\0",
        b"\xc3\xa9",
        b"null,",
    ),
)


def _repeated(
    fragments: tuple[bytes, ...], beginnings: tuple[bytes, ...], ends: tuple[bytes, ...] = (b"",)
) -> list[Shape]:
    def shape(begin: bytes, fragment: bytes, end: bytes) -> Shape:
        return Shape(f"{begin!r} {fragment!r} {end!r}", lambda size: begin + fragment * (size // len(fragment)) + end)

    return [shape(*each) for each in itertools.product(beginnings, fragments, ends)]


def _numbered(name: str, line: Callable[[int], str], begin: str = "", end: str = "") -> Shape:
    def of(size: int) -> bytes:
        lines: list[str] = [begin]
        length = 0
        for number in itertools.count():
            if length >= size:
                break
            lines.append(line(number))
            length += len(lines[-1])
        return ("".join(lines) + end).encode()

    return Shape(name, of)


_JSON = [
    *_repeated(_FRAGMENTS, (b"", b'{"a":', b'{"', b"[")),
    _numbered("keys", lambda number: f'"{number}":{number},', "{", '"x":1}'),
    _numbered("one key", lambda _: '"x":1,', "{", '"x":1}'),
    _numbered("objects", lambda number: f'{{"{number}":[]}},', "[", "1]"),
]
_FEW_JSON = [*_JSON[::7], *_JSON[-3:]]
"""For the parsers that read JSON by the one reader that gets all of them."""


def _framed(shape: Shape, arguments: Mapping[str, Any]) -> Shape:
    def of(size: int) -> bytes:
        header = shape.of(size)
        return struct.pack("<Q", len(header)) + header

    return Shape(shape.name, of, lambda _size: arguments)


def _tensors(size: int) -> bytes:
    count = size // 60
    entries = {f"t{number}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(count)}
    return json.dumps(entries).encode()


def _dimensions(size: int) -> bytes:
    return b'{"t":{"dtype":"U8","shape":[' + b"1," * (size // 2) + b'1],"data_offsets":[0,1]}}'


_SAFETENSORS = [
    _framed(shape, {"key": KEY})
    for shape in (
        *_repeated(_FRAGMENTS, (b"", b'{"', b'{"a":', b'{"a":{', b'{"a":["', b'{"__metadata__":{"')),
        Shape("tensors", _tensors),
        Shape("dimensions", _dimensions),
    )
]


def _index(size: int) -> bytes:
    return json.dumps({"weight_map": {f"t{number}": f"{number}.safetensors" for number in range(size // 30)}}).encode()


_SHARDS = [
    *(Shape(shape.name, shape.of, lambda _size: {"key": KEY, "marks": {}, "files": []}) for shape in _FEW_JSON),
    Shape("shards", _index, lambda _size: {"key": KEY, "marks": {}, "files": []}),
    Shape(
        "all there",
        _index,
        lambda size: {
            "key": KEY,
            "marks": {f"{number}.safetensors": "AAAAAAAAAAA=" for number in range(size // 30)},
            "files": [f"{number}.safetensors" for number in range(size // 30)],
        },
    ),
]

_ARCHITECTURE = gguf_string("general.architecture") + struct.pack("<I", 8) + gguf_string("llama")


def _gguf(entry: Callable[[int], bytes], *, tensors: bool = False) -> Callable[[int], bytes]:
    def of(size: int) -> bytes:
        entries: list[bytes] = []
        length = 0
        while length < size:
            entries.append(entry(len(entries)))
            length += len(entries[-1])
        counts = (len(entries), 1) if tensors else (0, len(entries) + 1)
        return b"GGUF" + struct.pack("<IQQ", 3, *counts) + _ARCHITECTURE + b"".join(entries)

    return of


def _array(kind: int, element: bytes) -> Callable[[int], bytes]:
    def of(size: int) -> bytes:
        count = size // len(element)
        head = gguf_string("llama.block_count") + struct.pack("<IIQ", 9, kind, count)
        return b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + _ARCHITECTURE + head + element * count

    return of


def _colliding(size: int) -> bytes:
    """Numbers that a set of them would keep in one slot."""
    count = min(size // 8, 50_000)
    head = gguf_string("llama.block_count") + struct.pack("<IIQ", 9, 10, count)
    numbers = b"".join(struct.pack("<Q", number << 32) for number in range(count))
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + _ARCHITECTURE + head + numbers


_GGUF = [
    Shape("keys", _gguf(lambda number: gguf_string(f"k{number}") + struct.pack("<I?", 7, True))),
    Shape("strings", _gguf(lambda number: gguf_string(f"k{number}") + struct.pack("<I", 8) + gguf_string("v"))),
    Shape("tensors", _gguf(lambda number: gguf_tensor(f"t{number}", [0], kind=0, offset=0), tensors=True)),
    Shape("numbers", _array(0, b"\1")),
    Shape("words", _array(8, gguf_string("w"))),
    Shape("empty words", _array(8, gguf_string(""))),
    Shape("colliding numbers", _colliding),
    *_repeated(
        (b"\0", b"\xff", b"\1\0\0\0\0\0\0\0"), (b"", b"GGUF\3\0\0\0", b"GGUF\3\0\0\0" + b"\xff\xff\0\0\0\0\0\0" * 2)
    ),
]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


_BOUND = b"\x08\x07" + _field(8, b"\x10\x0d")


def _onnx(content: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda size: _BOUND + _field(7, content(size))


def _in_graph(name: str, piece: Callable[[int], bytes]) -> Shape:
    def content(size: int) -> bytes:
        pieces: list[bytes] = []
        length = 0
        while length < size:
            pieces.append(piece(len(pieces)))
            length += len(pieces[-1])
        return b"".join(pieces)

    return Shape(name, _onnx(content))


def _entry(key: bytes, value: bytes) -> bytes:
    return _field(13, _field(1, key) + _field(2, value))


_TENSOR = b"\x08\x00\x10\x01"
_CONSTANT = _field(1, _field(5, _field(5, _TENSOR)) + _field(4, b"Constant"))
_ONNX = [
    _in_graph("numbers", lambda _: b"\x08\x00"),
    _in_graph("nodes", lambda _: _field(1, b"")),
    _in_graph("nested nodes", lambda _: _field(1, _field(5, _field(6, _field(1, b""))))),
    _in_graph("constants", lambda _: _CONSTANT),
    _in_graph("constants of one node", lambda _: _field(1, _field(5, _field(5, _TENSOR)) * 1_000 + _CONSTANT[2:])),
    _in_graph("constants in branches", lambda _: _field(1, _field(5, _field(6, _CONSTANT)) * 2)),
    _in_graph("names of operators", lambda _: _field(1, _field(4, b"C" * 4_000) + _field(7, b"d" * 4_000))),
    _in_graph("tensors", lambda number: _field(5, _TENSOR + _field(8, b"t%d" % number))),
    _in_graph(
        "files",
        lambda number: _field(5, _TENSOR + b"\x70\x01" + _entry(b"location", b"f%d" % number)),
    ),
    Shape(
        "external entries",
        _onnx(
            lambda size: _field(5, _TENSOR + b"".join(_entry(b"k%d" % number, b"v") for number in range(size // 12)))
        ),
    ),
    Shape("dimensions", _onnx(lambda size: _field(5, b"\x10\x01" + b"\x08\x01" * (size // 2)))),
    Shape(
        "packed dimensions",
        _onnx(lambda size: b"".join(_field(5, b"\x10\x01" + _field(1, b"\1" * 4000)) for _ in range(size // 4000 + 1))),
    ),
    Shape("deep", _onnx(lambda size: b"\x0a\x7f" * (size // 2))),
    Shape("opsets", lambda size: b"".join(_field(8, _field(1, b"%d" % number)) for number in range(size // 8))),
    *_repeated((b"\0", b"\x80", b"\xff", b"\x0a", b"\x3a\x00", b"\x0b"), (b"", _BOUND)),
]


def _signed(size: int) -> bytes:
    resources = [{"name": f"f{number}", "algorithm": "sha256", "digest": "00" * 32} for number in range(size // 200)]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": {"method": "files"}, "resources": resources},
        "subject": [{"digest": {"sha256": ""}}],
    }
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(json.dumps(statement).encode()).decode(),
        "signatures": [{"sig": "AAAA"}],
    }
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "dsseEnvelope": envelope,
        "verificationMaterial": {"publicKey": {"hint": "x"}},
    }
    return json.dumps(bundle).encode()


_SIGNATURE = [
    *(Shape(shape.name, shape.of, lambda _size: {"files": {}}) for shape in _FEW_JSON),
    Shape("files", _signed, lambda size: {"files": {f"f{number}": "00" * 32 for number in range(size // 200)}}),
]

_YAML = [
    *_repeated(
        (
            *_FRAGMENTS,
            *(
                b"- ",
                b"? ",
                b"&a ",
                b"*a ",
                b"!a ",
                b"# ",
                b"---\n",
                b"...\n",
                b"a: b\n",
                b"a:\n ",
                b"- a\n",
                b"|\n",
                b"'",
                b"<<: {",
            ),
            *(b"%YAML 1.1\n", b"1:", b"0b1", b"a: &x\n", b"{a: b}, ", b"%", b"\xe2\x80\xa8"),
        ),
        (b"", b"a: ", b"[", b'"', b"- |\n  "),
    ),
    _numbered("tag directives", lambda number: f"%TAG !a{number}! b\n", end="---\na: b\n"),
    _numbered("anchors", lambda number: f"a{number}: &a{number} b\n"),
    _numbered("keys", lambda number: f"a{number}: b\n"),
    Shape("a number of base 60", lambda size: b"a: " + b"1:" * (size // 2) + b"1"),
]


def _in_card(shape: Shape) -> Shape:
    return Shape(shape.name, lambda size: b"---\n" + shape.of(size) + b"\n---\n")


_CARD = [
    *map(_in_card, _YAML[::7]),
    *_repeated((b"---", b"--- ", b"---\t\n", b"---  x\n", b"-", b" ", b"\n"), (b"", b"---\n")),
    _numbered("members one by one", lambda number: f"a{number}: [b]\n", "---\nx: a: b\n", "---\n"),
    _numbered("odd lines", lambda number: f"@{number}\n", "---\nx: a: b\n", "---\n"),
    _numbered("one member twice", lambda number: f"license: l{number}\n", "---\n", "---\n"),
    _numbered("languages", lambda number: f"  - l{number}\n", "---\nlanguage:\n", "---\n"),
    _numbered("tags", lambda number: f"  - tag{number}\n", "---\ntags:\n", "---\n"),
]

_HARNESS = [
    *_FEW_JSON,
    _numbered("metrics", lambda number: f'"m{number},none":1,', '{"results":{"t":{', '"alias":1}}}'),
    _numbered("no metrics", lambda number: f'"m{number},none":"x",', '{"results":{"t":{', '"alias":1}}}'),
    _numbered("tasks", lambda number: f'"t{number}":{{}},', '{"results":{', '"t":{}}}'),
]

_MANIFEST = [
    *_repeated((b"0", b"0" * 64 + b"  a\n", b"\n", b" ", b"a/", b"\xc3\xa9"), (b"", b"0" * 64 + b"  ")),
    _numbered("files", lambda number: f"{'0' * 64}  f{number:09}\n"),
]

_XML = [
    *_repeated(
        (
            *(
                b"<a>",
                b"<a/>",
                b"<Contents/>",
                b"<Contents>",
                b"<",
                b">",
                b"&amp;",
                b"&lt;",
                b" ",
                b"a='b' ",
                b"<!---->",
                b"<!--",
            ),
            *(
                b"<![CDATA[",
                b"<?a?>",
                b"&#65;",
                b"%20",
                b"\xff",
                b"<Contents><Key>a</Key><Size>1</Size><ETag>e</ETag><LastModified>2026-11-29T12:00:00Z</LastModified></Contents>",
            ),
            *(b"<Code>", b"<Code> ", b"<Code>a", b"a ", b"]]>"),
        ),
        (
            b"",
            b"<ListBucketResult>",
            b"<ListBucketResult ",
            b"<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>",
            b"<Error><Code>",
            b"<Error><Code>a ",
        ),
    ),
    _numbered("attributes", lambda number: f"a{number}='b' ", "<ListBucketResult ", "/>"),
    _numbered("namespaces", lambda number: f"xmlns:a{number}='b{number}' ", "<ListBucketResult ", "/>"),
    _numbered("elements", lambda number: f"<a{number}/>", "<ListBucketResult>", "</ListBucketResult>"),
]


def _layouts(ending: str) -> list[Shape]:
    return [
        _numbered("files", lambda number: f"{number}{ending}\n"),
        _numbered("projectors", lambda number: f"mmproj{number}{ending}\n"),
        _numbered("folders", lambda number: f"{number}/a{ending}\n"),
        _numbered("deep folders", lambda number: f"{number}/{'a/' * 500}{ending}\n"),
        _numbered("folders as deep as may be", lambda number: f"{number}/{('a' * 30 + '/') * 30}{ending}\n"),
        _numbered("splits", lambda number: f"m-{number % 99_999:05}-of-99999{ending}\n"),
        _numbered("long names", lambda number: f"{number}{'-00001-of-00001' * 60}{ending}\n"),
        _numbered("hostile names", lambda number: f"{number}\x1b{ending}\n"),
        _numbered("scripts", lambda number: f"{number}.js\n"),
        _numbered(
            "pickles below deep folders", lambda number: f"{'a/' * 500}{number}.bin\n", "meta.json\nconfig.cfg\n"
        ),
        _numbered("pipelines", lambda number: f"{number}/meta.json\n{number}/config.cfg\n{number}/a/b/c.bin\n"),
        _numbered("packages", lambda number: f"{number}{'.mlpackage' * 50}/weight.bin\n"),
        _numbered("manifests", lambda number: f"{number}/a-weights_manifest.json\n{number}/a.bin\n"),
        _numbered("libraries", lambda number: f"{number}{'.so.1' * 200}x\n"),
    ]


_FILTER = _repeated(
    (b"a", b"1", b"1e", b".1", b"--", b"-1", b"''", b"\\'", b"\\", b"`", b"(", b"a.", b" ", b"\n"),
    (b"", b"'", b"`", b"1."),
)

SHAPES: dict[str, list[Shape]] = {
    "safetensors": _SAFETENSORS,
    "shards": _SHARDS,
    "gguf": _GGUF,
    "onnx": _ONNX,
    "onnx-data": [Shape("numbers", bytes), *_repeated((b"\0", b"\x80", b"\xff"), (b"", b"\x80\2", b"\x89HDF"))],
    "configuration": _FEW_JSON,
    "remote-code": _FEW_JSON,
    "side-facts": [Shape(shape.name, shape.of, lambda _size: {"name": "hf_quant_config.json"}) for shape in _FEW_JSON],
    "mentioned-code": [
        *_FEW_JSON,
        *_repeated((b'"auto_map"', b'"auto_map" ', b" ", b"\\u0061", b"\\", b"\\\\u00"), (b"", b'"auto_map"')),
    ],
    "signature": _SIGNATURE,
    "manifest-file": [Shape(shape.name, shape.of, lambda _size: {"files": {"a": "0" * 64}}) for shape in _MANIFEST],
    "json": _JSON,
    "json leniently": [
        *_JSON[::3],
        _numbered("keys twice", lambda number: f'"k{number}": 1, "k{number}": 2, ', "{", '"a": 1}'),
        _numbered("numbers beyond", lambda number: f"{number}e400, ", "[", "1]"),
        _numbered("halves of pairs", lambda _: '"\\ud800", ', "[", "1]"),
    ],
    "yaml text": [*_YAML[::7], *_YAML[-4:]],
    "yaml documents": _YAML,
    "model card": _CARD,
    "lm_eval": _HARNESS,
    "manifest": _MANIFEST,
    "listing page": _XML,
    "parts": _XML,
    "error code": _XML,
    "filter query": _FILTER,
    **{f"layout {name}": _layouts(known.ending) for name, known in CHECKED_FORMATS.items()},
}
