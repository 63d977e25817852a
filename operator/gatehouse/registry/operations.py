"""The operations on a database, as values that run themselves.

Concurrent calls run together: reads on one connection, writes in one transaction, and the operations of one class with
as few statements as possible. A new call of the database is a class beside its SQL (in
:mod:`gatehouse.registry.versions`, :mod:`gatehouse.registry.models`, :mod:`gatehouse.registry.live_rows`,
:mod:`gatehouse.registry.audit`, :mod:`gatehouse.registry.entry_pages`, :mod:`gatehouse.registry.entry_creations` or
:mod:`gatehouse.registry.entry_updates`), and a method of :class:`gatehouse.registry.rows.Rows` or
:class:`gatehouse.registry.entries.Entries` that submits it.
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
"""Bytes per audit record in the ``weight`` of an operation: few records are larger."""

T_co = TypeVar("T_co", covariant=True)
_Op = TypeVar("_Op", bound="Operation[Any]")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T_co]):
    """An operation on a database. The type parameter is the caller's result."""

    turn: ClassVar[int] = 0
    """The order in which the classes of one batch run; classes of one turn run in their order of arrival."""

    @property
    def weight(self) -> int:
        """The approximate number of bytes that the operation sends."""
        return 0

    @property
    def order(self) -> tuple[str, ...]:
        """Operations of one batch share the first part and differ in the others, so that each row is written once."""
        return ()


@dataclass(frozen=True, slots=True)
class Read(Operation[T_co], ABC):
    """An operation that changes nothing."""

    @classmethod
    @abstractmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> Sequence[T_co | ReconcileError]:
        """The result of each operation of the batch, or the operation's own error."""


@dataclass(frozen=True, slots=True)
class Write(Operation[T_co], ABC):
    """An operation that runs in a transaction. Running the operation twice has the same effect as once."""

    @classmethod
    @abstractmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> Sequence[T_co | ReconcileError]:
        """The result of each operation of the batch, or the operation's own error."""


def read(connection: Connection, operations: Sequence[Read[Any]]) -> list[object]:
    """The result of each operation, or the operation's own error."""
    return _run_by_class(operations, lambda kind, batch: kind.run(connection, batch))


def write(writer: Writer, operations: Sequence[Write[Any]]) -> list[object]:
    """The result of each operation, or the operation's own error."""
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
