"""Writes, many in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from gatehouse.registry.archiving import archive_objects
from gatehouse.registry.auditing import append_records
from gatehouse.registry.checkpointing import AUDIT_RUNS
from gatehouse.registry.ids import HighestIds
from gatehouse.registry.models import save_models
from gatehouse.registry.operations import ArchiveObject, SaveFiles, SaveModel, SaveVersion, Write
from gatehouse.registry.versions import save_versions
from gatehouse.registry.writer import Writer

__all__ = ["write"]


def write(
    connection: Connection, operations: Sequence[Write[Any]], highest: HighestIds, *, again: bool = False
) -> tuple[list[object], dict[str, int]]:
    """The result of each operation, or the error that is its own, and rows written by table. The caller commits.

    ``again`` when the same operations may have been committed already.
    """
    writer = Writer(connection, highest)
    kinds: dict[type, list[int]] = defaultdict(list)
    for index, operation in enumerate(operations):
        kinds[type(operation)].append(index)
    results: list[object] = [None] * len(operations)
    for kind, run in _RUNS:
        if indexes := kinds.get(kind):
            for index, result in zip(indexes, run(writer, [operations[i] for i in indexes]), strict=True):
                results[index] = result
    append_records(writer, again=again)
    return results, dict(writer.rows)


def _save_files(writer: Writer, operations: Sequence[SaveFiles]) -> list[object]:
    writer.put_files([row for operation in operations for row in operation.files])
    return [None] * len(operations)


_RUNS: tuple[tuple[type, Callable[[Writer, Sequence[Any]], list[object]]], ...] = (
    (ArchiveObject, archive_objects),
    (SaveModel, save_models),
    (SaveVersion, save_versions),
    (SaveFiles, _save_files),
    *AUDIT_RUNS,
)
"""Models before the versions that need their ids."""
