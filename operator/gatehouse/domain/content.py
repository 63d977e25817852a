"""Which hashes of files do not count for a version any more, so that the files are read (again)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.access import duration
from gatehouse.domain.artifact import ArtifactRecord, ContentSource
from gatehouse.domain.facts import Facts
from gatehouse.domain.policy.compiled import CompiledPolicy
from gatehouse.domain.schedule import reread_due

__all__ = ["asks_store", "distrusted", "must_be_read", "owes_reading", "reread_since", "wants_bytes"]

_BY_STORE: Final[frozenset[ContentSource | None]] = frozenset({"StoreChecksum", "Mixed"})
_NOT_READ: Final = _BY_STORE | {None}


def wants_bytes(policy: CompiledPolicy) -> bool:
    """Whether the policy wants every byte read by Gatehouse."""
    return policy.policy.spec.artifact.verification == "Content"


def must_be_read(facts: Facts) -> bool:
    """Whether an enforced policy wants that."""
    return any(policy.enforced and wants_bytes(policy) for policy in facts.policies)


def distrusted(facts: Facts) -> frozenset[ContentSource | None]:
    """Sources of hashes that do not count. Where a hash is from is not known (None) of files from before it was kept.

    A registry that reads no content has nothing to put in their place, so that all count. One that stops to trust the
    store lets go of what is known to be the store's; what is not known is read only where a policy wants it, so that
    nobody reads a whole store again without need. A policy in mode Audit has nothing read of a store that is trusted.
    """
    if not isinstance(facts.registry, ModelRegistry) or not facts.registry.spec.verification.content:
        return frozenset()
    trusted = facts.registry.spec.verification.trust_store_checksums
    if must_be_read(facts) or (not trusted and any(map(wants_bytes, facts.policies))):
        return _NOT_READ
    return frozenset() if trusted else _BY_STORE


def asks_store(facts: Facts) -> bool:
    """Whether the store's checksum stands for a file that is hashed now."""
    if not isinstance(facts.registry, ModelRegistry):
        return False
    return facts.registry.spec.verification.trust_store_checksums and "StoreChecksum" not in distrusted(facts)


def reread_since(facts: Facts) -> datetime | None:
    """Hashes from before this moment do not count any more; None while none is that old.

    A registry that reads no content has nothing to put in their place.
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
    """Whether files that are verified are to be read all the same."""
    record = facts.artifact
    return (
        isinstance(record, ArtifactRecord)
        and record.outcome == "Verified"
        and record.content_source in distrusted(facts)
    )
