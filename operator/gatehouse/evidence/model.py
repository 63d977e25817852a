"""The known facts of a version for its evidence: objects of the cluster, rows of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.records import StoredRecord
from gatehouse.domain.version.records import FileRecord, StateChange, VersionRecord

__all__ = ["AuditExcerpt", "DeclaredFacts", "KeptRows", "Subject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredFacts:
    """Objects of the cluster. A missing or unreadable object is None, and ``notes`` name it.

    ``bodies`` are the objects as the API server stores them, by file name. ``policies`` are the policies that apply;
    ``approvals`` and ``evaluations`` are all that name the version, whether they count or not.
    """

    version: ModelVersion
    model: RegisteredModel | None
    registry: ModelRegistry | None
    profile: HardwareProfile | None
    policies: Sequence[GovernancePolicy]
    evaluations: Sequence[ModelEvaluation]
    approvals: Sequence[ModelApproval]
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
class KeptRows:
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
    declared: DeclaredFacts
    kept: KeptRows

    @property
    def digest(self) -> str:
        """The recorded digest, which approvals and evaluations must name. Evidence requires a recorded digest."""
        return self.kept.row.digest or ""

    @property
    def stages(self) -> Sequence[str]:
        """The stages of the registry in order, or the stages that the version's gates name."""
        if self.declared.registry is not None:
            return self.declared.registry.spec.stages
        return list(dict.fromkeys(gate.stage for gate in self.declared.version.status.gates if gate.stage))
