"""The structure of an artifact, from few kilobytes: configurations, headers of weights, the shard index.

Files that these checks read in full are hashed from the same bytes, so that no object is read twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gatehouse.controllers.verification.parsing import Parsing
from gatehouse.domain.artifact import model_config
from gatehouse.domain.artifact.layout import CONFIG, SINGLE, Layout, single_and_index, unsafe_files
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.side_files import (
    QUANTIZATION_FILES,
    SENTENCE_FILES,
    NamesCode,
    SideFacts,
    with_side_facts,
)
from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES, check_no_pickle, check_opening
from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError, listed, shown
from gatehouse.domain.formats import onnx, parsers, safetensors, shards
from gatehouse.domain.formats.gguf import GgufHeader
from gatehouse.domain.formats.gguf_set import gguf_set
from gatehouse.domain.formats.onnx import OnnxGraph
from gatehouse.domain.formats.parsers import Parser, Task, TensorFile
from gatehouse.domain.formats.safetensors import parameters_of
from gatehouse.storage.port import ArtifactStore

__all__ = ["Structure", "StructureReader", "each"]

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 4
_MOST_NOTES = 16
_SPLIT_NOTE = (
    "the model is split into {count} files: releases of vLLM that load a single GGUF file do not start with it. "
    "llama-gguf-split --merge makes one file of them"
)
_TELLING = frozenset({"tokenizer_config.json", *SENTENCE_FILES, *QUANTIZATION_FILES})
"""Files beside config.json, in the top folder, of which Gatehouse reads more than whether they name code."""
_MANY_BYTES = 16 * 1024 * 1024
"""Bytes in several shards above which few artifacts are read at once: their marks stay in memory until the end."""


@dataclass(slots=True)
class Structure:
    """The findings so far.

    ``hashes`` is the hex SHA-256 by path of the files that were read in full, ``opened`` has every file whose first
    bytes were seen. ``model_file`` is the file that a server gets in place of the folder.
    """

    problems: list[Finding] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    parameters: int | None = None
    weights_bytes: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    config: ModelConfig | None = None
    model_file: str | None = None
    head_bytes: int = 0
    unloaded_bytes: int = 0
    beside: dict[str, SideFacts] = field(default_factory=dict)
    unsafe: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, stored: StoredObject, error: FormatError) -> None:
        """Records the problem of a file."""
        if error.finding.reason == "UnsafeFile":
            self.unsafe.append(stored.path)
        self.problems.append(error.in_file(stored.path))

    def count(self, sums: Iterable[tuple[str, int, int]]) -> None:
        """Sums up (dtype, elements, bytes)."""
        elements: Counter[str] = Counter()
        total = 0
        for dtype, number, size in sums:
            elements[dtype] += number
            total += size
        self.parameters, self.weights_bytes, self.dtypes = elements.total(), total, dict(sorted(elements.items()))

    def sort_out(self, files: Sequence[TensorFile]) -> None:
        """Separates parameters from values stored beside quantized ones, and tensors that no model server loads."""
        self.head_bytes = sum(each.head_bytes for each in files)
        self.unloaded_bytes = sum(each.unloaded_bytes for each in files)
        quantization = self.config.quantization if self.config else None
        self.parameters = parameters_of(
            elements=self.parameters or 0,
            plain=sum(each.plain for each in files),
            packed_bits=sum(each.packed_bits for each in files),
            bits=quantization.bits if quantization else None,
            quantized=quantization is not None,
        )


class StructureReader:
    """Reads the structure of one artifact. ``many`` bounds how many artifacts of many shards are read at once."""

    def __init__(self, store: ArtifactStore, prefix: str, *, parsing: Parsing, many: asyncio.Semaphore) -> None:
        self._store = store
        self._prefix = prefix
        self._parsing = parsing
        self._many = many

    async def read(self, layout: Layout, *, artifact_format: str) -> Structure:
        """Check the files of the layout. Problems are collected; only the store's errors are raised."""
        found = Structure()

        async def configuration(stored: StoredObject) -> None:
            await self._configuration(stored, found)

        async def search(stored: StoredObject) -> None:
            await self._search(stored, found)

        await each(layout.configurations, configuration)
        if found.config is not None:
            found.config = with_side_facts(found.config, found.beside)
        await each([stored for stored in layout.searched if stored.size <= model_config.MAX_CONFIG], search)
        match artifact_format:
            case "safetensors":
                await self._safetensors(layout, found)
            case "gguf":
                await self._gguf(layout, found)
            case "onnx":
                await self._onnx(layout, found)
        return found

    async def _configuration(self, stored: StoredObject, found: Structure) -> None:
        with _Refusals(stored, found):
            _check_size(stored, most=model_config.MAX_CONFIG)
            if stored.path == CONFIG:
                found.config = await self._parse(parsers.CONFIGURATION, stored, found)
                names_code = found.config.auto_map
            else:
                named = await self._side(stored, found)
                names_code = named.names_code
                if named.odd is not None:
                    found.notes.append(f"odd in {shown(stored.path)}, and passed over: {named.odd}")
            if names_code:
                _refuse_code(stored, found)

    async def _side(self, stored: StoredObject, found: Structure) -> NamesCode | SideFacts:
        """A configuration beside config.json."""
        if stored.path not in _TELLING:
            return await self._parse(parsers.REMOTE_CODE, stored, found)
        facts = await self._parse(parsers.SIDE_FACTS, stored, found, {"name": stored.path})
        found.beside[stored.path] = facts
        return facts

    async def _search(self, stored: StoredObject, found: Structure) -> None:
        """A file that no known loader reads as a configuration: it may have any shape, but must not name code."""
        with _Refusals(stored, found):
            if (await self._parse(parsers.MENTIONED_CODE, stored, found)).names_code:
                _refuse_code(stored, found)

    async def _safetensors(self, layout: Layout, found: Structure) -> None:
        if len(layout.weights) > 1 and sum(stored.size for stored in layout.weights) > _MANY_BYTES:
            async with self._many:
                await self._tensor_files(layout, found)
        else:
            await self._tensor_files(layout, found)

    async def _tensor_files(self, layout: Layout, found: Structure) -> None:
        headers: dict[str, TensorFile] = {}
        key = secrets.token_hex(shards.KEY_BYTES)
        counted = {stored.path for stored in layout.weights}
        layers = _layers_before(found.config)
        tensors = 0

        async def header(stored: StoredObject) -> None:
            nonlocal tensors
            with _Refusals(stored, found):
                _check_total(tensors)
                # Only tensors that are compared with an index or with other shards need their names.
                arguments: dict[str, Any] = {"key": key} if len(counted) > 1 or layout.index else {}
                arguments |= {"layers": layers} if layers else {}
                headers[stored.path] = await self._parse(parsers.SAFETENSORS, stored, found, arguments)
                tensors += headers[stored.path].tensors
                _check_total(tensors)

        await each((*layout.weights, *layout.others), header)
        if layout.index is not None or len(counted) > 1:
            counted = set(await self._shard_set(layout, found, headers, key))
            if layout.index is not None and counted:
                _hold_against_index([stored.path for stored in layout.weights], counted, found)
        totals = [header for path, header in headers.items() if path in counted]
        if totals and len(totals) == len(counted):
            found.count((name, t.elements, t.bytes) for header in totals for name, t in header.dtypes.items())
            found.sort_out(totals)

    async def _shard_set(
        self, layout: Layout, found: Structure, headers: Mapping[str, TensorFile], key: str
    ) -> tuple[str, ...]:
        """The shards that make the model, compared with the index and each other; empty when they are incomplete."""
        index = layout.index
        weights = {stored.path for stored in layout.weights}
        marks = {path: header.marks.text for path, header in headers.items() if path in weights}
        arguments = {"key": key, "marks": marks, "files": [stored.path for stored in layout.files]}
        weight = sum(len(path) + len(text) for path, text in marks.items())
        with _Refusals(index or layout.weights[0], found):
            if index is None:
                task = Task(size=0, arguments=arguments, weight=weight)
                return (await self._parsing.parse(parsers.SHARDS, task, _nothing)).shards
            _check_size(index, most=safetensors.MAX_INDEX)
            return (await self._parse(parsers.SHARDS, index, found, arguments, weight=weight)).shards
        return ()

    async def _gguf(self, layout: Layout, found: Structure) -> None:
        headers: dict[str, GgufHeader] = {}
        key = secrets.token_hex(shards.KEY_BYTES)
        # Only splits are compared with each other.
        arguments = {"key": key} if len(layout.weights) > 1 else {}
        tensors = 0

        async def header(stored: StoredObject) -> None:
            nonlocal tensors
            with _Refusals(stored, found):
                _check_total(tensors)
                headers[stored.path] = await self._parse(parsers.GGUF, stored, found, arguments)
                tensors += headers[stored.path].tensors
                _check_total(tensors)

        await each(layout.weights, header)
        if not headers or len(headers) < len(layout.weights):
            return
        model = gguf_set(headers, key=bytes.fromhex(key))
        found.notes += [f"passed over: {shown(path)}, {role}" for path, role in model.passed_over.items()][:_MOST_NOTES]
        if model.problem is not None:
            found.problems.append(model.problem)
            return
        counted = [headers[path] for path in model.model]
        found.count((name, t.elements, t.bytes) for header in counted for name, t in header.types.items())
        found.config, found.model_file = counted[0].config, model.model[0]
        if len(counted) > 1:
            found.notes.append(_SPLIT_NOTE.format(count=len(counted)))

    async def _onnx(self, layout: Layout, found: Structure) -> None:
        graphs: dict[str, OnnxGraph] = {}

        async def graph(stored: StoredObject) -> None:
            with _Refusals(stored, found):
                graphs[stored.path] = await self._parse(parsers.ONNX, stored, found)

        await each(layout.weights, graph)
        sizes = {stored.path: stored.size for stored in layout.files}
        beside: set[str] = set()
        for path, each_graph in graphs.items():
            external = onnx.files_of(path, each_graph)
            beside |= external.keys()
            found.problems.extend(onnx.problems_of(path, external, sizes))
        await self._suspects(layout, beside, found)
        told = [each_graph.dtypes for each_graph in graphs.values() if each_graph.parameters is not None]
        if told and len(told) == len(layout.weights):
            found.count((name, t.elements, t.bytes) for dtypes in told for name, t in dtypes.items())

    async def _suspects(self, layout: Layout, data: Collection[str], found: Structure) -> None:
        """Refuses files with the name of a pickle, unless the graphs name them as plain ``data``."""
        refused = [stored.path for stored in layout.suspects if stored.path not in data]
        found.unsafe += refused
        paths = [stored.path for stored in layout.files]
        found.problems += unsafe_files(refused, among=paths, artifact_format="onnx")

        async def look(stored: StoredObject) -> None:
            with _Refusals(stored, found):
                length = min(OPENING_BYTES, stored.size)
                check_no_pickle(await self._store.read(self._prefix, stored, start=0, length=length))

        await each([stored for stored in layout.suspects if stored.path in data], look)

    async def _parse(
        self,
        parser: Parser[R],
        stored: StoredObject,
        found: Structure,
        arguments: Mapping[str, Any] | None = None,
        *,
        weight: int = 0,
    ) -> R:
        """The parser's result for a file. A file that is read in one piece is hashed as well."""

        async def read(start: int, length: int) -> bytes:
            data = await self._store.read(self._prefix, stored, start=start, length=length)
            if start == 0:
                found.opened.add(stored.path)
                check_opening(stored.path, data[:OPENING_BYTES])
            if length == stored.size:
                found.hashes[stored.path] = await _sha256(data)
            return data

        return await self._parsing.parse(parser, Task(size=stored.size, arguments=arguments or {}, weight=weight), read)


