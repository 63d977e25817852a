"""Concurrent calls become batches: the calls that arrive while one batch runs form the next batch.

An idle database answers at once and a busy database gets large batches, without a timer. A batch runs in the database's
one thread, so nothing in a batch needs a lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.registry.operations import Operation, Write

__all__ = ["MAX_OPERATIONS", "MAX_WEIGHT", "BatchResult", "Batcher"]

MAX_OPERATIONS = 200
MAX_WEIGHT = 4 * 1024 * 1024
"""Bytes. MariaDB's max_allowed_packet is 16 MiB by default."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A result or an error for each operation; ``down`` when the waiting operations would fail too."""

    results: Sequence[object]
    down: ReconcileError | None = None


class _Call(NamedTuple):
    operation: Operation[Any]
    answer: asyncio.Future[object]


class Batcher:
    """Runs operations in batches of one kind, reads and writes in turn, each in their order of arrival."""

    def __init__(self, run: Callable[[Sequence[Operation[Any]]], BatchResult], *, thread: Executor, name: str) -> None:
        self._run = run
        self._thread = thread
        self._name = name
        self._reads: deque[_Call] = deque()
        self._writes: deque[_Call] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, operation: Operation[_T]) -> _T:
        """The result of the operation, in a batch with others.

        Raises:
            ReconcileError: the operation's own.
            Transient: DatabaseClosed, after :meth:`aclose`.
        """
        if self._closed:
            raise Transient(reason="DatabaseClosed", message=f"The connection to {self._name} was closed")
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        (self._writes if isinstance(operation, Write) else self._reads).append(_Call(operation, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain(), name=f"rows of {self._name}")
        return cast("_T", await answer)

    async def aclose(self) -> None:
        """Accepts no more operations, and returns when the submitted operations are done."""
        self._closed = True
        if self._worker is not None:
            await asyncio.wait({self._worker})

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        turn, other = self._reads, self._writes
        while turn or other:
            batch = _take(turn)
            turn, other = other, turn
            if not batch:
                continue
            running = loop.run_in_executor(self._thread, self._run, [call.operation for call in batch])
            (result,) = await asyncio.gather(running, return_exceptions=True)
            if isinstance(result, BaseException):
                _answer(batch, [result] * len(batch))
                continue
            _answer(batch, result.results)
            if result.down is not None:
                self._fail_all(result.down)

    def _fail_all(self, error: ReconcileError) -> None:
        for queue in (self._reads, self._writes):
            calls = list(queue)
            queue.clear()
            _answer(calls, [error] * len(calls))


def _take(queue: deque[_Call]) -> list[_Call]:
    """The longest run at the head of the queue that may share a transaction."""
    batch: list[_Call] = []
    weight = 0
    orders: set[tuple[str, ...]] = set()
    while queue and len(batch) < MAX_OPERATIONS:
        call = queue[0]
        if call.answer.cancelled():
            queue.popleft()
            continue
        order = call.operation.order
        weight += call.operation.weight
        if batch and (weight > MAX_WEIGHT or order in orders or order[:1] != batch[0].operation.order[:1]):
            break
        if order:
            orders.add(order)
        batch.append(queue.popleft())
    return batch


def _answer(calls: Sequence[_Call], results: Sequence[object]) -> None:
    for call, result in zip(calls, results, strict=True):
        if call.answer.done():
            continue
        if isinstance(result, BaseException):
            call.answer.set_exception(result)
        else:
            call.answer.set_result(result)
