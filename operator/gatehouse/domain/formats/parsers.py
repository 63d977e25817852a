"""Every parser of untrusted bytes that the operator runs, by name.

Parsers receive values and return values, so that a separate process can run each of them.

A parser is a walk over one object: it asks for ranges of the object (`Want`), receives their bytes, and returns its
result or raises FormatError. It takes time and memory in proportion to the bytes that it received.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

from gatehouse.domain.artifact import model_config, own_files, side_files
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.side_files import NamesCode, SideFacts, read_side_facts
from gatehouse.domain.artifact.signature import LARGEST_SIGNATURE, SignatureRecord, read_signature
from gatehouse.domain.formats import gguf, onnx, safetensors, shards
from gatehouse.domain.formats.gguf import GgufHeader
from gatehouse.domain.formats.onnx import OnnxGraph, Want
from gatehouse.domain.formats.safetensors import DtypeTotal
from gatehouse.domain.formats.shards import Marks

__all__ = [
    "CONFIGURATION",
    "GGUF",
    "MANIFEST",
    "MENTIONED_CODE",
    "ONNX",
    "OPENING",
    "PARSERS",
    "REMOTE_CODE",
    "SAFETENSORS",
    "SHARDS",
    "SIDE_FACTS",
    "SIGNATURE",
    "NamesCode",
    "Parser",
    "ShardSet",
    "Sound",
    "Task",
    "TensorFile",
    "Walk",
    "Want",
]

OPENING: Final = 65_536
"""Bytes of a weight file that are read first: they contain the header of most shards."""
_MIB: Final = 1_048_576

R = TypeVar("R")
Walk: TypeAlias = Generator[Want, bytes, R]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An object of ``size`` bytes, and the other input of its parser: values that JSON can hold.

    ``weight`` is the number of bytes of that input that come from untrusted sources.
    """

    size: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser(Generic[R]):
    """``result`` is a dataclass that JSON can hold.

    An object of up to ``inline`` bytes costs so little that its walk may run in the event loop. A walk never keeps more
    than ``holds`` bytes. The first large Want of a walk that ``grows`` does not show how many bytes it will keep.
    """

    name: str
    walk: Callable[[Task], Walk[R]]
    result: type[R]
    holds: int
    inline: int = OPENING
    grows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """A safetensors file. ``marks`` are those of its tensors' names, where the caller gave a key for them.

    :class:`gatehouse.domain.formats.safetensors.Roles` sums up the rest.
    """

    tensors: int
    parameters: int
    tensor_bytes: int
    dtypes: Mapping[str, DtypeTotal]
    marks: Marks
    head_bytes: int = 0
    unloaded_bytes: int = 0
    plain: int = 0
    packed_bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """The shards that an index names."""

    shards: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The object has no problem."""


def _opening(task: Task) -> Want:
    return Want(0, min(OPENING, task.size))


def _whole(task: Task) -> Want:
    return Want(0, task.size)


def _safetensors(task: Task) -> Walk[TensorFile]:
    opening = yield _opening(task)
    start = safetensors.HEADER_LENGTH_BYTES
    length = safetensors.header_length(opening[:start], task.size)
    header = opening[start : start + length]
    if len(header) < length:
        header = yield Want(start, length)
    found = safetensors.parse_header(header, object_size=task.size, layers=task.arguments.get("layers", 0))
    key = task.arguments.get("key")
    return TensorFile(
        tensors=len(found.names),
        parameters=found.parameters,
        tensor_bytes=found.tensor_bytes,
        dtypes=found.dtypes,
        marks=Marks() if key is None else Marks.of(found.names, key=bytes.fromhex(key)),
        head_bytes=found.roles.head_bytes,
        unloaded_bytes=found.roles.unloaded_bytes,
        plain=found.roles.plain,
        packed_bits=found.roles.packed_bits,
    )


def _shards(task: Task) -> Walk[ShardSet]:
    """Check the index of shards (an object of 0 bytes where the artifact has none) against the ``marks`` of every
    shard.

    ``files`` are the paths that exist.
    """
    key = bytes.fromhex(task.arguments["key"])
    marks = {path: Marks(text) for path, text in task.arguments["marks"].items()}
    if not task.size:
        shards.check_once(marks, key=key)
        return ShardSet(shards=tuple(sorted(marks)))
    index = safetensors.parse_index((yield _whole(task)))
    safetensors.check_there(index, frozenset(task.arguments["files"]))
    named = {shard: marks[shard] for shard in index.shards if shard in marks}
    if len(named) == len(index.shards):
        shards.check_index(index, named, key=key)
        shards.check_once(named, key=key, named=index.weight_map)
    return ShardSet(shards=index.shards)


def _gguf(task: Task) -> Walk[GgufHeader]:
    key = task.arguments.get("key")
    marking = None if key is None else bytes.fromhex(key)
    data = yield _opening(task)
    while isinstance(header := gguf.parse(data, object_size=task.size, key=marking), gguf.NeedMore):
        data += yield Want(len(data), header.bytes_wanted - len(data))
    return header


def _onnx(task: Task) -> Walk[OnnxGraph]:
    scan = onnx.OnnxScan(task.size)
    opening = yield _opening(task)
    answer = scan.step()
    while isinstance(answer, Want):
        end = min(answer.offset + answer.length, task.size)
        if end <= len(opening):
            data = opening[answer.offset : end]
        else:
            data = yield Want(answer.offset, end - answer.offset)
        answer = scan.step(data)
    return answer


def _configuration(task: Task) -> Walk[ModelConfig]:
    return model_config.parse_config((yield _whole(task)))


def _remote_code(task: Task) -> Walk[NamesCode]:
    return side_files.read((yield _whole(task)))


def _side_facts(task: Task) -> Walk[SideFacts]:
    """``name`` is the name of the file."""
    return read_side_facts(task.arguments["name"], (yield _whole(task)))


def _mentioned_code(task: Task) -> Walk[NamesCode]:
    return NamesCode(names_code=model_config.mentions_remote_code((yield _whole(task))))


def _signature(task: Task) -> Walk[SignatureRecord]:
    """``files`` is hex SHA-256 by path."""
    bundle = yield _whole(task)
    own_files.check_signature(bundle)
    return read_signature(bundle, task.arguments["files"])


def _manifest(task: Task) -> Walk[Sound]:
    """``files`` is hex SHA-256 by path."""
    own_files.check_manifest((yield _whole(task)), task.arguments["files"])
    return Sound()


SAFETENSORS: Final = Parser(
    name="safetensors",
    walk=_safetensors,
    result=TensorFile,
    holds=OPENING + safetensors.HEADER_LENGTH_BYTES + safetensors.MAX_HEADER,
)
SHARDS: Final = Parser(name="shards", walk=_shards, result=ShardSet, holds=safetensors.MAX_INDEX)
GGUF: Final = Parser(name="gguf", walk=_gguf, result=GgufHeader, holds=gguf.MAX_HEADER, grows=True)
ONNX: Final = Parser(name="onnx", walk=_onnx, result=OnnxGraph, inline=16_384, holds=4 * _MIB, grows=True)
CONFIGURATION: Final = Parser(
    name="configuration", walk=_configuration, result=ModelConfig, holds=model_config.MAX_CONFIG
)
REMOTE_CODE: Final = Parser(name="remote-code", walk=_remote_code, result=NamesCode, holds=model_config.MAX_CONFIG)
SIDE_FACTS: Final = Parser(name="side-facts", walk=_side_facts, result=SideFacts, holds=model_config.MAX_CONFIG)
MENTIONED_CODE: Final = Parser(
    name="mentioned-code", walk=_mentioned_code, result=NamesCode, holds=model_config.MAX_CONFIG
)
SIGNATURE: Final = Parser(name="signature", walk=_signature, result=SignatureRecord, holds=LARGEST_SIGNATURE)
MANIFEST: Final = Parser(name="manifest-file", walk=_manifest, result=Sound, holds=own_files.LARGEST_MANIFEST)

PARSERS: Final[Mapping[str, Parser[Any]]] = {
    parser.name: parser
    for parser in (
        SAFETENSORS,
        SHARDS,
        GGUF,
        ONNX,
        CONFIGURATION,
        REMOTE_CODE,
        SIDE_FACTS,
        MENTIONED_CODE,
        SIGNATURE,
        MANIFEST,
    )
}
