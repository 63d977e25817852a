"""The known facts of a version for its evidence: objects of the cluster, rows of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatehouse.actions.snapshot import Snapshot
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.records import StoredRecord
from gatehouse.domain.version.records import FileRecord, StateChange, VersionRecord

__all__ = ["AuditExcerpt", "ClusterObjects", "EvidenceRows", "Subject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterObjects:
    """Objects of the cluster, as far as the caller may read them; ``notes`` name the others.

    The policies of the ``snapshot`` are those that apply. ``bodies`` are the objects as the API server stores them, by
    file name.
    """

    version: ModelVersion
    snapshot: Snapshot
    profile: HardwareProfile | None
    template: str | None
    bodies: Mapping[str, Mapping[str, Any]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditExcerpt:
    """Records of the audit trail: those about the version or its policies, and those that link each to a checkpoint.

    ``about`` has the positions of the former; ``head`` is the trail's newest record at the time.
    """

    registry: str
    about: Sequence[int]
    records: Sequence[StoredRecord]
    checkpoints: Sequence[Checkpoint]
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRows:
    """Rows of the registry. ``files`` are the files of the recorded digest, sorted by path."""

    row: VersionRecord
    files: Sequence[FileRecord]
    history: Sequence[StateChange]
    excerpt: AuditExcerpt
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """All facts of the evidence, at one moment. ``tool`` is the program that makes the evidence."""

    at: datetime
    tool: str
    registry: str
    declared: ClusterObjects
    kept: EvidenceRows

    @property
    def digest(self) -> str:
        """The recorded digest, which approvals and evaluations must name. Evidence requires a recorded digest."""
        return self.kept.row.digest or ""

    @property
    def version(self) -> ModelVersion:
        """The version."""
        return self.declared.version

    @property
    def model(self) -> RegisteredModel | None:
        """The model of the version."""
        return self.declared.snapshot.model_of(self.version)

    @property
    def stages(self) -> Sequence[str]:
        """The stages of the registry in order, or the stages that the status of the version names."""
        return self.declared.snapshot.stages_of(self.version)
