"""Store hints: folders in which an object store announced a change, on their way from the server to the operator.

A hint says where to look, and nothing else is believed of it. The rows of a registry are few: the operator takes them
within a second, and while it does not, the server adds no more than ``MOST_HINTS``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from sqlalchemy import Connection, delete, func, select

from gatehouse.registry.operations import Read, Write
from gatehouse.registry.tables import store_hints
from gatehouse.registry.writer import Writer

__all__ = ["MOST_HINTS", "AddHints", "DropHints", "HintRow", "ListHints"]

MOST_HINTS: Final = 1_000
"""Hints of one registry that wait for the operator. Further ones are dropped: the next regular check looks there."""
_H = store_hints.c


class HintRow(NamedTuple):
    """A hint, under the id by which the operator removes it."""

    id: int
    folder: str


@dataclass(frozen=True, slots=True)
class AddHints(Write[int]):
    """Adds hints; the result is how many were added."""

    registry: str
    folders: tuple[str, ...]

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[int]:
        registries = sorted({operation.registry for operation in batch})
        counted = select(_H.registry, func.count()).where(_H.registry.in_(registries)).group_by(_H.registry)
        waiting: dict[str, int] = defaultdict(int)
        waiting.update((registry, count) for registry, count in writer.fetch(counted))
        added: list[int] = []
        rows: dict[tuple[str, str], None] = {}
        for operation in batch:
            kept = operation.folders[: max(MOST_HINTS - waiting[operation.registry], 0)]
            waiting[operation.registry] += len(kept)
            rows |= dict.fromkeys((operation.registry, folder) for folder in kept)
            added.append(len(kept))
        writer.insert(store_hints, [{"registry": registry, "folder": folder} for registry, folder in rows])
        return added


@dataclass(frozen=True, slots=True)
class ListHints(Read[Sequence[HintRow]]):
    """The hints of a registry."""

    registry: str

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Sequence[HintRow]]:
        return [_listed(connection, operation.registry) for operation in batch]


@dataclass(frozen=True, slots=True)
class DropHints(Write[None]):
    """Removes hints that the operator has read."""

    registry: str
    ids: tuple[int, ...]

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[None]:
        for operation in batch:
            writer.connection.execute(
                delete(store_hints).where(_H.registry == operation.registry, _H.id.in_(operation.ids))
            )
        return [None] * len(batch)


def _listed(connection: Connection, registry: str) -> Sequence[HintRow]:
    rows = connection.execute(select(_H.id, _H.folder).where(_H.registry == registry).order_by(_H.id).limit(MOST_HINTS))
    return [HintRow(*row) for row in rows]
