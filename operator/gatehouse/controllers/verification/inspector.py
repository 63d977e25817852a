"""The structure of an artifact, from few kilobytes: configurations, and what the format asks for of its weights.

Files that these checks read in full are hashed from the same bytes, so that no object is read twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gatehouse.controllers.verification.parsing import Parsing
from gatehouse.domain.artifact import model_config
from gatehouse.domain.artifact.layout import CONFIG, Layout
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.side_files import (
    QUANTIZATION_FILES,
    SENTENCE_FILES,
    NamesCode,
    SideFacts,
    with_side_facts,
)
from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES, check_opening
from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.formats import parsers, shards
from gatehouse.domain.formats.format import Format, Inspection, InspectionStep, WeightFacts
from gatehouse.domain.formats.layout import unsafe_files
from gatehouse.domain.formats.parsers import Parser, Task
from gatehouse.domain.formats.table import FORMATS
from gatehouse.storage.port import ArtifactStore

__all__ = ["Structure", "StructureReader", "each"]

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 4
_TELLING = frozenset({"tokenizer_config.json", *SENTENCE_FILES, *QUANTIZATION_FILES})
"""Files beside config.json, in the top folder, of which Gatehouse reads more than whether they name code."""
_MANY_BYTES = 16 * 1024 * 1024
"""Bytes in several shards above which few artifacts are read at once: their marks stay in memory until the end."""


@dataclass(slots=True)
class Structure:
    """The findings so far.

    ``hashes`` is the hex SHA-256 by path of the files that were read in full, ``opened`` has every file whose first
    bytes were seen. ``config`` is what the weights say of the model, or else what config.json says.
    """

    problems: list[Finding] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    config: ModelConfig | None = None
    facts: WeightFacts = field(default_factory=WeightFacts)
    beside: dict[str, SideFacts] = field(default_factory=dict)
    unsafe: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, stored: StoredObject, error: FormatError) -> None:
        """Records the problem of a file."""
        if error.finding.reason == "UnsafeFile":
            self.unsafe.append(stored.path)
        self.problems.append(error.in_file(stored.path))


class StructureReader:
    """Reads the structure of one artifact. ``many`` bounds how many artifacts of many shards are read at once."""

    def __init__(self, store: ArtifactStore, prefix: str, *, parsing: Parsing, many: asyncio.Semaphore) -> None:
        self._store = store
        self._prefix = prefix
        self._parsing = parsing
        self._many = many

    async def read(self, layout: Layout, *, artifact_format: str) -> Structure:
        """Check the files of the layout. Problems are collected; only the store's errors are raised."""
        structure = Structure()

        async def configuration(stored: StoredObject) -> None:
            await self._configuration(stored, structure)

        async def search(stored: StoredObject) -> None:
            await self._search(stored, structure)

        await each(layout.configurations, configuration)
        if structure.config is not None:
            structure.config = with_side_facts(structure.config, structure.beside)
        await each([stored for stored in layout.searched if stored.size <= model_config.MAX_CONFIG], search)
        weights = FORMATS[artifact_format]
        many = weights.keeps_marks and len(layout.weights) > 1
        many = many and sum(stored.size for stored in layout.weights) > _MANY_BYTES
        async with self._many if many else nullcontext():
            await self._weights(layout, structure, weights)
        return structure

    async def _configuration(self, stored: StoredObject, structure: Structure) -> None:
        with _Refusals(stored, structure):
            if stored.path == CONFIG:
                structure.config = await self._parse(parsers.CONFIGURATION, stored, structure)
                names_code = structure.config.auto_map
            else:
                named = await self._side(stored, structure)
                names_code = named.names_code
                if named.odd is not None:
                    structure.notes.append(f"malformed in {shown(stored.path)}, and ignored: {named.odd}")
            if names_code:
                _refuse_code(stored, structure)

    async def _side(self, stored: StoredObject, structure: Structure) -> NamesCode | SideFacts:
        """A configuration beside config.json."""
        if stored.path not in _TELLING:
            return await self._parse(parsers.REMOTE_CODE, stored, structure)
        facts = await self._parse(parsers.SIDE_FACTS, stored, structure, {"name": stored.path})
        structure.beside[stored.path] = facts
        return facts

    async def _search(self, stored: StoredObject, structure: Structure) -> None:
        """A file that no known loader reads as a configuration: it may have any shape, but must not name code."""
        with _Refusals(stored, structure):
            if (await self._parse(parsers.MENTIONED_CODE, stored, structure)).names_code:
                _refuse_code(stored, structure)

    async def _weights(self, layout: Layout, structure: Structure, weights: Format) -> None:
        """Run the format's inspection, and keep its facts."""
        inspection = weights.inspect(layout, structure.config, key=secrets.token_hex(shards.KEY_BYTES))
        structure.facts = facts = await self._inspected(inspection, structure)
        structure.config = facts.config or structure.config
        structure.problems += facts.problems
        structure.notes += facts.notes
        structure.unsafe += facts.suspects
        paths = [stored.path for stored in layout.files]
        structure.problems += unsafe_files(facts.suspects, among=paths, artifact_format=weights.name)

    async def _inspected(self, inspection: Inspection, structure: Structure) -> WeightFacts:
        results: Mapping[str, Any] | None = None
        while True:
            try:
                step = next(inspection) if results is None else inspection.send(results)
            except StopIteration as finished:
                facts: WeightFacts = finished.value
                return facts
            results = await self._step(step, structure)

    async def _step(self, step: InspectionStep, structure: Structure) -> Mapping[str, Any]:
        """The results by path. A file that is refused is a problem, and has no result."""
        results: dict[str, Any] = {}
        tensors = 0

        async def parse(stored: StoredObject) -> None:
            nonlocal tensors
            with _Refusals(stored, structure):
                _check_total(tensors)
                if step.unread:
                    task = Task(size=0, arguments=step.arguments, weight=step.weight)
                    result = await self._parsing.parse(step.parser, task, _nothing)
                else:
                    result = await self._parse(step.parser, stored, structure, step.arguments, weight=step.weight)
                results[stored.path] = result
                tensors += step.tensors(result)
                _check_total(tensors)

        await each(step.files, parse)
        return results

    async def _parse(
        self,
        parser: Parser[R],
        stored: StoredObject,
        structure: Structure,
        arguments: Mapping[str, Any] | None = None,
        *,
        weight: int = 0,
    ) -> R:
        """The parser's result for a file. A file that is read in one piece is hashed as well."""

        async def read(start: int, length: int) -> bytes:
            data = await self._store.read(self._prefix, stored, start=start, length=length)
            if start == 0:
                structure.opened.add(stored.path)
                check_opening(stored.path, data[:OPENING_BYTES])
            if length == stored.size:
                structure.hashes[stored.path] = await _sha256(data)
            return data

        if parser.most is not None and stored.size > parser.most:
            raise FormatError(
                "JsonTooLarge", f"{stored.size} bytes", f"at most {parser.most} bytes", "Write the file again."
            )
        return await self._parsing.parse(parser, Task(size=stored.size, arguments=arguments or {}, weight=weight), read)


