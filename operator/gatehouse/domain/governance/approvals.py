"""Which decisions count, for which digest, and whether they suffice.

Admission has checked who decided, whether they may decide on the tier in the approval, and in which groups they are.
Admission reads no other object; this module checks what depends on other objects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gatehouse.api.governance_policy import ApprovalRequirement
from gatehouse.api.model_approval import ApprovalDecision, ModelApproval
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.governance.eligibility import (
    is_service_account,
    own_submission,
    requirement_finding,
    submitters,
)
from gatehouse.domain.governance.held import TIER_RANK
from gatehouse.domain.serving.names import served_digest

__all__ = ["STRICTNESS", "ApprovalCount", "Ballot", "ballots", "count_approvals"]

STRICTNESS: Final[dict[ApprovalDecision, int]] = {"Approved": 0, "ChangesRequested": 1, "Rejected": 2}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ballot:
    """A decision, and the objection to it: why it does not count. None when it counts."""

    approval: ModelApproval
    objection: Finding | None

    @property
    def counts(self) -> bool:
        """Whether this is the approver's current decision and the approver may decide."""
        return self.objection is None

    @property
    def approver(self) -> str:
        """The person who decided."""
        return self.approval.spec.approver

    def is_heard(self, accounts: Collection[str]) -> bool:
        """Whether a person decided, or one of the service accounts that policies name."""
        return not is_service_account(self.approver) or self.approver in accounts


@dataclass(frozen=True, slots=True)
class ApprovalCount:
    """How far a requirement is met. ``passed_over`` names other approvals and why they do not count here."""

    approvers: tuple[str, ...]
    required: int
    passed_over: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether enough people approved."""
        return len(self.approvers) >= self.required


def ballots(
    approvals: Iterable[ModelApproval], *, version: ModelVersion, digest: str | None, tier: RiskTier, stage: str
) -> tuple[Ballot, ...]:
    """Every decision on a version for a stage, oldest first, each with why it does not count."""
    cast = sorted((approval for approval in approvals if approval.spec.stage == stage), key=_order)
    if not cast:
        return ()
    served = served_digest(version.spec, digest)
    newest = {
        approval.spec.approver: approval.metadata.name for approval in cast if _is_about(approval, version, digest)
    }
    return tuple(
        Ballot(approval, _objection(approval, version=version, digest=digest, served=served, tier=tier, newest=newest))
        for approval in cast
    )


def _order(approval: ModelApproval) -> tuple[datetime, int, str]:
    """By time; of decisions in the same second, the strictest is last."""
    created = approval.metadata.creation_timestamp or _EPOCH
    return created, STRICTNESS[approval.spec.decision], approval.metadata.name


def _is_about(approval: ModelApproval, version: ModelVersion, digest: str | None) -> bool:
    """A refusal concerns the bytes under the version's name, even after the object was deleted and created again."""
    spec = approval.spec
    uid = version.metadata.uid if spec.decision == "Approved" else spec.version_ref.uid
    return (spec.version_ref.name, spec.version_ref.uid, spec.digest) == (version.metadata.name, uid, digest)


def _objection(
    approval: ModelApproval,
    *,
    version: ModelVersion,
    digest: str | None,
    served: str | None,
    tier: RiskTier,
    newest: dict[str, str],
) -> Finding | None:
    """Why a decision does not count. Changes by the submitter, as of arguments or the tier, void only approvals."""
    spec = approval.spec
    approves = spec.decision == "Approved"
    if not _is_about(approval, version, digest):
        same = spec.version_ref.uid == version.metadata.uid
        return Finding(
            reason="OtherBytes" if same else "OtherVersion",
            found=f"the decision is about {'other bytes' if same else 'another version'}",
            expected=f"a decision on {digest} of uid {version.metadata.uid}",
        )
    if approves and spec.served_digest != served:
        return Finding(
            reason="ServedDifferently",
            found="the approval is about other arguments, variables or hardware: spec.serving, runtime or "
            "hardwareProfileRef changed",
            expected="an approval of the current settings",
        )
    if approves and TIER_RANK[spec.risk_tier] < TIER_RANK[tier]:
        return Finding(
            reason="TierRaised",
            found=f"the approval was given for risk tier {spec.risk_tier}, and the model is {tier}",
            expected=f"an approval for risk tier {tier}",
        )
    if spec.approver in submitters(version.spec):
        return own_submission(spec.approver, tier=tier)
    if newest[spec.approver] != approval.metadata.name:
        return Finding(
            reason="LaterDecision",
            found=f"{spec.approver} made a later decision",
            expected="the latest decision of the approver",
        )
    return None


def count_approvals(requirement: ApprovalRequirement, cast: Sequence[Ballot]) -> ApprovalCount:
    """The people whose approval meets the requirement."""
    approvers: list[str] = []
    passed_over: list[str] = []
    for ballot in cast:
        spec = ballot.approval.spec
        if spec.decision != "Approved":
            continue
        objection = ballot.objection or requirement_finding(spec.approver, spec.groups, requirement)
        if objection is None:
            approvers.append(ballot.approver)
        else:
            passed_over.append(f"{ballot.approval.metadata.name} of {ballot.approver}: {objection.found}")
    return ApprovalCount(tuple(approvers), requirement.count, tuple(passed_over))
