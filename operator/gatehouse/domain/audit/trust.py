"""Which checkpoints of an audit trail count, the problems of the others, and the findings of a check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.records import AuditHead

if TYPE_CHECKING:
    from gatehouse.domain.audit.keys import PublicKeys

__all__ = ["AuditFinding", "FindingKind", "Trusted", "Verdict", "trust"]

FindingKind = Literal[
    "Changed", "Removed", "Inserted", "Moved", "CutOff", "Replaced", "CheckpointRemoved", "CheckpointForged", "Unsigned"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """A change that no operator makes. ``position`` is the first record that was changed.

    ``until`` is the last record that the finding concerns.
    """

    kind: FindingKind
    position: int
    until: int
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.kind} at record {self.position}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The findings on one registry's trail.

    ``records`` were read, from ``first`` to ``last`` (0 for none); ``summarised`` is the last record that a summary
    replaces. ``checkpoints`` agreed with a record, the newest of them at ``vouched``. ``notes`` are observations that
    are no fault.
    """

    registry: str
    records: int
    first: int
    last: int
    summarised: int
    checkpoints: int
    vouched: int
    findings: Sequence[AuditFinding]
    notes: Sequence[str]

    @property
    def intact(self) -> bool:
        """Whether the check has no findings."""
        return not self.findings

    @property
    def first_bad(self) -> AuditFinding | None:
        """The finding with the lowest position."""
        return min(self.findings, key=lambda finding: finding.position, default=None)


_RESTORE = (
    "Compare with the copies in the object store and the AuditCheckpoint Events, and restore the database from a "
    "backup."
)


@dataclass(frozen=True, slots=True)
class Trusted:
    """The checkpoints that count, by position, and the findings on the others."""

    checkpoints: Sequence[Checkpoint]
    findings: Sequence[AuditFinding]

    @property
    def newest(self) -> Checkpoint | None:
        """The checkpoint with the highest position."""
        return self.checkpoints[-1] if self.checkpoints else None


def trust(
    registry: str,
    *,
    kept: Iterable[Checkpoint],
    copies: Iterable[Checkpoint] = (),
    head: AuditHead | None,
    keys: PublicKeys | None,
) -> Trusted:
    """The checkpoints of a registry that count: signed by one of ``keys``, or all of them without keys.

    ``kept`` are the database's own, ``copies`` those in other places: a checkpoint that only a copy has was removed
    from the database.
    """
    findings: list[AuditFinding] = []
    chosen: dict[int, Checkpoint] = {}
    in_database: set[int] = set()
    for is_copy, checkpoints in ((False, kept), (True, copies)):
        for checkpoint in checkpoints:
            if checkpoint.registry != registry:
                continue
            if keys is not None and not keys.signed(checkpoint):
                findings.append(_forged(checkpoint, keys))
                continue
            if not is_copy:
                in_database.add(checkpoint.seq)
            other = chosen.setdefault(checkpoint.seq, checkpoint)
            if other.hash != checkpoint.hash:
                findings.append(_contradicting(checkpoint))
    ordered = [chosen[seq] for seq in sorted(chosen)]
    findings += [_removed(each.seq, "a copy of it exists") for each in ordered if each.seq not in in_database]
    findings += _links(ordered)
    newest = ordered[-1].seq if ordered else 0
    if head is not None and head.checkpoint > newest:
        findings.append(_removed(head.checkpoint, "the head of the trail names the checkpoint"))
    return Trusted(ordered, findings)


def _links(ordered: Sequence[Checkpoint]) -> list[AuditFinding]:
    """Each checkpoint names the one before it."""
    findings: list[AuditFinding] = []
    seq, hash_ = 0, ordered[0].previous_hash if ordered else ""
    for checkpoint in ordered:
        if checkpoint.previous_seq > seq:
            findings.append(_removed(checkpoint.previous_seq, f"checkpoint {checkpoint.seq} names the checkpoint"))
        elif checkpoint.previous_seq < seq or checkpoint.previous_hash != hash_:
            findings.append(_forked(checkpoint, seq))
        seq, hash_ = checkpoint.seq, checkpoint.hash
    return findings


def _forged(checkpoint: Checkpoint, keys: PublicKeys) -> AuditFinding:
    known = checkpoint.key_id in keys.ids
    why = (
        "its signature does not match its content"
        if known
        else f"its key {checkpoint.key_id[:64]} is not one of the given keys"
    )
    return AuditFinding(
        kind="CheckpointForged",
        position=checkpoint.seq,
        until=checkpoint.seq,
        message=f"checkpoint {checkpoint.seq} does not count: {why}",
        remedy=_RESTORE if known else "Pass every public key that the operator had, one after the other in one file.",
    )


def _contradicting(checkpoint: Checkpoint) -> AuditFinding:
    return AuditFinding(
        kind="Replaced",
        position=checkpoint.seq,
        until=checkpoint.seq,
        message=f"two checkpoints of record {checkpoint.seq} name different hashes: records were written again",
        remedy=_RESTORE,
    )


def _removed(seq: int, how: str) -> AuditFinding:
    return AuditFinding(
        kind="CheckpointRemoved",
        position=seq,
        until=seq,
        message=f"the database has lost the checkpoint of record {seq}: {how}",
        remedy=_RESTORE,
    )


def _forked(checkpoint: Checkpoint, seq: int) -> AuditFinding:
    return AuditFinding(
        kind="Replaced",
        position=checkpoint.previous_seq + 1,
        until=checkpoint.seq,
        message=f"checkpoint {checkpoint.seq} was signed on a trail that did not have checkpoint {seq}",
        remedy=f"The database was restored to an older state. {_RESTORE}",
    )
