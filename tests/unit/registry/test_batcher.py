"""Calls that meet become batches; statements are counted, not seconds."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.registry.batcher import MAX_OPERATIONS, MAX_WEIGHT, Batcher, BatchResult
from gatehouse.registry.keys import ModelKey, VersionKey
from gatehouse.registry.live_rows import ArchiveObject, CountRows
from gatehouse.registry.models import SaveModel
from gatehouse.registry.operations import Operation
from gatehouse.registry.versions import LoadVersion, SaveFiles
from registrycontract import NOW, a_change, a_file, a_version, open_file


def key(n: int) -> VersionKey:
    return VersionKey("r", "m", f"v{n}")


def save_model(name: str, spec: str = "") -> SaveModel:
    return SaveModel(key=ModelKey("r", name), id=None, known=None, values={"spec": spec}, at=NOW)


class Recorder:
    """Stands for a database: holds the first batch until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[list[Operation[Any]]] = []
        self.gate = threading.Event()
        self.busy = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.answer: Callable[[Sequence[Operation[Any]]], BatchResult] = lambda operations: BatchResult(
            [len(operations)] * len(operations)
        )
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.batcher = Batcher(self._run, thread=self.thread, name="a database")

    def _run(self, operations: Sequence[Operation[Any]]) -> BatchResult:
        self.batches.append(list(operations))
        self._loop.call_soon_threadsafe(self.busy.set)
        assert self.gate.wait(10)
        return self.answer(operations)

    async def submit(self, *operations: Operation[Any]) -> list[Any]:
        """Submits the first one alone, so that the others gather behind it."""
        first = asyncio.create_task(self.batcher.submit(operations[0]))
        await self.busy.wait()
        rest = asyncio.gather(*(self.batcher.submit(each) for each in operations[1:]), return_exceptions=True)
        await asyncio.sleep(0)
        self.gate.set()
        return [*await asyncio.gather(first, return_exceptions=True), *await rest]

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.thread.shutdown()


async def test_an_idle_database_answers_at_once_and_a_busy_one_in_batches(recorder: Recorder) -> None:
    results = await recorder.submit(*(LoadVersion(key(n)) for n in range(1 + MAX_OPERATIONS + 50)))
    assert recorder.sizes == [1, MAX_OPERATIONS, 50]
    assert results == [1] + [MAX_OPERATIONS] * MAX_OPERATIONS + [50] * 50


async def test_reads_and_writes_take_turns(recorder: Recorder) -> None:
    writes = [SaveFiles(key=key(n), files=[]) for n in range(300)]
    await recorder.submit(LoadVersion(key(0)), *writes, *(LoadVersion(key(n)) for n in range(300)))
    assert [type(batch[0]).__name__ for batch in recorder.batches] == [
        "LoadVersion",
        "SaveFiles",
        "LoadVersion",
        "SaveFiles",
        "LoadVersion",
    ]


async def test_one_row_is_written_once_in_a_batch(recorder: Recorder) -> None:
    await recorder.submit(*(SaveFiles(key=key(n), files=[]) for n in (0, 1, 2, 1, 3, 3)))
    assert [[operation.key.version for operation in batch] for batch in recorder.batches] == [
        ["v0"],
        ["v1", "v2"],
        ["v1", "v3"],
        ["v3"],
    ]


async def test_archiving_keeps_its_place_among_the_saves(recorder: Recorder) -> None:
    archive = ArchiveObject(registry="r", kind="model", namespace="n", name="a", change={})
    await recorder.submit(save_model("0"), save_model("a"), archive, save_model("a"), save_model("b"))
    assert [[type(operation).__name__ for operation in batch] for batch in recorder.batches] == [
        ["SaveModel"],
        ["SaveModel"],
        ["ArchiveObject"],
        ["SaveModel", "SaveModel"],
    ]


async def test_a_batch_is_bounded_in_bytes(recorder: Recorder) -> None:
    half = "x" * (MAX_WEIGHT // 2)
    await recorder.submit(*(save_model(str(n), half * (3 if n == 3 else 1)) for n in range(6)))
    assert recorder.sizes == [1, 2, 1, 2]


async def test_a_cancelled_call_is_not_run(recorder: Recorder) -> None:
    first = asyncio.create_task(recorder.batcher.submit(LoadVersion(key(0))))
    await recorder.busy.wait()
    calls = [asyncio.create_task(recorder.batcher.submit(LoadVersion(key(n)))) for n in (1, 2)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0)
    recorder.gate.set()
    assert (await first, await calls[1]) == (1, 1)
    assert [operation.key.version for operation in recorder.batches[1]] == ["v2"]


async def test_what_waits_for_a_database_that_is_down_fails_with_it(recorder: Recorder) -> None:
    def down(operations: Sequence[Operation[Any]]) -> BatchResult:
        error = Transient(reason="DatabaseUnavailable", message="gone")
        return BatchResult([error] * len(operations), down=error)

    recorder.answer = down
    results = await recorder.submit(*(LoadVersion(key(n)) for n in range(900)), SaveFiles(key=key(1), files=[]))
    assert recorder.sizes == [1]
    assert all(isinstance(result, Transient) for result in results)


async def test_a_bug_reaches_the_caller_and_not_the_others(recorder: Recorder) -> None:
    def broken(operations: Sequence[Operation[Any]]) -> BatchResult:
        if len(operations) == 1:
            raise ZeroDivisionError
        return BatchResult(["fine"] * len(operations))

    recorder.answer = broken
    results = await recorder.submit(LoadVersion(key(0)), LoadVersion(key(1)), LoadVersion(key(2)))
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1:] == ["fine", "fine"]


async def test_closing_waits_for_what_was_submitted(recorder: Recorder) -> None:
    call = asyncio.create_task(recorder.batcher.submit(CountRows("r")))
    await recorder.busy.wait()
    closing = asyncio.create_task(recorder.batcher.aclose())
    await asyncio.sleep(0)
    with pytest.raises(ReconcileError) as caught:
        await recorder.batcher.submit(CountRows("r"))
    assert caught.value.reason == "DatabaseClosed"
    assert not closing.done()
    recorder.gate.set()
    await closing
    assert call.done()


async def test_statements_do_not_grow_with_the_batch(tmp_path: Path) -> None:
    """Fourteen statements and one commit save a batch of new versions, files and history; one SELECT loads it."""
    opened = await open_file(tmp_path)
    (database,) = opened.databases._databases.values()
    await opened.rows.save_version(a_version(), files=None, change=None)
    counts: dict[int, Counter[str]] = {}
    for size in (2, 20, 200):
        statements: Counter[str] = Counter()

        def count(_c: Any, _cursor: Any, statement: str, *_: Any, seen: Counter[str] = statements) -> None:
            seen[statement.split(maxsplit=1)[0]] += 1

        event.listen(database._connector.engine, "before_cursor_execute", count)
        names = [f"{size}-{n}" for n in range(size)]
        await asyncio.gather(
            *(
                opened.rows.save_version(
                    a_version(model=f"model-{size}", version=name, object_name=name),
                    files=[a_file("a"), a_file("b")],
                    change=a_change(),
                )
                for name in names
            )
        )
        saved = Counter(statements)
        await asyncio.gather(*(opened.rows.load_version(model=f"model-{size}", version=name) for name in names))
        event.remove(database._connector.engine, "before_cursor_execute", count)
        assert statements - saved == {"SELECT": 1}
        counts[size] = saved
    assert counts[2] == counts[20] == counts[200]
    assert counts[2] == {"BEGIN": 1, "SELECT": 8, "INSERT": 5, "DELETE": 1, "UPDATE": 1}
    await opened.databases.aclose()
