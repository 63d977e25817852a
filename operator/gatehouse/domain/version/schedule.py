"""When an artifact is verified again, and which hashes of files no longer count."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.artifact.values import ArtifactRecord, ContentSource
from gatehouse.domain.common.clocks import lies_ahead
from gatehouse.domain.common.locations import duration
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.version.facts import Facts

__all__ = [
    "BROKEN_INTERVAL",
    "MISSING_INTERVAL",
    "asks_store",
    "distrusted",
    "must_be_read",
    "next_check",
    "owes_reading",
    "reread_due",
    "reread_since",
    "wants_bytes",
]

MISSING_FIRST: Final = timedelta(seconds=2)
MISSING_INTERVAL: Final = timedelta(seconds=30)
"""An upload is expected, and an empty listing is cheap: after 2 s, then 4 s, 8 s, 16 s, and each 30 s."""
BROKEN_INTERVAL: Final = timedelta(seconds=60)
"""A person may be correcting the files."""
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
REREAD_SPREAD: Final = 0.5
SPREAD: Final = 0.1
"""Checks of versions that were registered together drift apart by up to a tenth of the interval in each direction."""


def next_check(
    record: ArtifactRecord, *, now: datetime, uid: str, interval: timedelta, recorded_digest: str | None
) -> datetime:
    """When to list the store again: at once if no correct clock can have written the row's time.

    The spread comes from the object's uid and the times from the row, so that a restart moves nothing. A missing
    artifact is checked after as long as it has been missing, plus two seconds.
    """
    if lies_ahead(record.verified_at, now=now):
        return now
    if record.outcome == "Missing":
        missing = record.verified_at - (record.missing_since or LONG_AGO)
        return record.verified_at + min(interval, MISSING_INTERVAL, max(missing, timedelta(0)) + MISSING_FIRST)
    healthy = record.outcome == "Verified" and recorded_digest in {None, record.digest}
    if not healthy:
        return record.verified_at + min(interval, BROKEN_INTERVAL)
    return record.verified_at + interval * (1 - SPREAD + 2 * SPREAD * _fraction(uid))


def reread_due(record: ArtifactRecord, *, now: datetime, uid: str, interval: timedelta) -> datetime | None:
    """When to read every file again although the store shows no change; None when nothing was verified.

    No hash gets older than the interval. Versions that were registered together are spread over the last half of it, by
    their uids, so that a restart moves nothing.
    """
    if record.outcome != "Verified":
        return None
    if record.read_at is None:
        return LONG_AGO
    if lies_ahead(record.read_at, now=now):
        return now
    return record.read_at + interval * (1 - REREAD_SPREAD * _fraction(uid))


def _fraction(uid: str) -> float:
    return zlib.crc32(uid.encode()) / 0xFFFFFFFF


_BY_STORE: Final[frozenset[ContentSource | None]] = frozenset({"StoreChecksum", "Mixed"})
_NOT_READ: Final = _BY_STORE | {None}


def wants_bytes(policy: CompiledPolicy) -> bool:
    """Whether the policy requires that Gatehouse reads every byte."""
    return policy.policy.spec.artifact.verification == "Content"


def must_be_read(facts: Facts) -> bool:
    """Whether an enforced policy requires that."""
    return any(policy.enforced and wants_bytes(policy) for policy in facts.policies)


def distrusted(facts: Facts) -> frozenset[ContentSource | None]:
    """Sources of hashes that do not count. The source is unknown (None) for files from before it was recorded.

    A registry that reads no content cannot replace hashes, so that all count. A registry that stops trusting the store
    drops the hashes that are known to be the store's; hashes of unknown source are read only where a policy requires
    that, so that no whole store is read again without need. A policy in mode Audit causes no reading of a trusted
    store.
    """
    if not isinstance(facts.registry, ModelRegistry) or not facts.registry.spec.verification.content:
        return frozenset()
    trusted = facts.registry.spec.verification.trust_store_checksums
    if must_be_read(facts) or (not trusted and any(map(wants_bytes, facts.policies))):
        return _NOT_READ
    return frozenset() if trusted else _BY_STORE


def asks_store(facts: Facts) -> bool:
    """Whether the store's checksum counts for a file that is hashed now."""
    if not isinstance(facts.registry, ModelRegistry):
        return False
    return facts.registry.spec.verification.trust_store_checksums and "StoreChecksum" not in distrusted(facts)


def reread_since(facts: Facts) -> datetime | None:
    """Hashes from before this moment no longer count; None while no hash is that old.

    A registry that reads no content cannot replace hashes.
    """
    record, registry = facts.artifact, facts.registry
    if not isinstance(record, ArtifactRecord) or not isinstance(registry, ModelRegistry):
        return None
    if not registry.spec.verification.content:
        return None
    interval = duration(registry.spec.verification.reread)
    due = reread_due(record, now=facts.now, uid=facts.version.metadata.uid, interval=interval)
    return due if due is not None and due <= facts.now else None


def owes_reading(facts: Facts) -> bool:
    """Whether verified files must still be read."""
    record = facts.artifact
    return (
        isinstance(record, ArtifactRecord)
        and record.outcome == "Verified"
        and record.content_source in distrusted(facts)
    )
