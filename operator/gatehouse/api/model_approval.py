"""ModelApproval: one person's decision on one digest for one stage."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.meta import NOT_BLANK, CelRule, ConditionedStatus, KindInfo, PrinterColumn, Resource, Struct
from gatehouse.api.model_evaluation import VersionReference
from gatehouse.api.model_registry import StageName
from gatehouse.api.model_version import Digest
from gatehouse.api.registered_model import RiskTier

__all__ = ["ApprovalDecision", "ModelApproval", "ModelApprovalSpec", "ModelApprovalStatus"]

ApprovalDecision = Literal["Approved", "Rejected", "ChangesRequested"]


class ModelApprovalSpec(Struct):
    version_ref: VersionReference
    """The ModelVersion that the decision is about, in the same namespace."""
    digest: Digest
    """Digest of the artifact that the decision is about. A decision on another digest does not count."""
    served_digest: Digest
    """Served digest from status.servedDigest of the version. An approval lapses when the served digest changes."""
    stage: StageName
    """Stage that the decision is about."""
    risk_tier: RiskTier
    """Risk tier of the version at the time of the decision. An approval lapses when the tier is raised."""
    decision: ApprovalDecision
    """The decision."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=NOT_BLANK)]
    """Reason for the decision."""
    approver: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Person who decided. Admission verifies that the approver is the caller."""
    groups: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Groups of the approver that count. Admission verifies that the caller is a member."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self == oldSelf", "a decision never changes: make a new ModelApproval, or delete this one to revoke it"
        ),
    )


class ModelApprovalStatus(ConditionedStatus):
    """A decision has no status of its own: the gates of the version say whether the decision counts."""


class ModelApproval(Resource):
    """One person's decision on one digest for one stage. A decision never changes; deleting a decision revokes it."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ModelApproval",
        plural="modelapprovals",
        singular="modelapproval",
        short="ma",
        namespaced=True,
        columns=(
            PrinterColumn("Version", ".spec.versionRef.name"),
            PrinterColumn("Stage", ".spec.stage"),
            PrinterColumn("Decision", ".spec.decision"),
            PrinterColumn("Approver", ".spec.approver"),
            PrinterColumn("Reason", ".spec.reason"),
            PrinterColumn("Tier", ".spec.riskTier", wide=True),
            PrinterColumn("Digest", ".spec.digest", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: ModelApprovalSpec
    status: ModelApprovalStatus = Field(default_factory=ModelApprovalStatus)
