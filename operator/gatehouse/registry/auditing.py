"""Appending to the audit trail, in the transaction of the rows that it explains.

Facts gather in the writer while rows are written. At the end the head of each chain is locked, once, and all its
records go in with one insert: whoever waits for a head waits for a commit and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from sqlalchemy import insert, select, update

from gatehouse.domain.audit.records import GENESIS, AuditHead, FactDocument, canonical, seal
from gatehouse.registry.tables import audit_heads, audit_records
from gatehouse.registry.writer import Writer

__all__ = ["append_records", "lock_head"]

_LOOKED_BACK: Final = 2_000
"""Newest records among which those of a transaction are looked for when its commit may have got through."""


def append_records(writer: Writer, *, again: bool) -> None:
    """Appends the facts that have gathered. ``again`` when the same may have been committed already."""
    for registry in sorted(writer.facts):
        head = lock_head(writer, registry)
        documents: Sequence[FactDocument] = writer.facts[registry]
        if again and head is not None:
            documents = _not_recorded(writer, registry, documents)
        _append(writer, registry, head, documents)
    writer.facts.clear()


def lock_head(writer: Writer, registry: str) -> AuditHead | None:
    """The newest record of a chain, which nobody else appends to before this transaction ends."""
    heads = audit_heads.c
    rows = writer.lock(select(heads.seq, heads.hash, heads.checkpoint).where(heads.registry == registry))
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
        writer.connection.execute(
            update(audit_heads).where(audit_heads.c.registry == registry).values(seq=seq, hash=previous)
        )
    writer.rows[audit_heads.name] += 1


def _not_recorded(writer: Writer, registry: str, documents: Sequence[FactDocument]) -> list[FactDocument]:
    records = audit_records.c
    newest = (
        select(records.content).where(records.registry == registry).order_by(records.seq.desc()).limit(_LOOKED_BACK)
    )
    recorded = {_said(orjson.loads(content)) for content in writer.connection.scalars(newest)}
    return [document for document in documents if _said(document) not in recorded]


def _said(document: Mapping[str, object]) -> str:
    """A fact without its place in the chain."""
    return canonical({key: value for key, value in document.items() if key not in {"registry", "seq", "previous"}})
