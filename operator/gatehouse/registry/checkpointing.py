"""Writes of audit trails that explain no row: checkpoints, summaries of what is past its retention, policies.

Each holds the lock of the trail's head, so that what was signed is what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import delete, func, select, update

from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.records import GENESIS
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.registry.audit_operations import (
    AppendFacts,
    MarkCopied,
    RecordPolicies,
    SaveCheckpoint,
    SummariseRecords,
)
from gatehouse.registry.audited_policies import record_policies
from gatehouse.registry.auditing import lock_head
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records
from gatehouse.registry.writer import Writer

__all__ = ["AUDIT_RUNS"]

_R, _H, _C = audit_records.c, audit_heads.c, audit_checkpoints.c


def _append(writer: Writer, operation: AppendFacts) -> None:
    writer.tell(operation.registry, operation.facts)


def _save_checkpoint(writer: Writer, operation: SaveCheckpoint) -> ReconcileError | None:
    checkpoint = operation.checkpoint
    head = lock_head(writer, checkpoint.registry)
    if head is None or _hash_at(writer, checkpoint.registry, checkpoint.seq) != checkpoint.hash:
        return _conflict(checkpoint, "the trail has another record there, or none")
    newest = _newest(writer, checkpoint.registry)
    if newest == (checkpoint.seq, checkpoint.hash):
        return None  # an earlier commit got through after all
    if newest != (checkpoint.previous_seq, checkpoint.previous_hash):
        return _conflict(checkpoint, f"checkpoint {newest[0]} came in between")
    writer.insert(
        audit_checkpoints,
        [
            {
                "registry": checkpoint.registry,
                "seq": checkpoint.seq,
                "hash": checkpoint.hash,
                "at": checkpoint.at,
                "key_id": checkpoint.key_id,
                "previous_seq": checkpoint.previous_seq,
                "previous_hash": checkpoint.previous_hash,
                "signature": checkpoint.signature,
            }
        ],
    )
    writer.connection.execute(
        update(audit_heads).where(_H.registry == checkpoint.registry).values(checkpoint=checkpoint.seq)
    )
    return None


def _mark_copied(writer: Writer, operation: MarkCopied) -> None:
    writer.connection.execute(
        update(audit_checkpoints)
        .where(_C.registry == operation.registry, _C.seq.in_(operation.seqs))
        .values(copied_to=operation.uri)
    )


def _summarise(writer: Writer, operation: SummariseRecords) -> int:
    summary = operation.summary
    head = lock_head(writer, summary.registry)
    newest = _newest(writer, summary.registry)
    if head is None or summary.to > newest[0] or _hash_at(writer, summary.registry, summary.to) != summary.hash:
        return 0  # done already, or not vouched for: the next look tells
    old = (_R.registry == summary.registry, _R.seq <= summary.to)
    count = writer.connection.scalar(select(func.count()).select_from(audit_records).where(*old)) or 0
    writer.connection.execute(delete(audit_records).where(*old))
    writer.tell(summary.registry, [operation.fact])
    return count


def _hash_at(writer: Writer, registry: str, seq: int) -> str | None:
    return writer.connection.scalar(select(_R.hash).where(_R.registry == registry, _R.seq == seq))


def _newest(writer: Writer, registry: str) -> tuple[int, str]:
    query = select(_C.seq, _C.hash).where(_C.registry == registry).order_by(_C.seq.desc()).limit(1)
    row = writer.connection.execute(query).one_or_none()
    return (0, GENESIS) if row is None else (row.seq, row.hash)


def _conflict(checkpoint: Checkpoint, found: str) -> Transient:
    return Transient(
        reason="RowConflict", message=f"Checkpoint {checkpoint.seq} of {checkpoint.registry} is not kept: {found}"
    )


def _each(work: Callable[[Writer, Any], object]) -> Callable[[Writer, Sequence[Any]], list[object]]:
    return lambda writer, operations: [work(writer, operation) for operation in operations]


AUDIT_RUNS: Final[tuple[tuple[type, Callable[[Writer, Sequence[Any]], list[object]]], ...]] = (
    (AppendFacts, _each(_append)),
    (RecordPolicies, _each(record_policies)),
    (SaveCheckpoint, _each(_save_checkpoint)),
    (MarkCopied, _each(_mark_copied)),
    (SummariseRecords, _each(_summarise)),
)
