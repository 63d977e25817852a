"""The operator's side: tiny objects are parsed in the operator, all others in a worker process.

The worker starts when an object first needs it, and is reused. It ends after a long idle time, and is killed when a
step exceeds its time. An object that ends a worker twice is too expensive to read. The walk of an object begins again
when another object ended the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from gatehouse.domain.common.errors import Transient
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.formats.parsers import Parser, Task, Want
from gatehouse.parsing.budget import ByteBudget
from gatehouse.parsing.frames import HEAD, LONGEST_ANSWER, FrameError, frame, head_of, lengths

__all__ = ["WORKER", "ParserLimits", "WorkerParsing"]

R = TypeVar("R")
Read = Callable[[int, int], Awaitable[bytes]]

WORKER: Final = (sys.executable, "-I", "-m", "gatehouse.parsing.worker")
_ENDS: Final = 2
"""The workers that one object may end."""
_BEGINNINGS: Final = 10
"""The most beginnings of one walk, when other objects end the worker."""
_LARGE: Final = 65_536
_START: Final = 60.0
_GOING: Final = 5.0
_LONGEST_TEXT: Final = 4_096
_PARTS: Final = 4
_NO_ANSWER: Final = "the process gave no valid answer"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserLimits:
    """Bytes of memory and seconds of CPU of one walk; ``wall`` are seconds of one step, ``hold`` of a walk.

    ``held`` bounds the bytes of objects in memory for parsing. A worker ends after ``idle`` seconds without work.
    """

    memory: int = 192 * 1024 * 1024
    cpu: float = 20.0
    wall: float = 120.0
    hold: float = 600.0
    held: int = 48 * 1024 * 1024
    idle: float = 300.0


class _EndedError(Exception):
    """The worker ended in a step of this walk."""


class _LostError(Exception):
    """The worker of this walk ended because of another object."""


@dataclass(slots=True)
class _Process:
    process: asyncio.subprocess.Process

    async def send(self, head: dict[str, Any], data: bytes) -> None:
        stdin = self.process.stdin
        if stdin is None:
            raise FrameError("a worker without an input")
        for part in frame(head, data):
            stdin.write(part)
        await stdin.drain()

    async def receive(self) -> tuple[dict[str, Any], bytes]:
        stdout = self.process.stdout
        if stdout is None:
            raise FrameError("a worker without an output")
        text, size = lengths(await stdout.readexactly(HEAD.size), longest=LONGEST_ANSWER)
        head = head_of(await stdout.readexactly(text))
        return head, await stdout.readexactly(size)

    async def gone(self) -> int:
        """The exit status of a process that ends by itself. Killing the process now would lose its status."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOING):
                await self.process.wait()
        return await self.end()

    async def end(self) -> int:
        """Kill the process and wait for it; return its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        return await self.process.wait()


class WorkerParsing:
    """Runs parsers. ``on_end`` receives the reason when a worker ends early."""

    def __init__(
        self,
        *,
        limits: ParserLimits | None = None,
        command: Sequence[str] = WORKER,
        on_end: Callable[[str], None] = lambda _why: None,
    ) -> None:
        self._limits = limits or ParserLimits()
        self._command = tuple(command)
        self._on_end = on_end
        self._budget = ByteBudget(self._limits.held)
        self._turn = asyncio.Lock()
        self._worker: _Process | None = None
        self._jobs = 0
        self._dropped: list[int] = []
        self._steps: set[asyncio.Task[Any]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The worker's process id, while a worker exists."""
        return None if self._worker is None else self._worker.process.pid

    async def aclose(self) -> None:
        """End the worker."""
        self._closed = True
        for step in self._steps:
            step.cancel()
        await asyncio.gather(*self._steps, return_exceptions=True)
        await self._retire()

    async def parse(self, parser: Parser[R], task: Task, read: Read) -> R:
        """Return the parser's result for the object.

        Raises FormatError, with the rule TooExpensive when the object takes more time or memory than its limit; the
        errors of ``read``; Transient (ParserUnavailable, StoreUnavailable when the store takes too long for the
        object).
        """
        opening: bytes | None = None
        used, held = task.weight, min(task.size, parser.holds)
        if used <= parser.inline:
            walk = parser.walk(task)
            try:
                want = next(walk)
                while (used := used + want.length) <= parser.inline:
                    data = await read(want.offset, want.length)
                    opening = data if opening is None and want.offset == 0 else opening
                    want = walk.send(data)
            except StopIteration as finished:
                result: R = finished.value
                return result
            walk.close()
            held = held if parser.grows else min(held, used)
        return await self._held(parser, task, _remembering(read, opening or b""), held + task.weight)

    async def _held(self, parser: Parser[R], task: Task, read: Read, held: int) -> R:
        async with self._budget.hold(held):
            try:
                async with asyncio.timeout(self._limits.hold):
                    return await self._walked(parser, task, read, held)
            except TimeoutError:
                raise Transient(
                    reason="StoreUnavailable",
                    message=f"the object store did not deliver a header within {self._limits.hold:g} s",
                ) from None

    async def _walked(self, parser: Parser[R], task: Task, read: Read, held: int) -> R:
        ended: list[str] = []
        for _beginning in range(_BEGINNINGS):
            try:
                return await self._walk(parser, task, read, held)
            except _LostError:
                continue
            except _EndedError as error:
                ended.append(str(error))
                if len(ended) == _ENDS:
                    raise self._too_expensive(task, ended[-1]) from None
        raise Transient(reason="ParserUnavailable", message="the process that reads files ended again and again")

    async def _walk(self, parser: Parser[R], task: Task, read: Read, held: int) -> R:
        self._jobs += 1
        job = self._jobs
        worker: _Process | None = None
        question: dict[str, Any] = {"job": job, "parser": parser.name, "size": task.size}
        data = json.dumps(task.arguments).encode() if task.arguments else b""
        try:
            while True:
                worker, head, result = await self._step(worker, question, data)
                if "want" not in head:
                    return await self._outcome(parser, head, result)
                want = _want(head["want"], size=task.size, held=held)
                question, data = {"job": job}, await read(want.offset, want.length)
        except FrameError as error:
            if worker is not None:
                await self._ended(worker, "answer")
            raise _EndedError(_NO_ANSWER) from error
        finally:
            self._dropped.append(job)

    async def _step(
        self, worker: _Process | None, question: dict[str, Any], data: bytes
    ) -> tuple[_Process, dict[str, Any], bytes]:
        """Send one question and return its answer. A cancelled caller leaves no answer behind for the next one."""
        step = asyncio.ensure_future(self._asked(worker, question, data))
        self._steps.add(step)
        step.add_done_callback(self._done)
        return await asyncio.shield(step)

    def _done(self, step: asyncio.Task[Any]) -> None:
        self._steps.discard(step)
        if not step.cancelled():
            step.exception()

    async def _asked(
        self, worker: _Process | None, question: dict[str, Any], data: bytes
    ) -> tuple[_Process, dict[str, Any], bytes]:
        async with self._turn:
            current = await self._started()
            if worker is not None and worker is not current:
                raise _LostError
            dropped, self._dropped = self._dropped, []
            try:
                async with asyncio.timeout(self._limits.wall):
                    await current.send({**question, "drop": dropped}, data)
                    head, result = await current.receive()
            except TimeoutError:
                await self._ended(current, "time")
                raise _EndedError(f"it took more than {self._limits.wall:g} s") from None
            except (asyncio.IncompleteReadError, ConnectionError):
                raise _EndedError(await self._fell(current)) from None
            except FrameError:
                await self._ended(current, "answer")
                raise _EndedError(_NO_ANSWER) from None
            except asyncio.CancelledError:
                await self._retire()
                raise
            if head.get("retire"):
                await self._retire()
            if "costly" in head:
                self._on_end("memory")
                raise _EndedError(f"it took more than {self._memory()}")
            self._rest()
            return current, head, result

    async def _started(self) -> _Process:
        if self._worker is not None and self._worker.process.returncode is None:
            return self._worker
        if self._closed:
            raise Transient(reason="ParserUnavailable", message="the operator is stopping")
        arguments = (*self._command, str(self._limits.memory), str(self._limits.cpu))
        try:
            # No variable of the environment, which may hold secrets.
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"MALLOC_ARENA_MAX": "1", "PYTHONDONTWRITEBYTECODE": "1"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Transient(
                reason="ParserUnavailable", message=f"the process that reads files does not start: {error}"
            ) from error
        worker = _Process(process)
        try:
            async with asyncio.timeout(_START):
                await worker.receive()
        except (TimeoutError, asyncio.IncompleteReadError, FrameError):
            status = await worker.end()
            raise Transient(
                reason="ParserUnavailable",
                message=f"the process that reads files ended with {status} at its start",
            ) from None
        except asyncio.CancelledError:
            await worker.end()
            raise
        self._worker = worker
        return worker

    async def _fell(self, worker: _Process) -> str:
        """Clean up after a worker that ended by itself; return the description of its end."""
        status = await worker.gone()
        cpu = status == -signal.SIGXCPU
        await self._ended(worker, "cpu" if cpu else "crash")
        return f"it took more than {self._limits.cpu:g} s of CPU" if cpu else f"reading it ended with {status}"

    async def _ended(self, worker: _Process, why: str) -> None:
        """Ensure that a worker has ended."""
        status = await worker.end()
        if self._worker is worker:
            self._worker = None
        self._on_end(why)
        _log.warning("the process that reads files was ended: %s (status %d)", why, status)

    def _memory(self) -> str:
        return f"{human_bytes(self._limits.memory)} of memory"

    async def _retire(self) -> None:
        worker, self._worker = self._worker, None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if worker is not None:
            await worker.end()

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._limits.idle, self._end_idle)

    def _end_idle(self) -> None:
        if self._turn.locked() or self._budget.free < self._limits.held:
            self._rest()
            return
        step = asyncio.ensure_future(self._retire())
        self._steps.add(step)
        step.add_done_callback(self._done)

    async def _outcome(self, parser: Parser[R], head: dict[str, Any], result: bytes) -> R:
        if head.get("refused"):
            raise _refused(result)
        if "failed" in head:
            _log.error("the parser %s failed: %s", parser.name, head["failed"])
            raise FormatError(
                "ParserFailed",
                f"a file on which the parser of Gatehouse failed ({str(head['failed'])[:64]})",
                "a file that it can read",
                "Write the file again; if that does not help, report the problem with the file.",
            )
        read = TypeAdapter(parser.result).validate_json
        try:
            if len(result) > _LARGE:
                return await asyncio.to_thread(read, result, strict=True)
            return read(result, strict=True)
        except ValidationError:
            raise FrameError("a result of another shape") from None

    def _too_expensive(self, task: Task, took: str) -> FormatError:
        return FormatError(
            "TooExpensive",
            f"a file of {task.size} bytes that is too expensive to read: {took}, twice",
            f"at most {self._limits.cpu:g} s of CPU and {self._memory()}",
            "Write the file again with the library of its format.",
        )


def _remembering(read: Read, opening: bytes) -> Read:
    """A reader that reads only bytes outside the opening."""

    async def from_opening(offset: int, length: int) -> bytes:
        if offset + length <= len(opening):
            return opening[offset : offset + length]
        return await read(offset, length)

    return from_opening


def _want(value: object, *, size: int, held: int) -> Want:
    """Check that a worker asks for bytes of its object, and for no more than the budget holds for it."""
    match value:
        case [int(offset), int(length)] if offset >= 0 and 0 <= length <= held and offset + length <= size:
            return Want(offset, length)
    raise FrameError("a request for other bytes")


def _refused(data: bytes) -> FormatError:
    if len(data) <= _PARTS * _LONGEST_TEXT * 6:
        match json.loads(data):
            case [str(reason), str(contents), str(allowed), str(remedy)]:
                return FormatError(*(text[:_LONGEST_TEXT] for text in (reason, contents, allowed, remedy)))
    raise FrameError("a refusal of another shape")
