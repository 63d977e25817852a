"""The audit trails: their records, the policies as last recorded, their checkpoints.

Records that explain rows are part of the rows' transaction. The writer collects the records while it writes rows. At
the end :func:`append_records` locks the head of each chain once and adds all its records with one insert. A transaction
that waits for a head therefore waits for one commit only. The operations in this module explain no row. Operations that
write checkpoints or delete records also lock the head, so that the trail matches its signature. The operations are few,
so each has its own statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import orjson
from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select, update

from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint, Summary
from gatehouse.domain.audit.policies import PolicyText, policy_facts
from gatehouse.domain.audit.records import (
    GENESIS,
    AuditHead,
    FactDocument,
    StoredRecord,
    canonical,
    fact_document,
    seal,
)
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.operations import Read, Write
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records, audited_policies
from gatehouse.registry.writer import Writer

__all__ = [
    "AppendFacts",
    "LoadCheckpoints",
    "LoadPolicies",
    "LoadRecords",
    "LoadStanding",
    "MarkCopied",
    "RecordPolicies",
    "SaveCheckpoint",
    "SummariseRecords",
    "append_records",
    "checkpoints_of",
    "head_of",
    "records_after",
]

_LOOKED_BACK: Final = 2_000
"""The number of newest records that are searched for a transaction's records when its commit may have succeeded."""
_R, _H, _C, _P = audit_records.c, audit_heads.c, audit_checkpoints.c, audited_policies.c
_HEAD: Final = select(_H.seq, _H.hash, _H.checkpoint)
_CHECKPOINT: Final = select(
    _C.registry, _C.seq, _C.hash, _C.at, _C.key_id, _C.previous_seq, _C.previous_hash, _C.signature
).order_by(_C.seq)
_POLICY: Final = select(_P.name, _P.uid, _P.generation, _P.spec, _P.sha256)


# The records of a trail


def append_records(writer: Writer, *, again: bool) -> None:
    """Appends the collected facts. ``again`` is true when the same facts may already be committed."""
    for registry in sorted(writer.facts):
        head = _lock_head(writer, registry)
        documents: Sequence[FactDocument] = writer.facts[registry]
        if again and head is not None:
            documents = _not_recorded(writer, registry, documents)
        _append(writer, registry, head, documents)
    writer.facts.clear()


def head_of(connection: Connection, registry: str) -> AuditHead | None:
    """The newest record according to the trail's head."""
    row = connection.execute(_HEAD.where(_H.registry == registry)).one_or_none()
    return None if row is None else AuditHead(*row)


