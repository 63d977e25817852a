"""Audit trails for tests: facts, chains of them, checkpoints, and what an attacker does to the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from gatehouse.domain.audit.chain import verify_chain
from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.keys import PublicKeys, Signer, new_key_pem
from gatehouse.domain.audit.records import (
    GENESIS,
    AuditHead,
    FactChange,
    StoredRecord,
    canonical,
    digest_of,
    fact_document,
    seal,
)
from gatehouse.domain.audit.trust import Verdict, trust

REGISTRY = "registries/local"
NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
_PRIVATE_PEM, PUBLIC_PEM = new_key_pem()
SIGNER = Signer.from_pem(_PRIVATE_PEM, where="the test's key")
OTHER_SIGNER = Signer.from_pem(new_key_pem()[0], where="another key")
KEYS = PublicKeys([SIGNER.public_key])


def a_fact(number: int = 1, **changes: Any) -> FactChange:
    values: dict[str, Any] = {
        "at": NOW + timedelta(seconds=number),
        "actor": "alice",
        "kind": "ModelApproval",
        "namespace": "team-a",
        "name": f"approval-{number}",
        "model": "granite",
        "version": f"v{number}",
        "digest": "sha256:" + "a" * 64,
        "reason": "Approved",
        "message": "läuft, 模型 works",
        "after": {"stage": "staging"},
    }
    return FactChange(**values | changes)


@dataclass
class Trail:
    """A chain and what the database keeps beside it."""

    rows: list[StoredRecord]
    checkpoints: list[Checkpoint]

    @property
    def head(self) -> AuditHead:
        return AuditHead(self.rows[-1].seq, self.rows[-1].hash, self.checkpoints[-1].seq if self.checkpoints else 0)


def chain(facts: Iterable[FactChange], *, after: AuditHead | None = None) -> list[StoredRecord]:
    """The records of facts as they are appended."""
    return list(chained(facts, after=after))


def chained(facts: Iterable[FactChange], *, after: AuditHead | None = None) -> Iterator[StoredRecord]:
    """The same, one by one."""
    seq, previous = (after.seq, after.hash) if after else (0, GENESIS)
    for fact in facts:
        row = seal(fact_document(fact), registry=REGISTRY, seq=seq + 1, previous=previous)
        seq, previous = row.seq, row.hash
        yield row


def a_trail(count: int, *, checkpoints: Iterable[int] = ()) -> Trail:
    rows = chain(a_fact(number) for number in range(1, count + 1))
    signed: list[Checkpoint] = []
    for seq in sorted(set(checkpoints)):
        here = AuditHead(seq, rows[seq - 1].hash)
        signed.append(SIGNER.checkpoint(REGISTRY, here, at=NOW, previous=signed[-1] if signed else None))
    return Trail(rows, signed)


def rehashed(row: StoredRecord, **changes: Any) -> StoredRecord:
    """A record that was changed, with the hash that goes with it."""
    content = canonical(orjson.loads(row.content) | changes)
    return StoredRecord(row.seq, content, digest_of(content))


def recomputed(rows: Sequence[StoredRecord], start: int) -> list[StoredRecord]:
    """Every record from the index on linked and hashed anew, at the positions of the list."""
    made = list(rows[:start])
    for row in rows[start:]:
        previous = made[-1].hash if made else GENESIS
        seq = len(made) + 1
        made.append(rehashed(StoredRecord(seq, row.content, ""), seq=seq, previous=previous))
    return made


def judged(
    rows: Iterable[StoredRecord],
    *,
    head: AuditHead | None,
    checkpoints: Iterable[Checkpoint] = (),
    copies: Iterable[Checkpoint] = (),
    keys: PublicKeys | None = KEYS,
) -> Verdict:
    trusted = trust(REGISTRY, kept=checkpoints, copies=copies, head=head, keys=keys)
    return verify_chain(rows, registry=REGISTRY, head=head, trusted=trusted, keys=keys)


def found(verdict: Verdict) -> tuple[str, int] | None:
    """Kind and position of the first thing that is wrong."""
    first = verdict.first_bad
    return None if first is None else (first.kind, first.position)
