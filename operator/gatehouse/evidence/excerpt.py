"""The part of an audit trail about one version, with its proof.

A record's hash covers the hash of the record before, so the records up to a signed checkpoint prove a record. The
excerpt proves its own records. Only the whole trail (``gatehouse audit verify``) proves that the trail has no other
record about the version.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.audit.chain import verify_chain
from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.keys import PublicKeys
from gatehouse.domain.audit.records import AuditHead, RecordUnreadable, StoredRecord, read_record
from gatehouse.domain.audit.trust import Trusted
from gatehouse.evidence.model import AuditExcerpt

__all__ = ["MOST_RECORDS", "ExcerptCheck", "lies_in", "ranges", "verify_excerpt"]

MOST_RECORDS: Final = 100_000
"""The most records of one excerpt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcerptCheck:
    """The proven part of an excerpt: of ``about`` records of the version, ``proven`` precede a checkpoint that counts.

    ``checkpoints`` is the number that agreed with a record. ``problems`` are faults that no valid trail has.
    """

    about: int
    proven: int
    checkpoints: int
    problems: Sequence[str]


def ranges(about: Sequence[int], checkpoints: Sequence[int], head: int) -> list[tuple[int, int]]:
    """The first and last position of each run that links records to the next checkpoint, or to the head."""
    runs: list[tuple[int, int]] = []
    ordered = sorted(checkpoints)
    for position in sorted(about):
        if runs and position <= runs[-1][1]:
            continue
        at = bisect_left(ordered, position)
        end = ordered[at] if at < len(ordered) else head
        if runs and position == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((position, end))
    return runs


def lies_in(position: int, runs: Sequence[tuple[int, int]]) -> bool:
    """Whether a position lies in one of the runs."""
    return any(first <= position <= last for first, last in runs)


def verify_excerpt(excerpt: AuditExcerpt, *, keys: PublicKeys | None) -> ExcerptCheck:
    """Verifies the runs of an excerpt. Checkpoints count if one of ``keys`` signed them; without keys all count."""
    signed = [checkpoint for checkpoint in excerpt.checkpoints if keys is None or keys.signed(checkpoint)]
    counted = [checkpoint for checkpoint in signed if checkpoint.registry == excerpt.registry]
    problems = [
        f"checkpoint {checkpoint.seq} is of another registry, or no given key signed it"
        for checkpoint in excerpt.checkpoints
        if checkpoint not in counted
    ]
    here = {stored.seq for stored in excerpt.records}
    problems += [
        f"record {seq} is about the version, and the excerpt does not have it"
        for seq in excerpt.about
        if seq not in here
    ]
    problems += [
        f"the excerpt has no record {checkpoint.seq}, which a checkpoint names"
        for checkpoint in counted
        if checkpoint.seq not in here
    ]
    ends = {checkpoint.seq for checkpoint in excerpt.checkpoints}
    proven: set[int] = set()
    vouched = 0
    for run in _runs(excerpt.records):
        first, last = run[0], run[-1]
        within = [checkpoint for checkpoint in counted if first.seq <= checkpoint.seq <= last.seq]
        verdict = _verify_run(excerpt.registry, run, within)
        if last.seq != excerpt.head and last.seq not in ends:
            verdict.append(f"the excerpt has no record {last.seq + 1}, which links record {last.seq} to a checkpoint")
        problems += verdict
        if within and not verdict:
            vouched += len(within)
            proven.update(seq for seq in excerpt.about if first.seq <= seq <= within[-1].seq)
    return ExcerptCheck(about=len(excerpt.about), proven=len(proven), checkpoints=vouched, problems=problems)


def _verify_run(registry: str, run: Sequence[StoredRecord], within: Sequence[Checkpoint]) -> list[str]:
    try:
        before = AuditHead(run[0].seq - 1, read_record(run[0]).previous)
    except RecordUnreadable as error:
        return [str(error)]
    verdict = verify_chain(
        run,
        registry=registry,
        head=AuditHead(run[-1].seq, run[-1].hash),
        trusted=Trusted(within, []),
        start=before,
    )
    return [str(finding) for finding in verdict.findings]


def _runs(records: Sequence[StoredRecord]) -> Iterator[list[StoredRecord]]:
    run: list[StoredRecord] = []
    for stored in records:
        if run and stored.seq != run[-1].seq + 1:
            yield run
            run = []
        run.append(stored)
    if run:
        yield run