def records_after(connection: Connection, registry: str, after: int | None, *, limit: int) -> list[StoredRecord]:
    """A page of records, by position; from the first record when ``after`` is None."""
    page = select(_R.seq, _R.content, _R.hash).where(_R.registry == registry).order_by(_R.seq).limit(limit)
    if after is not None:
        page = page.where(_R.seq > after)
    return [StoredRecord(*row) for row in connection.execute(page)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendFacts(Write[None]):
    """Appends records that explain no row."""

    registry: str
    facts: Sequence[FactDocument]

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[None]:
        for operation in batch:
            writer.record_audit(operation.registry, operation.facts)
        return [None] * len(batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRecords(Read[Sequence[StoredRecord]]):
    """A page of records with positions above ``after``, by position."""

    registry: str
    after: int
    limit: int

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Sequence[StoredRecord]]:
        return [
            records_after(connection, operation.registry, operation.after, limit=operation.limit) for operation in batch
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStanding(Read[AuditStanding]):
    """The state of a trail."""

    registry: str

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[AuditStanding]:
        return [_standing(connection, operation.registry) for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class SummariseRecords(Write[int]):
    """Deletes the records up to the summary's and appends the ``fact`` of the deletion; returns the number deleted."""

    summary: Summary
    fact: FactDocument

    @property
    def order(self) -> tuple[str, ...]:
        return ("summarise", self.summary.registry)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[int]:
        return [_summarise(writer, operation.summary, operation.fact) for operation in batch]


def _lock_head(writer: Writer, registry: str) -> AuditHead | None:
    """The newest record of a chain. No other transaction appends to the chain before this transaction ends."""
    rows = writer.fetch_for_update(_HEAD.where(_H.registry == registry))
    return AuditHead(*rows[0]) if rows else None


def _append(writer: Writer, registry: str, head: AuditHead | None, documents: Sequence[FactDocument]) -> None:
    if not documents:
        return
    seq, previous = (head.seq, head.hash) if head else (0, GENESIS)
    records = []
    for document in documents:
        record = seal(document, registry=registry, seq=seq + 1, previous=previous)
        seq, previous = record.seq, record.hash
        records.append({"registry": registry, "seq": seq, "content": record.content, "hash": previous})
    writer.insert(audit_records, records)
    if head is None:
        writer.connection.execute(
            insert(audit_heads), {"registry": registry, "seq": seq, "hash": previous, "checkpoint": 0}
        )
    else:
        writer.connection.execute(update(audit_heads).where(_H.registry == registry).values(seq=seq, hash=previous))
    writer.rows[audit_heads.name] += 1


def _not_recorded(writer: Writer, registry: str, documents: Sequence[FactDocument]) -> list[FactDocument]:
    newest = select(_R.content).where(_R.registry == registry).order_by(_R.seq.desc()).limit(_LOOKED_BACK)
    recorded = {_without_place(orjson.loads(content)) for content in writer.connection.scalars(newest)}
    return [document for document in documents if _without_place(document) not in recorded]


def _without_place(document: Mapping[str, object]) -> str:
    """A fact without its place in the chain."""
    return canonical({key: value for key, value in document.items() if key not in {"registry", "seq", "previous"}})


def _standing(connection: Connection, registry: str) -> AuditStanding:
    newest = _CHECKPOINT.where(_C.registry == registry).order_by(None).order_by(_C.seq.desc()).limit(1)
    return AuditStanding(
        head=head_of(connection, registry),
        checkpoint=next(iter(_checkpoints(connection, newest)), None),
        first=connection.scalar(select(func.min(_R.seq)).where(_R.registry == registry)) or 0,
    )


def _summarise(writer: Writer, summary: Summary, fact: FactDocument) -> int:
    head = _lock_head(writer, summary.registry)
    newest = _newest_checkpoint(writer, summary.registry)
    if head is None or summary.to > newest[0] or _hash_at(writer, summary.registry, summary.to) != summary.hash:
        return 0  # already done, or not signed: the next run decides
    old = (_R.registry == summary.registry, _R.seq <= summary.to)
    count = writer.connection.scalar(select(func.count()).select_from(audit_records).where(*old)) or 0
    writer.connection.execute(delete(audit_records).where(*old))
    writer.record_audit(summary.registry, [fact])
    return count


def _hash_at(writer: Writer, registry: str, seq: int) -> str | None:
    return writer.connection.scalar(select(_R.hash).where(_R.registry == registry, _R.seq == seq))


# Policies as last recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPolicies(Read[Mapping[str, PolicyText]]):
    """The last recorded text of each policy in a trail, by name."""

    registry: str

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Mapping[str, PolicyText]]:
        return [
            _by_name(connection.execute(_POLICY.where(_P.registry == operation.registry)).all()) for operation in batch
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPolicies(Write[None]):
    """Records how ``policies``, the complete set, differ from the last recorded texts.

    A table keeps the recorded texts, so that each change is recorded once, even across processes.
    """

    registry: str
    policies: Sequence[PolicyText]
    at: datetime

    @property
    def weight(self) -> int:
        return sum(len(policy.spec) for policy in self.policies)

    @property
    def order(self) -> tuple[str, ...]:
        return ("policies", self.registry)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[None]:
        for operation in batch:
            _record_policies(writer, operation)
        return [None] * len(batch)


def _record_policies(writer: Writer, operation: RecordPolicies) -> None:
    registry = operation.registry
    before = _by_name(writer.fetch_for_update(_POLICY.where(_P.registry == registry)))
    after = {policy.name: policy for policy in operation.policies}
    gone = sorted(before.keys() - after.keys())
    if gone:
        writer.connection.execute(delete(audited_policies).where(_P.registry == registry, _P.name.in_(gone)))
        writer.rows[audited_policies.name] += len(gone)
    writer.insert(
        audited_policies,
        [
            {"registry": registry, "name": name, **_policy_values(after[name])}
            for name in sorted(after.keys() - before.keys())
        ],
    )
    for name in sorted(after.keys() & before.keys()):
        if after[name] != before[name]:
            there = update(audited_policies).where(_P.registry == registry, _P.name == name)
            writer.connection.execute(there.values(_policy_values(after[name])))
            writer.rows[audited_policies.name] += 1
    writer.record_audit(registry, [fact_document(fact) for fact in policy_facts(before, after, at=operation.at)])


def _by_name(rows: Sequence[Row[*tuple[Any, ...]]]) -> Mapping[str, PolicyText]:
    return {
        row.name: PolicyText(name=row.name, uid=row.uid, generation=row.generation, spec=row.spec, sha256=row.sha256)
        for row in rows
    }


def _policy_values(policy: PolicyText) -> RowValues:
    return {"uid": policy.uid, "generation": policy.generation, "spec": policy.spec, "sha256": policy.sha256}


# Checkpoints


def checkpoints_of(connection: Connection, registry: str) -> list[Checkpoint]:
    """Every checkpoint, by position."""
    return _checkpoints(connection, _CHECKPOINT.where(_C.registry == registry))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheckpoints(Read[Sequence[Checkpoint]]):
    """A page of the checkpoints without a copy at ``not_at``, by position."""

    registry: str
    not_at: str
    limit: int

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Sequence[Checkpoint]]:
        return [_uncopied(connection, operation) for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveCheckpoint(Write[None]):
    """Adds a checkpoint if the trail still matches the signature."""

    checkpoint: Checkpoint

    @property
    def order(self) -> tuple[str, ...]:
        return ("checkpoint", self.checkpoint.registry)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[ReconcileError | None]:
        return [_save_checkpoint(writer, operation.checkpoint) for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkCopied(Write[None]):
    """Records that checkpoints were copied."""

    registry: str
    seqs: Sequence[int]
    uri: str

    @property
    def order(self) -> tuple[str, ...]:
        return ("copied", self.registry)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[None]:
        for operation in batch:
            copied = update(audit_checkpoints).where(_C.registry == operation.registry, _C.seq.in_(operation.seqs))
            writer.connection.execute(copied.values(copied_to=operation.uri))
        return [None] * len(batch)


def _checkpoints(connection: Connection, query: Select[Any]) -> list[Checkpoint]:
    names = ("registry", "seq", "hash", "at", "key_id", "previous_seq", "previous_hash", "signature")
    return [Checkpoint(**dict(zip(names, row, strict=True))) for row in connection.execute(query)]


def _uncopied(connection: Connection, operation: LoadCheckpoints) -> list[Checkpoint]:
    elsewhere = or_(_C.copied_to.is_(None), _C.copied_to != operation.not_at)
    query = _CHECKPOINT.where(_C.registry == operation.registry, elsewhere).limit(operation.limit)
    return _checkpoints(connection, query)


def _save_checkpoint(writer: Writer, checkpoint: Checkpoint) -> ReconcileError | None:
    head = _lock_head(writer, checkpoint.registry)
    if head is None or _hash_at(writer, checkpoint.registry, checkpoint.seq) != checkpoint.hash:
        return _conflict(checkpoint, "the trail has another record there, or none")
    newest = _newest_checkpoint(writer, checkpoint.registry)
    if newest == (checkpoint.seq, checkpoint.hash):
        return None  # an earlier commit succeeded after all
    if newest != (checkpoint.previous_seq, checkpoint.previous_hash):
        return _conflict(checkpoint, f"checkpoint {newest[0]} was saved in between")
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


def _newest_checkpoint(writer: Writer, registry: str) -> tuple[int, str]:
    query = select(_C.seq, _C.hash).where(_C.registry == registry).order_by(_C.seq.desc()).limit(1)
    row = writer.connection.execute(query).one_or_none()
    return (0, GENESIS) if row is None else (row.seq, row.hash)


def _conflict(checkpoint: Checkpoint, conflict: str) -> Transient:
    return Transient(
        reason="RowConflict", message=f"Checkpoint {checkpoint.seq} of {checkpoint.registry} is not saved: {conflict}"
    )
