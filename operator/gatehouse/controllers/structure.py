"""The structure of an artifact, read for kilobytes: configurations, headers of weights, the shard index.

Files that are read in full on the way are hashed from the bytes in hand, so that no object is read twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gatehouse.controllers.ports import ArtifactStore
from gatehouse.domain import gguf, model_config, onnx, safetensors
from gatehouse.domain.artifact import Problem, StoredObject
from gatehouse.domain.format_error import FormatError, shown
from gatehouse.domain.layout import CONFIG, Layout
from gatehouse.domain.model_config import ModelConfig
from gatehouse.domain.unsafe_files import OPENING_BYTES, check_opening

__all__ = ["Structure", "StructureReader", "each"]

T = TypeVar("T")
R = TypeVar("R")

_OPENING = 65_536
"""Bytes that are read of a file of weights at first: with them comes the header of most shards."""
_LARGE = 1_048_576
_AT_ONCE = 4


@dataclass(slots=True)
class Structure:
    """What was found out so far. ``hashes`` is the hex SHA-256 by path of the files that were read in full, ``opened``
    has every file whose first bytes were seen."""

    problems: list[Problem] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    parameters: int | None = None
    weights_bytes: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    config: ModelConfig | None = None
    unsafe: list[str] = field(default_factory=list)

    def refuse(self, stored: StoredObject, error: FormatError) -> None:
        """Keeps what is wrong with a file."""
        if error.rule == "UnsafeFile":
            self.unsafe.append(stored.path)
        self.problems.append(Problem.in_file(stored.path, error))

    def count(self, sums: Iterable[tuple[str, int, int]]) -> None:
        """Adds up (dtype, elements, bytes)."""
        elements: Counter[str] = Counter()
        total = 0
        for dtype, number, size in sums:
            elements[dtype] += number
            total += size
        self.parameters, self.weights_bytes, self.dtypes = elements.total(), total, dict(sorted(elements.items()))


class StructureReader:
    """Reads the structure of one artifact. ``large`` lets one large header at a time into memory."""

    def __init__(self, store: ArtifactStore, prefix: str, *, large: asyncio.Lock) -> None:
        self._store = store
        self._prefix = prefix
        self._large = large

    async def read(self, layout: Layout, *, artifact_format: str) -> Structure:
        """Check what the layout shows. Problems are collected; only the store's errors are raised."""
        found = Structure()

        async def configuration(stored: StoredObject) -> None:
            await self._configuration(stored, found)

        async def search(stored: StoredObject) -> None:
            await self._search(stored, found)

        await each(layout.configurations, configuration)
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
            data = await self._whole(stored, found, most=model_config.MAX_CONFIG)
            if stored.path == CONFIG:
                found.config = model_config.parse_config(data)
                names_code = found.config.auto_map
            else:
                names_code = model_config.declares_remote_code(data)
            if names_code:
                _refuse_code(stored, found)

    async def _search(self, stored: StoredObject, found: Structure) -> None:
        """A file that no loader is known to read as a configuration: of any shape, but it names no code."""
        with _Refusals(stored, found):
            if model_config.mentions_remote_code(await self._whole(stored, found, most=model_config.MAX_CONFIG)):
                _refuse_code(stored, found)

    async def _safetensors(self, layout: Layout, found: Structure) -> None:
        headers: dict[str, safetensors.SafetensorsHeader] = {}

        async def header(stored: StoredObject) -> None:
            with _Refusals(stored, found):
                headers[stored.path] = await self._safetensors_header(stored, found)

        await each((*layout.weights, *layout.others), header)
        counted = {stored.path for stored in layout.weights}
        if layout.index is not None:
            counted = set()
            with _Refusals(layout.index, found):
                data = await self._whole(layout.index, found, most=safetensors.MAX_INDEX)
                index = await _parsed(data, safetensors.parse_index)
                _check_index(index, layout, headers)
                counted = set(index.shards)
        totals = [header for path, header in headers.items() if path in counted]
        if totals and len(totals) == len(counted):
            found.problems.extend(_doubled(totals))
            found.count((name, t.elements, t.bytes) for header in totals for name, t in header.dtypes.items())

    async def _safetensors_header(self, stored: StoredObject, found: Structure) -> safetensors.SafetensorsHeader:
        opening = await self._opening(stored, found)
        length = safetensors.header_length(opening[: safetensors.HEADER_LENGTH_BYTES], stored.size)
        end = safetensors.HEADER_LENGTH_BYTES + length
        if end <= len(opening):
            return safetensors.parse_header(opening[safetensors.HEADER_LENGTH_BYTES : end], object_size=stored.size)
        async with self._large:
            rest = await self._store.read(self._prefix, stored, start=safetensors.HEADER_LENGTH_BYTES, length=length)
            return await _parsed(rest, lambda data: safetensors.parse_header(data, object_size=stored.size))

    async def _gguf(self, layout: Layout, found: Structure) -> None:
        headers: dict[str, gguf.GgufHeader] = {}

        async def header(stored: StoredObject) -> None:
            with _Refusals(stored, found):
                headers[stored.path] = await self._gguf_header(stored, found)

        await each((*layout.weights, *layout.others), header)
        counted = [headers[stored.path] for stored in layout.weights if stored.path in headers]
        if counted and len(counted) == len(layout.weights):
            found.count((name, t.elements, t.bytes) for header in counted for name, t in header.types.items())
            found.config = counted[0].config

    async def _gguf_header(self, stored: StoredObject, found: Structure) -> gguf.GgufHeader:
        data = await self._opening(stored, found)
        header = gguf.parse(data, object_size=stored.size)
        if isinstance(header, gguf.GgufHeader):
            return header
        async with self._large:
            while isinstance(header, gguf.NeedMore):
                missing = header.bytes_wanted - len(data)
                data += await self._store.read(self._prefix, stored, start=len(data), length=missing)
                header = await _parsed(data, lambda data: gguf.parse(data, object_size=stored.size))
            return header

    async def _onnx(self, layout: Layout, found: Structure) -> None:
        graphs: dict[str, onnx.OnnxGraph] = {}

        async def graph(stored: StoredObject) -> None:
            with _Refusals(stored, found):
                graphs[stored.path] = await self._onnx_graph(stored, found)

        await each(layout.weights, graph)
        sizes = {stored.path: stored.size for stored in layout.files}
        for path, each_graph in graphs.items():
            found.problems.extend(_external(path, each_graph, sizes))
        if graphs and len(graphs) == len(layout.weights):
            found.count((name, t.elements, t.bytes) for graph in graphs.values() for name, t in graph.dtypes.items())

    async def _onnx_graph(self, stored: StoredObject, found: Structure) -> onnx.OnnxGraph:
        scan = onnx.OnnxScan(stored.size)
        opening = await self._opening(stored, found)
        answer = scan.step()
        while isinstance(answer, onnx.Want):
            end = min(answer.offset + answer.length, stored.size)
            if end <= len(opening):
                data = opening[answer.offset : end]
            else:
                data = await self._store.read(self._prefix, stored, start=answer.offset, length=end - answer.offset)
            answer = scan.step(data)
        return answer

    async def _opening(self, stored: StoredObject, found: Structure) -> bytes:
        """The first 64 KiB."""
        opening = await self._store.read(self._prefix, stored, start=0, length=min(_OPENING, stored.size))
        found.opened.add(stored.path)
        check_opening(stored.path, opening)
        if len(opening) == stored.size:
            found.hashes[stored.path] = hashlib.sha256(opening).hexdigest()
        return opening

    async def _whole(self, stored: StoredObject, found: Structure, *, most: int) -> bytes:
        if stored.size > most:
            raise FormatError("JsonTooLarge", f"{stored.size} bytes", f"at most {most} bytes", "Write the file again.")
        if stored.size <= _LARGE:
            data = await self._store.read(self._prefix, stored, start=0, length=stored.size)
        else:
            async with self._large:
                data = await self._store.read(self._prefix, stored, start=0, length=stored.size)
        found.opened.add(stored.path)
        check_opening(stored.path, data[:OPENING_BYTES])
        found.hashes[stored.path] = hashlib.sha256(data).hexdigest()
        return data


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
    """``work`` on every item, a few at once; results in the order of the items. The first error ends the others."""
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


