"""A worker with parsers that are as bad as can be."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

from gatehouse.domain.formats.parsers import Parser, Task, Walk, Want
from gatehouse.domain.formats.table import PARSERS
from gatehouse.parsing.worker import main


@dataclass(frozen=True)
class Answer:
    text: str


def _spin(task: Task) -> Walk[Answer]:
    yield Want(0, task.size)
    while True:
        pass


def _expression(task: Task) -> Walk[Answer]:
    """Holds the lock of the interpreter."""
    yield Want(0, task.size)
    return Answer(str(re.match("(a+)+$", "a" * 64 + "b")))


def _hog(task: Task) -> Walk[Answer]:
    yield Want(0, task.size)
    kept = [bytes(1 << 20) for _ in range(1 << 20)]
    return Answer(str(len(kept)))


def _crash(task: Task) -> Walk[Answer]:
    yield Want(0, task.size)
    os.kill(os.getpid(), signal.SIGSEGV)
    return Answer("")


def _fail(task: Task) -> Walk[Answer]:
    yield Want(0, task.size)
    raise ZeroDivisionError


def _greedy(task: Task) -> Walk[Answer]:
    yield Want(task.size, 1 << 20)
    return Answer("")


@dataclass(frozen=True)
class Other:
    number: int


def _liar(task: Task) -> Walk[Other]:
    yield Want(0, task.size)
    return Other(5)


def _echo(task: Task) -> Walk[Answer]:
    """Asks for one byte after the other."""
    text = b""
    for position in range(task.size):
        text += yield Want(position, 1)
    return Answer(text.decode())


def _open(task: Task) -> Walk[Answer]:
    yield Want(0, task.size)
    try:
        os.fork()
    except OSError:
        return Answer("refused")
    return Answer("forked")


BAD = {
    name: Parser(name=name, walk=walk, result=Answer, inline=-1, holds=64)
    for name, walk in {
        "spin": _spin,
        "expression": _expression,
        "hog": _hog,
        "crash": _crash,
        "fail": _fail,
        "greedy": _greedy,
        "liar": _liar,
        "echo": _echo,
        "open": _open,
    }.items()
}

if __name__ == "__main__":
    main({**PARSERS, **BAD})
