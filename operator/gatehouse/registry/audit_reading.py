"""Reads of audit trails. There are few, so each is a statement of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint
from gatehouse.domain.audit.records import AuditHead, StoredRecord
from gatehouse.registry.audit_operations import LoadCheckpoints, LoadPolicies, LoadRecords, LoadStanding
from gatehouse.registry.audited_policies import load_policies
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records

__all__ = ["AUDIT_READERS", "checkpoints_of", "head_of", "records_after"]

_R, _H, _C = audit_records.c, audit_heads.c, audit_checkpoints.c
_CHECKPOINT = select(
    _C.registry, _C.seq, _C.hash, _C.at, _C.key_id, _C.previous_seq, _C.previous_hash, _C.signature
).order_by(_C.seq)


def head_of(connection: Connection, registry: str) -> AuditHead | None:
    """The newest record as the trail's head has it."""
    row = connection.execute(select(_H.seq, _H.hash, _H.checkpoint).where(_H.registry == registry)).one_or_none()
    return None if row is None else AuditHead(*row)


def checkpoints_of(connection: Connection, registry: str) -> list[Checkpoint]:
    """Every checkpoint, by position."""
    return _checkpoints(connection, _CHECKPOINT.where(_C.registry == registry))


def records_after(connection: Connection, registry: str, after: int | None, *, limit: int) -> list[StoredRecord]:
    """A page of records, by position; from the first of all when ``after`` is None."""
    page = select(_R.seq, _R.content, _R.hash).where(_R.registry == registry).order_by(_R.seq).limit(limit)
    if after is not None:
        page = page.where(_R.seq > after)
    return [StoredRecord(*row) for row in connection.execute(page)]


def _checkpoints(connection: Connection, query: Select[Any]) -> list[Checkpoint]:
    names = ("registry", "seq", "hash", "at", "key_id", "previous_seq", "previous_hash", "signature")
    return [Checkpoint(**dict(zip(names, row, strict=True))) for row in connection.execute(query)]


def _standing(connection: Connection, operation: LoadStanding) -> AuditStanding:
    registry = operation.registry
    newest = _CHECKPOINT.where(_C.registry == registry).order_by(None).order_by(_C.seq.desc()).limit(1)
    return AuditStanding(
        head=head_of(connection, registry),
        checkpoint=next(iter(_checkpoints(connection, newest)), None),
        first=connection.scalar(select(func.min(_R.seq)).where(_R.registry == registry)) or 0,
    )


def _records(connection: Connection, operation: LoadRecords) -> list[StoredRecord]:
    return records_after(connection, operation.registry, operation.after, limit=operation.limit)


def _uncopied(connection: Connection, operation: LoadCheckpoints) -> list[Checkpoint]:
    elsewhere = or_(_C.copied_to.is_(None), _C.copied_to != operation.not_at)
    query = _CHECKPOINT.where(_C.registry == operation.registry, elsewhere).limit(operation.limit)
    return _checkpoints(connection, query)


def _each(work: Callable[[Connection, Any], object]) -> Callable[[Connection, Sequence[Any]], list[object]]:
    return lambda connection, operations: [work(connection, operation) for operation in operations]


AUDIT_READERS: Mapping[type, Callable[[Connection, Sequence[Any]], list[object]]] = {
    LoadStanding: _each(_standing),
    LoadRecords: _each(_records),
    LoadCheckpoints: _each(_uncopied),
    LoadPolicies: _each(load_policies),
}
