"""The worker process: runs walks of parsers, one step at a time, within the limits that its command line sets.

``python -m gatehouse.parsing.worker MEMORY CPU`` takes two limits: the bytes of address space that the process may add
after its imports, and the seconds of CPU of one walk. The worker communicates over its standard input and output, has
no other open file, writes no file and starts no process. The worker ends when its input ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO, Final

from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats.parsers import Parser, Task, Walk, Want
from gatehouse.domain.formats.table import PARSERS
from gatehouse.parsing.frames import HEAD, frame, head_of, lengths

__all__ = ["main", "serve"]

_LONGEST_QUESTION: Final = 256 * 1024 * 1024
_RETIRE_AFTER: Final = 16 * 1024 * 1024
"""Bytes that a worker may retain of its input. With more, the worker ends when no walk is open."""
_OPEN_FILES: Final = 16
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(slots=True)
class _Running:
    walk: Walk[Any]
    cpu: float = 0.0


class Worker:
    """Walks by number. One step is a question and an answer."""

    def __init__(self, parsers: Mapping[str, Parser[Any]], *, cpu: float) -> None:
        self._parsers = parsers
        self._cpu = cpu
        self._running: dict[int, _Running] = {}
        self._resident = resident()

    def answer(self, head: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Run one step and return a Want, the result, or the refusal."""
        for dropped in head.get("drop", ()):
            self._running.pop(dropped, None)
        job = head["job"]
        try:
            answer, result = self._step(job, head, data)
        except FormatError as error:
            answer, result = {"refused": True}, json.dumps(error.args).encode()
        except MemoryError:
            self._running.clear()
            return {"job": job, "costly": "memory", "retire": True}, b""
        except Exception as error:  # noqa: BLE001 - a parser's fault goes to the operator, which refuses the file
            answer, result = {"failed": type(error).__name__[:64]}, b""
        if "want" not in answer:
            self._running.pop(job, None)
        retire = not self._running and resident() - self._resident > _RETIRE_AFTER
        return {"job": job, **answer, **({"retire": True} if retire else {})}, result

    def _step(self, job: int, head: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        if "parser" in head:
            arguments = json.loads(data) if data else {}
            task = Task(size=head["size"], arguments=arguments)
            del data
            self._running[job] = _Running(self._parsers[head["parser"]].walk(task))
            return self._on(job, None)
        return self._on(job, data)

    def _on(self, job: int, data: bytes | None) -> tuple[dict[str, Any], bytes]:
        running = self._running[job]
        began = time.process_time()
        limit_cpu(began + self._cpu - running.cpu)
        try:
            want: Want = next(running.walk) if data is None else running.walk.send(data)
        except StopIteration as finished:
            return {"result": True}, json.dumps(dataclasses.asdict(finished.value)).encode()
        finally:
            running.cpu += time.process_time() - began
        return {"want": [want.offset, want.length]}, b""


def serve(worker: Worker, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the input ends, or until the worker retires."""
    while head := source.read(HEAD.size):
        text, size = lengths(head, longest=_LONGEST_QUESTION)
        question = head_of(source.read(text))
        answer, result = worker.answer(question, source.read(size))
        sink.writelines(frame(answer, result))
        sink.flush()
        if answer.get("retire"):
            return


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE


def limit_cpu(seconds: float) -> None:
    """End this process (SIGXCPU) once it has used ``seconds`` of CPU, in whole seconds."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (max(ceil(seconds), 1), hard))


def limit_memory(more: int) -> None:
    """Limit the address space to the current size and ``more`` bytes; beyond the limit Python raises MemoryError."""
    size = int(Path("/proc/self/statm").read_bytes().split()[0]) * _PAGE
    resource.setrlimit(resource.RLIMIT_AS, (size + more, size + more))


def confine() -> None:
    """Forbid core dumps, written files and other processes; make this process the first to go where memory is short."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    # Where the kernel or a sandbox lacks these, the other limits still hold.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.nice(5)


def main(parsers: Mapping[str, Parser[Any]] = PARSERS) -> None:
    """Run a worker on the standard input and output."""
    memory, cpu = int(sys.argv[1]), float(sys.argv[2])
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Other output must not end up between frames.
    sys.stdout = sys.stderr
    worker = Worker(parsers, cpu=cpu)
    confine()
    limit_memory(memory)
    sink.writelines(frame({"ready": os.getpid()}))
    sink.flush()
    # The operator has ended: no process reads a report.
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve(worker, source, sink)


if __name__ == "__main__":
    main()
