"""Verifies a trail, record by record, in bounded memory: what was changed, removed, inserted, moved or cut off.

Hashes alone show every change after which the later hashes were not computed anew; checkpoints show that case as well.
Times that go backwards are no fault of the trail, which is ordered by position: they are noted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from gatehouse.domain.audit.checkpoints import Summary
from gatehouse.domain.audit.records import GENESIS, AuditHead, StoredRecord, digest_of
from gatehouse.domain.audit.trust import AuditFinding, Trusted, Verdict

if TYPE_CHECKING:
    from gatehouse.domain.audit.keys import PublicKeys

__all__ = ["CHECKPOINT_EVERY", "SUMMARISED", "TRAIL", "verify_chain"]

CHECKPOINT_EVERY: Final = 1_000
"""Records after which a new checkpoint is due."""
TRAIL: Final = "AuditTrail"
"""Kind of the records about the trail itself."""
SUMMARISED: Final = "Summarised"
_REMEMBERED: Final = 1_024
_UNSIGNED: Final = 5 * CHECKPOINT_EVERY
"""How many records may wait for a checkpoint while very many are written at once."""
_SLACK: Final = timedelta(minutes=5)
"""Facts are recorded in the order in which they are saved, which may be some minutes after they were observed."""
_RESTORE: Final = "Restore the database from a backup, and find out who may write to it."


def verify_chain(
    rows: Iterable[StoredRecord],
    *,
    registry: str,
    head: AuditHead | None,
    trusted: Trusted,
    keys: PublicKeys | None = None,
    start: AuditHead | None = None,
) -> Verdict:
    """Verifies the records of a registry in the order of their positions, up to the first that was changed.

    Args:
        rows: the records, all of them, or those after ``start``.
        registry: its ``namespace/name``.
        head: the newest record, which the database keeps separately; None when it keeps none.
        trusted: the checkpoints.
        keys: the keys that must have signed summaries; None skips the check of their signatures.
        start: a record that is known to be good.
    """
    walk = _Walk(registry, trusted, start)
    finding = next(walk.through(rows), None)
    findings = list(trusted.findings)
    if finding is not None:
        findings.append(finding)
    else:
        findings += walk.at_the_end(head, keys)
    return Verdict(
        registry=registry,
        records=walk.records,
        first=walk.first,
        last=walk.last.seq,
        summarised=walk.gap.seq if walk.gap else 0,
        checkpoints=walk.agreed,
        vouched=walk.vouched,
        findings=sorted(findings, key=lambda each: each.position),
        notes=tuple(walk.notes(finding)),
    )


class _Walk:
    """One pass over a trail. ``last`` is the newest good record; ``gap`` the last record missing at the beginning."""

    def __init__(self, registry: str, trusted: Trusted, start: AuditHead | None) -> None:
        self._registry = registry
        self._trusted = {checkpoint.seq: checkpoint.hash for checkpoint in trusted.checkpoints}
        self._newest = trusted.newest.seq if trusted.newest else 0
        self._fresh = start is None
        self.last = start or AuditHead(0, GENESIS)
        self.gap: AuditHead | None = None
        self.records = self.first = self.agreed = 0
        self.vouched = self.last.seq
        self._recent: OrderedDict[int, str] = OrderedDict()
        self._summaries: list[dict[str, Any]] = []
        self._newest_time = ""
        self._unvouched_since = ""
        self._backwards: list[int] = []
        self._backwards_count = 0

    def through(self, rows: Iterable[StoredRecord]) -> Iterator[AuditFinding]:
        """The finding for each changed record."""
        for stored in rows:
            finding = self._take(stored)
            if finding is not None:
                yield finding

    def _take(self, stored: StoredRecord) -> AuditFinding | None:
        if digest_of(stored.content) != stored.hash:
            return self._missing_before(stored) or _found(
                "Changed", stored.seq, "the content does not have the recorded hash"
            )
        try:
            kept = orjson.loads(stored.content)
            registry, seq, previous, at = kept["registry"], kept["seq"], kept["previous"], kept["at"]
        except (ValueError, TypeError, KeyError):
            return self._missing_before(stored) or _found("Changed", stored.seq, "the content is not an audit record")
        if not self.records and self._fresh and stored.seq > 1 and seq == stored.seq:
            self.gap = self.last = AuditHead(stored.seq - 1, str(previous))
            if (finding := self._compare(self.gap)) is not None:
                return finding
        finding = self._misplaced(stored, seq) or self._missing_before(stored)
        if finding is None and registry != self._registry:
            finding = _found("Changed", stored.seq, f"the record belongs to registry {str(registry)[:400]}")
        if finding is None and previous != self.last.hash:
            finding = self._broken_link(stored)
        if finding is None:
            finding = self._compare(AuditHead(stored.seq, stored.hash))
        if finding is None:
            self._accept(stored, str(at), kept)
        return finding

    def _accept(self, stored: StoredRecord, at: str, kept: dict[str, Any]) -> None:
        self.first = self.first or stored.seq
        self.records += 1
        self.last = AuditHead(stored.seq, stored.hash)
        self._recent[stored.seq] = stored.hash
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        if at < self._newest_time and _apart(at, self._newest_time) > _SLACK:
            self._backwards_count += 1
            self._backwards += [stored.seq] if len(self._backwards) < 3 else []
        self._newest_time = max(at, self._newest_time)
        if stored.seq > self._newest and not self._unvouched_since:
            self._unvouched_since = at
        if self.gap is not None and kept.get("kind") == TRAIL and kept.get("reason") == SUMMARISED:
            after = kept.get("after")
            if isinstance(after, dict) and after.get("to") == self.gap.seq:
                self._summaries = [after]

    def _missing_before(self, stored: StoredRecord) -> AuditFinding | None:
        expected = self.last.seq + 1
        if stored.seq < expected:
            return _found("Inserted", stored.seq, f"record {expected} is expected at this position")
        if stored.seq > expected and (self.records or not self._fresh):
            return _found("Removed", expected, f"record {stored.seq} follows record {self.last.seq}", stored.seq - 1)
        return None

    def _misplaced(self, stored: StoredRecord, seq: Any) -> AuditFinding | None:
        """A good record at another position than its own."""
        if seq == stored.seq:
            return None
        if isinstance(seq, int) and seq < stored.seq and self._recent.get(seq, stored.hash) != stored.hash:
            # Records were moved to make room: the record at their old position was inserted.
            return _found("Inserted", seq, f"the original record {seq} is at position {stored.seq}", stored.seq - 1)
        if stored.seq != self.last.seq + 1 and (missing := self._missing_before(stored)) is not None:
            return missing
        return _found("Moved", stored.seq, f"the record at this position was written as record {str(seq)[:20]}")

    def _broken_link(self, stored: StoredRecord) -> AuditFinding:
        """If two records do not fit, the earlier one was changed, unless a checkpoint confirms it."""
        if not self.records or self.vouched == self.last.seq:
            return _found("Changed", stored.seq, f"the record does not follow record {self.last.seq}")
        return _found(
            "Changed",
            self.last.seq,
            f"the record was written again with another hash: record {stored.seq} follows a different record",
        )

    def _compare(self, here: AuditHead) -> AuditFinding | None:
        signed = self._trusted.get(here.seq)
        if signed is None:
            return None
        if signed != here.hash:
            return _found(
                "Replaced",
                self.vouched + 1,
                f"records were written again: the checkpoint of record {here.seq} names another hash",
                here.seq,
            )
        self.agreed += 1
        self.vouched = here.seq
        return None

    def at_the_end(self, head: AuditHead | None, keys: PublicKeys | None) -> list[AuditFinding]:
        """The findings about the trail as a whole."""
        findings = [finding for finding in (self._unexplained(keys), self._cut(head)) if finding is not None]
        owed = self.last.seq - self._newest
        if not findings and keys is not None and self._fresh and owed > _UNSIGNED:
            findings.append(
                AuditFinding(
                    kind="Unsigned",
                    position=self._newest + 1,
                    until=self.last.seq,
                    message=f"no checkpoint covers the last {owed} records, expected one every {CHECKPOINT_EVERY}",
                    remedy="Pass the copies of the checkpoints with --checkpoints. Check that the operator has "
                    "--audit-key.",
                )
            )
        return findings

    def _unexplained(self, keys: PublicKeys | None) -> AuditFinding | None:
        if self.gap is None:
            return None
        summary = Summary(registry=self._registry, to=self.gap.seq, hash=self.gap.hash)
        for said in self._summaries:
            signed = keys is None or keys.signed_summary(
                summary, key_id=str(said.get("keyId")), signature=str(said.get("signature"))
            )
            if signed and said.get("hash") == self.gap.hash:
                return None
        return _found(
            "Removed", 1, f"the trail begins with record {self.gap.seq + 1}, and no summary explains this", self.gap.seq
        )

    def _cut(self, head: AuditHead | None) -> AuditFinding | None:
        last = self.last.seq
        if self._newest > last:
            return _found("CutOff", last + 1, f"there is a checkpoint of record {self._newest}", self._newest)
        if head is None:
            return _found("CutOff", last + 1, "the head of the trail is missing") if self.records else None
        if head.seq > last:
            return _found("CutOff", last + 1, f"the head of the trail is record {head.seq}", head.seq)
        if head.seq < last:
            return _found("Inserted", head.seq + 1, f"the head of the trail is record {head.seq}", last)
        if head.hash != self.last.hash and last > 0:
            return _found("Changed", last, "the head of the trail names another hash")
        return None

    def notes(self, finding: AuditFinding | None) -> Iterator[str]:
        """Observations that are no fault."""
        if self._backwards_count:
            where = ", ".join(map(str, self._backwards))
            yield (
                f"{self._backwards_count} records are more than 5 minutes older than an earlier record "
                f"(first at {where}): a clock was wrong"
            )
        if self.gap is not None:
            yield f"records 1 to {self.gap.seq} were older than the retention; a summary replaces them"
        owed = self.last.seq - self._newest
        if finding is None and owed > 0:
            yield f"the last {owed} records, since {self._unvouched_since}, have no checkpoint yet, only hashes"


def _apart(earlier: str, later: str) -> timedelta:
    """The time between two times; zero when one of them is malformed."""
    try:
        return datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
    except (ValueError, TypeError, OverflowError):
        return timedelta(0)


def _found(kind: Any, position: int, message: str, until: int | None = None) -> AuditFinding:
    return AuditFinding(
        kind=kind,
        position=position,
        until=position if until is None else until,
        message=message,
        remedy=_RESTORE,
    )