def _layers_before(config: ModelConfig | None) -> int:
    """The layers of a model whose files also hold layers that predict further ahead; 0 for every other model."""
    if config is None or not config.details.get("num_nextn_predict_layers"):
        return 0
    return config.num_hidden_layers or 0


class _Refusals:
    """Turns the FormatError of a file into a problem."""

    def __init__(self, stored: StoredObject, found: Structure) -> None:
        self._stored = stored
        self._found = found

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, FormatError):
            return False
        self._found.refuse(self._stored, error)
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


def _refuse_code(stored: StoredObject, found: Structure) -> None:
    found.unsafe.append(stored.path)
    found.problems.append(
        Finding(
            reason="RemoteCode",
            found=f"auto_map in {shown(stored.path)}, which names code to be run",
            expected="configurations that only describe",
            remedy="Use an architecture that the runtime has built in, and remove auto_map.",
        )
    )


async def _nothing(_start: int, _length: int) -> bytes:
    return b""


def _check_size(stored: StoredObject, *, most: int) -> None:
    if stored.size > most:
        raise FormatError("JsonTooLarge", f"{stored.size} bytes", f"at most {most} bytes", "Write the file again.")


def _check_total(tensors: int) -> None:
    if tensors > shards.MAX_MARKS:
        raise FormatError(
            "TooManyTensors",
            f"more than {shards.MAX_MARKS} tensors in all files",
            f"at most {shards.MAX_MARKS} in one artifact",
            "Keep each model in a folder of its own.",
        )


def _hold_against_index(paths: Sequence[str], named: Collection[str], found: Structure) -> None:
    """vLLM reads what the index names, transformers ``model.safetensors`` if there is one: they have to be the same."""
    others = [path for path in paths if path not in named]
    if SINGLE in others:
        found.problems.append(single_and_index(named))
    elif others:
        found.notes.append(f"passed over, as the index does not name them: {listed(others)}")
