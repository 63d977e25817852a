"""The process that reads files answers as the parsers do, and nothing that it reads can hold it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gatehouse.domain.common.errors import Transient
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats.parsers import CONFIGURATION, Parser, Task
from gatehouse.domain.formats.table import PARSERS
from gatehouse.parsing.processes import WORKER, ParserLimits, WorkerParsing
from hostile import SHAPES, walk
from modelfiles import config_json
from unit.parsing.badworker import BAD, Answer

R = TypeVar("R")

MIB = 1024 * 1024
BAD_WORKER = (sys.executable, str(Path(__file__).with_name("badworker.py")))
LIMITS = ParserLimits(cpu=0.5, memory=128 * MIB)
MOST_AT_REST = 40 * MIB


class Rig:
    def __init__(self, parsing: WorkerParsing, ends: list[str]) -> None:
        self.parsing = parsing
        self.ends = ends
        self.reads: list[tuple[int, int]] = []
        self.asked = asyncio.Event()

    async def parse(self, parser: Parser[R], data: bytes, arguments: Mapping[str, Any] | None = None) -> R:
        async def read(start: int, length: int) -> bytes:
            self.reads.append((start, length))
            self.asked.set()
            return data[start : start + length]

        return await self.parsing.parse(parser, Task(size=len(data), arguments=arguments or {}), read)

    async def refused(self, parser: Parser[Any], data: bytes = b"x") -> FormatError:
        with pytest.raises(FormatError) as caught:
            await self.parse(parser, data)
        return caught.value


@asynccontextmanager
async def rig(limits: ParserLimits = LIMITS) -> AsyncIterator[Rig]:
    ends: list[str] = []
    parsing = WorkerParsing(limits=limits, command=BAD_WORKER, on_end=ends.append)
    try:
        yield Rig(parsing, ends)
    finally:
        await parsing.aclose()


def memory(pid: int, name: str = "Pss") -> int:
    """Bytes that /proc says."""
    file = "smaps_rollup" if name == "Pss" else "status"
    line = next(line for line in Path(f"/proc/{pid}/{file}").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def files(pid: int) -> set[str]:
    return {path.name for path in Path(f"/proc/{pid}/fd").iterdir()}


def is_gone(pid: int, *, seconds: float = 60) -> bool:
    """Waits until a process has ended and was waited for."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def children() -> set[int]:
    """Processes of this one, those included that nobody has waited for."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@pytest.mark.parametrize("name", PARSERS)
async def test_a_worker_answers_what_the_parser_answers(name: str) -> None:
    parser = replace(PARSERS[name], inline=-1)
    named = [shape for shape in SHAPES[name] if "'" not in shape.name]
    async with rig(replace(LIMITS, cpu=20.0)) as tried:
        for shape in [*SHAPES[name][::40], *named]:
            data, arguments = shape.of(20_000), shape.arguments(20_000)
            expected = walk(parser, data, arguments)
            try:
                answer: object = await tried.parse(parser, data, arguments)
            except FormatError as error:
                answer = error
            if isinstance(expected, FormatError):
                assert isinstance(answer, FormatError), shape.name
                assert answer.args == expected.args
            else:
                assert answer == expected, shape.name
        assert tried.ends == []


async def test_what_is_tiny_starts_no_process() -> None:
    async with rig() as tried:
        found = await tried.parse(CONFIGURATION, config_json())
        assert found.num_hidden_layers == 40
        assert tried.parsing.pid is None
        assert tried.reads == [(0, len(config_json()))]


async def test_what_is_larger_is_read_by_one_process_again_and_again() -> None:
    async with rig() as tried:
        await tried.parse(CONFIGURATION, config_json() + b" " * 70_000)
        first = tried.parsing.pid
        assert first is not None
        assert (await tried.parse(CONFIGURATION, config_json() + b" " * 70_000)).num_hidden_layers == 40
        assert tried.parsing.pid == first
        assert memory(first) < MOST_AT_REST


@pytest.mark.parametrize(
    ("name", "why"), [("spin", "cpu"), ("expression", "cpu"), ("hog", "memory"), ("crash", "crash")]
)
async def test_an_input_that_ends_two_processes_is_refused_and_the_next_one_is_read(name: str, why: str) -> None:
    async with rig() as tried:
        error = await tried.refused(BAD[name])
        assert error.finding.reason == "TooExpensive"
        assert "too expensive to read" in error.finding.found
        assert tried.ends == [why, why]
        assert (await tried.parse(BAD["echo"], b"abc")).text == "abc"


async def test_others_are_read_while_one_is_too_expensive() -> None:
    """What is tiny does not wait for the process at all, and the loop is never held."""
    async with rig() as tried:
        expensive = asyncio.create_task(tried.refused(BAD["expression"]))
        await tried.asked.wait()
        for _ in range(100):
            await tried.parse(CONFIGURATION, config_json())
        assert not expensive.done()
        assert (await expensive).finding.reason == "TooExpensive"


async def test_an_input_that_sleeps_is_ended_by_the_clock() -> None:
    async with rig(replace(LIMITS, cpu=600.0, wall=0.5)) as tried:
        assert (await tried.refused(BAD["spin"])).finding.reason == "TooExpensive"
        assert tried.ends == ["time", "time"]


async def test_an_input_that_ends_a_process_once_is_no_fault_of_its() -> None:
    """Whoever ended it, the node's want of memory for one."""
    async with rig() as tried:
        await tried.parse(BAD["echo"], b"a")
        pid = tried.parsing.pid
        assert pid is not None
        os.kill(pid, 9)
        assert (await tried.parse(BAD["echo"], b"abc")).text == "abc"


