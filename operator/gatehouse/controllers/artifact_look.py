"""Looking at a version's artifact: when it is due, what is asked, and what the answer means beside the recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec
from gatehouse.controllers.connections import Connections
from gatehouse.controllers.ports import RegistryRows
from gatehouse.controllers.verification import CheckRequest
from gatehouse.controllers.verification_pool import CheckInterrupted, VerificationPool
from gatehouse.domain.access import duration, locate, store_for
from gatehouse.domain.artifact import ArtifactRecord, CheckProgress, Problem
from gatehouse.domain.content import asks_store, distrusted, owes_reading, reread_since
from gatehouse.domain.errors import ReconcileError, Transient
from gatehouse.domain.facts import Facts
from gatehouse.domain.gates import recorded_digest
from gatehouse.domain.lifecycle import look_again
from gatehouse.domain.records import FileRecord

__all__ = ["ArtifactLook", "Looked"]

SHOWN_DIFFERENCES: Final = 10

VersionKey = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What is known of the artifact now.

    ``files`` are those of a check that just ended; ``rereading`` is how far files are read once more while ``artifact``
    stands. ``error`` is what ended a check of files that differ from those that were verified.
    """

    artifact: ArtifactRecord | CheckProgress | None
    files: Sequence[FileRecord] | None = None
    rereading: CheckProgress | Problem | None = None
    error: ReconcileError | None = None


class ArtifactLook:
    """Has artifacts checked in the pool; after ``patience`` seconds it says how far that is."""

    def __init__(self, *, connections: Connections, checks: VerificationPool[VersionKey], patience: float) -> None:
        self._connections = connections
        self._checks = checks
        self._patience = patience
        self._asked: dict[VersionKey, str | None] = {}

    async def at(self, facts: Facts, rows: RegistryRows) -> Looked | None:
        """Looks at the artifact; None when the row says that it was looked at lately and nobody asked.

        Raises what the object store raises, and ``Transient`` while it does not answer.
        """
        version, registry = facts.version, facts.registry
        if not isinstance(registry, ModelRegistry):
            raise TypeError("a version without a registry is not checked")
        if _was_asked(version):
            self._reread_once(version, registry)
        elif not self._due(facts):
            return None
        request = await self._request(facts, registry, rows)
        found = await self._checks.check(_key(version), request, patience=self._patience)
        if isinstance(found, CheckInterrupted):
            return _interrupted(facts, found.error)
        if isinstance(found, CheckProgress):
            if found.files == 0 and facts.artifact is not None and not found.differs:
                raise _silent(self._patience)
            if found.rereading and isinstance(facts.artifact, ArtifactRecord):
                return Looked(facts.artifact, rereading=found)
            return Looked(found)
        if found.files is not None and _is_other(found.record, recorded_digest(facts)):
            # The rows keep the files that were recorded: they are the evidence, and tell what changed.
            changed = _differences(request.known, found.files) if found.record.digest is not None else ()
            return Looked(replace(found.record, changed=changed))
        return Looked(found.record, found.files)

    async def forget(self, key: VersionKey) -> None:
        """Ends the check of a version that is gone, if one runs."""
        self._asked.pop(key, None)
        await self._checks.cancel(key)

    def _reread_once(self, version: ModelVersion, registry: ModelRegistry) -> None:
        """Whoever asks may just have mended a Secret. While an outage keeps the request open, that is said once.

        To read a Secret again is to open the database again, which looks at every object that has lost its row.
        """
        if self._asked.get(_key(version)) != version.requested_at:
            self._asked[_key(version)] = version.requested_at
            self._connections.reread(registry)

    def _due(self, facts: Facts) -> bool:
        due = look_again(facts)
        return due is None or due <= facts.now or owes_reading(facts) or self._checks.running(_key(facts.version))

    async def _request(self, facts: Facts, registry: ModelRegistry, rows: RegistryRows) -> CheckRequest:
        spec = facts.version.spec
        store, location = store_for(registry, spec.artifact.uri), locate(spec.artifact.uri)
        if store is None:
            raise TypeError("a version outside every store of its registry is not checked")
        known = {} if facts.row is None else await rows.load_files(model=spec.model_ref.name, version=spec.version)
        recorded = facts.row is not None and facts.row.digest is not None
        save = partial(_save_confirmed, rows, spec, known) if recorded else partial(_save_files, rows, spec)
        return CheckRequest(
            store=await self._connections.bucket(registry, store, location.bucket),
            prefix=location.prefix,
            artifact_format=spec.artifact.format,
            content=registry.spec.verification.content,
            trust_store_checksums=asks_store(facts),
            distrusted=distrusted(facts),
            reread=reread_since(facts),
            relist=duration(registry.spec.verification.interval),
            previous=facts.row.artifact if facts.row else None,
            known=known,
            save=save,
        )


def _key(version: ModelVersion) -> VersionKey:
    return version.metadata.namespace, version.metadata.name


def _was_asked(version: ModelVersion) -> bool:
    return version.requested_at is not None and version.requested_at != version.status.last_handled_reconcile_at


def _interrupted(facts: Facts, error: ReconcileError) -> Looked:
    """What is there is not what was verified. That it cannot be read is no outage behind which it may hide."""
    if not isinstance(facts.artifact, ArtifactRecord):
        raise error
    problem = Problem(rule=error.reason, found=error.message, wanted="the files read", remedy=error.remedy)
    return Looked(replace(facts.artifact, doubted=True), rereading=problem, error=error)


def _silent(seconds: float) -> Transient:
    """Nothing was found to differ from what the row says, so its word stands, as in any other outage."""
    return Transient(
        reason="StoreUnavailable",
        message=f"the object store has not answered within {seconds:g} s; it is still being asked",
        remedy="look at the store, and at the network between it and the operator",
    )


def _is_other(record: ArtifactRecord, recorded: str | None) -> bool:
    return recorded is not None and record.digest != recorded


def _differences(recorded: Mapping[str, FileRecord], found: Sequence[FileRecord]) -> tuple[str, ...]:
    """The first few paths that were added, removed, or have other bytes."""
    now = {file.path: file.sha256 for file in found}
    before = {path: file.sha256 for path, file in recorded.items()}
    differing = sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
    return tuple(differing[:SHOWN_DIFFERENCES])


async def _save_confirmed(
    rows: RegistryRows, spec: ModelVersionSpec, known: Mapping[str, FileRecord], files: Sequence[FileRecord]
) -> None:
    """Once a digest is recorded, the rows of its files only ever learn that they were read and are what they were."""
    confirmed = [file for file in files if file.path in known and _same_bytes(known[file.path], file)]
    if confirmed:
        await _save_files(rows, spec, confirmed)


def _same_bytes(recorded: FileRecord, found: FileRecord) -> bool:
    return (recorded.size, recorded.sha256) == (found.size, found.sha256)


async def _save_files(rows: RegistryRows, spec: ModelVersionSpec, files: Sequence[FileRecord]) -> None:
    await rows.save_files(model=spec.model_ref.name, version=spec.version, files=files)
