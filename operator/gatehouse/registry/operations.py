"""What a database is asked, as values that run themselves.

Calls that meet run together: reads on one connection, writes in one transaction, and the operations of one class with
as few statements as the class can do with. A new call of the database is a class beside its SQL (in
:mod:`~gatehouse.registry.versions`, :mod:`~gatehouse.registry.models`, :mod:`~gatehouse.registry.live_rows` or
:mod:`~gatehouse.registry.audit`), and a method of :class:`gatehouse.registry.rows.Rows` that submits it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from sqlalchemy import Connection

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.registry.writer import Writer

__all__ = ["LARGEST_FACT", "Operation", "Read", "Write", "read", "write"]

LARGEST_FACT = 8_000
"""Bytes that the ``weight`` of an operation counts for each audit record: few records are larger."""

T_co = TypeVar("T_co", covariant=True)
_Op = TypeVar("_Op", bound="Operation[Any]")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T_co]):
    """Anything a database is asked. The parameter is what the caller gets back."""

    turn: ClassVar[int] = 0
    """The classes of one batch run in this order, those of one turn as their first operations came."""

    @property
    def weight(self) -> int:
        """About how many bytes it sends."""
        return 0

    @property
    def order(self) -> tuple[str, ...]:
        """Operations of one batch have the same first part and differ in the others: one row is written once."""
        return ()


@dataclass(frozen=True, slots=True)
class Read(Operation[T_co], ABC):
    """Changes nothing."""

    @classmethod
    @abstractmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> Sequence[T_co | ReconcileError]:
        """The result of each operation of the batch, or the error that is its own."""


@dataclass(frozen=True, slots=True)
class Write(Operation[T_co], ABC):
    """Runs in a transaction, and running it twice is the same as once."""

    @classmethod
    @abstractmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> Sequence[T_co | ReconcileError]:
        """The result of each operation of the batch, or the error that is its own."""


def read(connection: Connection, operations: Sequence[Read[Any]]) -> list[object]:
    """The result of each operation, or the error that is its own."""
    return _run_by_class(operations, lambda kind, batch: kind.run(connection, batch))


def write(writer: Writer, operations: Sequence[Write[Any]]) -> list[object]:
    """The result of each operation, or the error that is its own."""
    return _run_by_class(operations, lambda kind, batch: kind.run(writer, batch))


def _run_by_class(
    operations: Sequence[_Op], run: Callable[[type[_Op], Sequence[_Op]], Sequence[object]]
) -> list[object]:
    classes: dict[type[_Op], list[int]] = defaultdict(list)
    for index, operation in enumerate(operations):
        classes[type(operation)].append(index)
    results: list[object] = [None] * len(operations)
    for kind in sorted(classes, key=lambda kind: kind.turn):
        indexes = classes[kind]
        for index, result in zip(indexes, run(kind, [operations[index] for index in indexes]), strict=True):
            results[index] = result
    return results
