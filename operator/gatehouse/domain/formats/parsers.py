"""How Gatehouse parses untrusted bytes, and the parsers of the files that artifacts of every format may have.

Parsers receive values and return values, so that a separate process can run each of them.
:mod:`gatehouse.domain.formats.table` has every parser by name.

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

__all__ = [
    "ARTIFACT_PARSERS",
    "CONFIGURATION",
    "MANIFEST",
    "MENTIONED_CODE",
    "OPENING",
    "REMOTE_CODE",
    "SIDE_FACTS",
    "SIGNATURE",
    "DtypeTotal",
    "NamesCode",
    "Parser",
    "Sound",
    "Task",
    "Walk",
    "Want",
    "opening",
    "whole",
]

OPENING: Final = 65_536
"""Bytes of a weight file that are read first: they contain the header of most shards."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Want:
    """The next bytes that a walk needs."""

    offset: int
    length: int


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
    than ``holds`` bytes. The first large Want of a walk that ``grows`` does not show how many bytes it will keep. JSON
    that is read in one piece has at most ``most`` bytes: a larger object is refused before any of it is read.
    """

    name: str
    walk: Callable[[Task], Walk[R]]
    result: type[R]
    holds: int
    inline: int = OPENING
    grows: bool = False
    most: int | None = None


@dataclass(frozen=True, slots=True)
class DtypeTotal:
    """The sums over the tensors of one data type."""

    elements: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The object has no problem."""


def opening(task: Task) -> Want:
    """The first bytes of a weight file."""
    return Want(0, min(OPENING, task.size))


def whole(task: Task) -> Want:
    """All bytes of the object."""
    return Want(0, task.size)


def _configuration(task: Task) -> Walk[ModelConfig]:
    return model_config.parse_config((yield whole(task)))


def _remote_code(task: Task) -> Walk[NamesCode]:
    return side_files.read((yield whole(task)))


def _side_facts(task: Task) -> Walk[SideFacts]:
    """``name`` is the name of the file."""
    return read_side_facts(task.arguments["name"], (yield whole(task)))


def _mentioned_code(task: Task) -> Walk[NamesCode]:
    return NamesCode(names_code=model_config.mentions_remote_code((yield whole(task))))


def _signature(task: Task) -> Walk[SignatureRecord]:
    """``files`` is hex SHA-256 by path."""
    bundle = yield whole(task)
    own_files.check_signature(bundle)
    return read_signature(bundle, task.arguments["files"])


def _manifest(task: Task) -> Walk[Sound]:
    """``files`` is hex SHA-256 by path."""
    own_files.check_manifest((yield whole(task)), task.arguments["files"])
    return Sound()


_MAX: Final = model_config.MAX_CONFIG
CONFIGURATION: Final = Parser(name="configuration", walk=_configuration, result=ModelConfig, holds=_MAX, most=_MAX)
REMOTE_CODE: Final = Parser(name="remote-code", walk=_remote_code, result=NamesCode, holds=_MAX, most=_MAX)
SIDE_FACTS: Final = Parser(name="side-facts", walk=_side_facts, result=SideFacts, holds=_MAX, most=_MAX)
MENTIONED_CODE: Final = Parser(name="mentioned-code", walk=_mentioned_code, result=NamesCode, holds=_MAX, most=_MAX)
SIGNATURE: Final = Parser(name="signature", walk=_signature, result=SignatureRecord, holds=LARGEST_SIGNATURE)
MANIFEST: Final = Parser(name="manifest-file", walk=_manifest, result=Sound, holds=own_files.LARGEST_MANIFEST)

ARTIFACT_PARSERS: Final[tuple[Parser[Any], ...]] = (
    CONFIGURATION,
    REMOTE_CODE,
    SIDE_FACTS,
    MENTIONED_CODE,
    SIGNATURE,
    MANIFEST,
)
"""The parsers of files that are no weights."""
