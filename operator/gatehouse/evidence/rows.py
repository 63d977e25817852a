"""Reads the registry's rows about a version, in one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Any

import orjson

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.audit.records import AuditHead, RecordUnreadable, StoredRecord, read_record
from gatehouse.domain.version.records import VersionRecord
from gatehouse.evidence.errors import EvidenceError, NoEvidence
from gatehouse.evidence.excerpt import MOST_RECORDS, lies_in, ranges
from gatehouse.evidence.model import AuditExcerpt, EvidenceRows
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.readers import AuditReader
from gatehouse.registry.versions import LoadFiles, LoadHistory, LoadVersion

__all__ = ["read_rows", "recall"]

_HISTORY = 10_000
_POLICY_RECORDS = 50
"""The number of newest records of each policy."""


def recall(trails: AuditReader, namespace: str, name: str) -> ModelVersion:
    """A version whose object was deleted, from its row.

    Raises:
        NoEvidence: such an object held no row.
        EvidenceError: such an object held rows of several registries, or the row is unreadable.
    """
    held = trails.held_by(namespace, name)
    if not held:
        raise NoEvidence(f"ModelVersion {namespace}/{name} does not exist, and the database has no row of it")
    if len(held) > 1:
        raise EvidenceError(
            f"ModelVersion {namespace}/{name} does not exist, and several registries have rows of it: "
            + ", ".join(sorted(held))
        )
    ((registry, row),) = held.items()
    try:
        judged: dict[str, Any] = orjson.loads(row.governance or "{}")
        outcomes = [{"name": policy, "outcome": said} for policy, said in judged.get("policies", {}).items()]
        status = {"phase": row.phase, "registry": registry, "registryId": str(row.id), "policies": outcomes}
        metadata = {"name": name, "namespace": namespace, "uid": row.uid}
        return ModelVersion.model_validate({"metadata": metadata, "spec": orjson.loads(row.spec), "status": status})
    except (ValueError, TypeError, AttributeError) as error:
        raise EvidenceError(f"row {row.id} of {namespace}/{name} cannot be parsed: {str(error)[:200]}") from None


def read_rows(trails: AuditReader, version: ModelVersion) -> EvidenceRows:
    """The row of a version with its files, history and part of the audit trail.

    Raises:
        NoEvidence: no registry keeps the version, or no digest is recorded yet.
        EvidenceError: the database is not the version's, or the trail is too long.
        ReconcileError: a refusal by the database.
    """
    where = f"{version.metadata.namespace}/{version.metadata.name}"
    registry = version.status.registry
    if registry is None:
        raise NoEvidence(f"no registry keeps {where} yet; see: gatehouse explain {version.metadata.name}")
    key = VersionKey(registry, version.spec.model_ref.name, version.spec.version)
    row, files, history = trails.load([LoadVersion(key), LoadFiles(key), LoadHistory(key, _HISTORY)])
    if isinstance(row, Exception):
        raise row
    if row is None or row.is_recorded:
        raise EvidenceError(f"the database has no row of {key}; is it the database of that registry?")
    if row.digest is None:
        raise NoEvidence(f"{where} has no recorded digest yet: Gatehouse has never verified its bytes")
    if (row.namespace, row.object_name, row.uid) != (
        version.metadata.namespace,
        version.metadata.name,
        version.metadata.uid,
    ):
        raise EvidenceError(f"the row of {key} belongs to {row.namespace}/{row.object_name}, not to {where}")
    excerpt, notes = _excerpt(trails, registry, row)
    return EvidenceRows(
        row=row,
        files=sorted(files.values(), key=lambda file: file.path.encode()),
        history=history,
        excerpt=excerpt,
        notes=notes,
    )


def _excerpt(trails: AuditReader, registry: str, row: VersionRecord) -> tuple[AuditExcerpt, Sequence[str]]:
    head = trails.head(registry) or AuditHead(0, "")
    own = sorted(_about(trails, registry, row))
    about = sorted({*own, *_about_policies(trails, registry, row)})
    checkpoints = trails.checkpoints(registry)
    notes = [] if own else ["the audit trail has no record about the version"]
    ends = [checkpoint.seq for checkpoint in checkpoints]
    if _length(ranges(about, ends, head.seq)) > MOST_RECORDS:
        notes.append("records about policies are left out: too many records link them to checkpoints")
        about = own
    runs = ranges(about, ends, head.seq)
    linking = _length(runs)
    if linking > MOST_RECORDS:
        raise EvidenceError(
            f"{linking} records of the audit trail link the version to checkpoints; expected: at most {MOST_RECORDS}; "
            "does the operator sign checkpoints (--audit-key)?"
        )
    records = [stored for first, last in runs for stored in _run(trails, registry, first, last)]
    excerpt = AuditExcerpt(
        registry=registry,
        about=about,
        records=records,
        checkpoints=[checkpoint for checkpoint in checkpoints if lies_in(checkpoint.seq, runs)],
        head=head.seq,
    )
    return excerpt, notes


def _about(trails: AuditReader, registry: str, row: VersionRecord) -> Iterator[int]:
    """Positions of the records about the version. ``gatehouse audit verify`` reports unreadable records."""
    for stored in trails.newest_first(registry, {"model": row.model, "version": row.version}):
        try:
            fact = read_record(stored).fact
        except RecordUnreadable:
            continue
        if (fact.model, fact.version) == (row.model, row.version):
            yield stored.seq


def _about_policies(trails: AuditReader, registry: str, row: VersionRecord) -> Iterator[int]:
    """Positions of the newest records about the texts of the policies that last evaluated the version."""
    try:
        names = list(orjson.loads(row.governance or "{}").get("policies", {}))
    except (ValueError, TypeError, AttributeError):
        return
    for name in names:
        having = {"kind": GovernancePolicy.info.kind, "name": name}
        yield from islice(_of_policy(trails.newest_first(registry, having), name), _POLICY_RECORDS)


def _of_policy(records: Iterable[StoredRecord], name: str) -> Iterator[int]:
    """Positions of the records about a policy's text. Records with a version are about that version's outcome."""
    for stored in records:
        try:
            fact = read_record(stored).fact
        except RecordUnreadable:
            continue
        if (fact.kind, fact.name, fact.version) == (GovernancePolicy.info.kind, name, None):
            yield stored.seq


def _length(runs: Sequence[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in runs)


def _run(trails: AuditReader, registry: str, first: int, last: int) -> Iterator[StoredRecord]:
    return takewhile(lambda stored: stored.seq <= last, trails.records(registry, after=first - 1))