class _Refusals:
    """Turns the FormatError of a file into a problem."""

    def __init__(self, stored: StoredObject, structure: Structure) -> None:
        self._stored = stored
        self._structure = structure

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, FormatError):
            return False
        self._structure.refuse(self._stored, error)
        return True


async def each(items: Sequence[T], work: Callable[[T], Awaitable[R]], *, at_once: int = _AT_ONCE) -> list[R]:
    """Runs ``work`` on every item, a few at once; results in the items' order. The first error ends the others."""
    if len(items) == 1:
        return [await work(items[0])]
    results: dict[int, R] = {}
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for position, item in waiting:
            results[position] = await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(items))):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [results[position] for position in range(len(items))]


async def _sha256(data: bytes) -> str:
    if len(data) <= parsers.OPENING:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


def _refuse_code(stored: StoredObject, structure: Structure) -> None:
    structure.unsafe.append(stored.path)
    structure.problems.append(
        Finding(
            reason="RemoteCode",
            found=f"auto_map in {shown(stored.path)}, which names code to run",
            expected="configurations that name no code",
            remedy="Use an architecture that the runtime has built in, and remove auto_map.",
        )
    )


async def _nothing(_start: int, _length: int) -> bytes:
    return b""


def _check_total(tensors: int) -> None:
    if tensors > shards.MAX_MARKS:
        raise FormatError(
            "TooManyTensors",
            f"more than {shards.MAX_MARKS} tensors in all files",
            f"at most {shards.MAX_MARKS} in one artifact",
            "Keep each model in a folder of its own.",
        )