async def test_what_was_only_in_hand_when_a_process_ended_is_begun_again() -> None:
    async with rig() as tried:
        in_hand, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(start: int, length: int) -> bytes:
            if start == 1:
                in_hand.set()
                await go_on.wait()
            return b"abc"[start : start + length]

        other = asyncio.create_task(tried.parsing.parse(BAD["echo"], Task(size=3), slowly))
        await in_hand.wait()
        assert (await tried.refused(BAD["spin"])).finding.reason == "TooExpensive"
        go_on.set()
        assert await other == Answer("abc")


async def test_a_caller_that_goes_leaves_its_answer_to_nobody() -> None:
    async with rig(replace(LIMITS, cpu=5.0)) as tried:
        await tried.parse(BAD["echo"], b"a")
        gone = asyncio.create_task(tried.parse(BAD["echo"], b"x" * 50))
        for _ in range(5):
            await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (await tried.parse(BAD["echo"], b"abc")).text == "abc"
        assert tried.ends == []


async def test_a_parser_that_fails_refuses_the_file() -> None:
    async with rig() as tried:
        error = await tried.refused(BAD["fail"])
        assert error.finding.reason == "ParserFailed"
        assert "ZeroDivisionError" in error.finding.found
        assert tried.ends == []


@pytest.mark.parametrize("name", ["greedy", "liar"])
async def test_a_process_that_asks_for_other_bytes_or_answers_otherwise_is_not_believed(name: str) -> None:
    async with rig() as tried:
        assert (await tried.refused(BAD[name])).finding.reason == "TooExpensive"
        assert all(start + length <= 1 for start, length in tried.reads)


async def test_a_process_can_start_no_other_and_sees_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "secret")
    async with rig() as tried:
        if os.getuid() != 0:
            assert (await tried.parse(BAD["open"], b"x")).text == "refused"
        await tried.parse(BAD["echo"], b"x")
        pid = tried.parsing.pid
        assert pid is not None
        assert b"PASSWORD" not in environment(pid)
        assert len(files(pid)) <= 6


async def test_nothing_is_left_behind() -> None:
    before = children()
    open_before = files(os.getpid())
    async with rig() as tried:
        await tried.refused(BAD["crash"])
        await tried.parse(BAD["echo"], b"abc")
        assert children() - before
    assert children() == before
    assert len(files(os.getpid())) <= len(open_before)
    with pytest.raises(Transient) as caught:
        await tried.parse(BAD["echo"], b"abc")
    assert caught.value.reason == "ParserUnavailable"


async def test_a_process_that_is_idle_ends() -> None:
    async with rig(replace(LIMITS, idle=0.01)) as tried:
        await tried.parse(BAD["echo"], b"abc")
        pid = tried.parsing.pid
        assert pid is None or await asyncio.to_thread(is_gone, pid)
        assert (await tried.parse(BAD["echo"], b"abc")).text == "abc"
        assert tried.ends == []


def test_a_process_ends_with_the_operator() -> None:
    with subprocess.Popen([*WORKER, str(128 * MIB), "5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


LARGEST: Mapping[str, tuple[str, int]] = {
    "safetensors": ("tensors", 6_000_000),
    "shards": ("shards", 12_000_000),
    "gguf": ("empty words", 33_000_000),
    "onnx": ("external entries", 1_000_000),
    "onnx-data": ("numbers", 1_000_000),
    "configuration": ("objects", 6_000_000),
    "remote-code": ("keys", 6_000_000),
    "side-facts": ("keys", 6_000_000),
    "mentioned-code": ("objects", 6_000_000),
    "signature": ("files", 3_000_000),
    "manifest-file": ("files", 700_000),
}


@pytest.mark.parametrize("name", PARSERS)
async def test_the_largest_input_of_each_parser_fits_into_the_memory(name: str) -> None:
    """The bound is in force while it is read; what stays at rest is at most 40 MB."""
    shape_name, size = LARGEST[name]
    shape = next(shape for shape in SHAPES[name] if shape.name == shape_name)
    parser, data, arguments = PARSERS[name], shape.of(size), shape.arguments(size)
    async with rig(ParserLimits(cpu=120.0)) as tried:
        try:
            await tried.parse(parser, data, arguments)
        except FormatError as error:
            assert error.finding.reason not in {"TooExpensive", "ParserFailed"}, error  # noqa: PT017 - both ends are well
        assert tried.ends == []
        pid = tried.parsing.pid
        assert pid is None or memory(pid) < MOST_AT_REST
