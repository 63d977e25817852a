"""How a check reads untrusted bytes: by a parser of the domain, in any process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from gatehouse.domain.formats.parsers import Parser, Task, Walk, Want

__all__ = ["InProcess", "Parsing", "Read"]

R = TypeVar("R")

Read: TypeAlias = Callable[[int, int], Awaitable[bytes]]
"""Reads bytes of the object: offset and length."""


class Parsing(Protocol):
    """Runs parsers."""

    async def parse(self, parser: Parser[R], task: Task, read: Read) -> R:
        """The parser's result for the object.

        Raises FormatError, with the rule TooExpensive when the object takes more time or memory than one object may;
        the errors of ``read``; Transient (ParserUnavailable).
        """
        ...


class InProcess:
    """Runs parsers in this process, for commands, where no other work waits. Large objects are parsed in a thread."""

    async def parse(self, parser: Parser[R], task: Task, read: Read) -> R:
        """The parser's result for the object. Raises FormatError and the errors of ``read``."""
        walk = parser.walk(task)
        data: bytes | None = None
        while True:
            if data is not None and len(data) > parser.inline:
                answer = await asyncio.to_thread(_step, walk, data)
            else:
                answer = _step(walk, data)
            if isinstance(answer, _Finished):
                return answer.result
            data = await read(answer.offset, answer.length)


@dataclass(frozen=True, slots=True)
class _Finished(Generic[R]):
    result: R


def _step(walk: Walk[R], data: bytes | None) -> Want | _Finished[R]:
    """A StopIteration cannot leave a thread."""
    try:
        return next(walk) if data is None else walk.send(data)
    except StopIteration as finished:
        return _Finished(finished.value)
