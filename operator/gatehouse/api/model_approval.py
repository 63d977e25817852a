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
    """The ModelVersion that was decided on, in the same namespace."""
    digest: Digest
    """Digest of the bytes that were decided on; the decision lapses with them."""
    served_digest: Digest
    """Digest of what is served, status.servedDigest of the version: an approval lapses when it changes."""
    stage: StageName
    """Stage that was decided on."""
    risk_tier: RiskTier
    """Risk tier that the version is held to at the time; an approval lapses when the tier is raised."""
    decision: ApprovalDecision
    """What was decided."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=NOT_BLANK)]
    """Why."""
    approver: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Who decided; admission binds it to the caller."""
    groups: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Groups of the approver that count; admission lets through only groups that the caller is in."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self == oldSelf", "a decision never changes: make a new ModelApproval, or delete this one to revoke it"
        ),
    )


class ModelApprovalStatus(ConditionedStatus):
    """A decision says what a person decided; whether it counts is said by the version's gates."""


class ModelApproval(Resource):
    """One person's decision on one digest for one stage. It never changes; deleting it revokes it."""

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