async def _parsed(data: bytes, parse: Callable[[bytes], R]) -> R:
    if len(data) <= _LARGE:
        return parse(data)
    return await asyncio.to_thread(parse, data)


def _refuse_code(stored: StoredObject, found: Structure) -> None:
    found.unsafe.append(stored.path)
    found.problems.append(
        Problem(
            rule="RemoteCode",
            found=f"auto_map in {shown(stored.path)}, which names code to be run",
            wanted="configurations that only describe",
            remedy="Use an architecture that the runtime has built in, and remove auto_map.",
        )
    )


def _check_index(
    index: safetensors.ShardIndex, layout: Layout, headers: Mapping[str, safetensors.SafetensorsHeader]
) -> None:
    there = {stored.path for stored in layout.files}
    missing = [shard for shard in index.shards if shard not in there]
    if missing:
        raise FormatError(
            "ShardMissing",
            f"{len(missing)} of {len(index.shards)} shards missing, {shown(missing[0])} among them",
            "every shard that the index names",
            "Upload the missing shards.",
        )
    if headers.keys() >= set(index.shards):
        safetensors.check_shards(index, headers)


def _doubled(headers: Sequence[safetensors.SafetensorsHeader]) -> Iterable[Problem]:
    if len(headers) < 2:
        return
    seen: set[str] = set()
    for header in headers:
        twice = min(seen & header.names, default=None)
        if twice is not None:
            yield Problem(
                rule="DuplicateTensor",
                found=f"the tensor {shown(twice)} in two shards",
                wanted="each tensor once",
                remedy="Write the model again with safetensors and upload every file whole.",
            )
            return
        seen |= header.names


def _external(path: str, graph: onnx.OnnxGraph, sizes: Mapping[str, int]) -> Iterable[Problem]:
    folder = path.rpartition("/")[0]
    for location, least in graph.external.items():
        beside = f"{folder}/{location}" if folder else location
        size = sizes.get(beside)
        if size is None or size < least:
            yield Problem(
                rule="ExternalDataMissing" if size is None else "ExternalDataTruncated",
                found=f"{shown(beside)}: " + ("no such file" if size is None else f"{size} bytes"),
                wanted=f"at least {least} bytes, as {shown(path)} says",
                remedy="Upload the file whole.",
            )
