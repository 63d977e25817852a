"""The namespaces that have rows in a registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, select, union

from gatehouse.registry.operations import Read
from gatehouse.registry.tables import entries, model_versions, registered_models

__all__ = ["ListNamespaces"]


@dataclass(frozen=True, slots=True)
class ListNamespaces(Read[frozenset[str]]):
    """The namespaces of a registry's entries, archived ones too. An entry with a parent has the parent's namespace."""

    registry: str

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[frozenset[str]]:
        return [_namespaces(connection, operation.registry) for operation in batch]


def _namespaces(connection: Connection, registry: str) -> frozenset[str]:
    named = [
        select(table.c.namespace).where(table.c.registry == registry) for table in (registered_models, model_versions)
    ]
    roots = select(entries.c.namespace).where(entries.c.parent_id == 0, entries.c.registry == registry)
    return frozenset(connection.scalars(union(*named, roots)))
