"""The author of a version, and whose decisions count, for which digest, and whether they suffice.

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
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.governance.held import TIER_RANK
from gatehouse.domain.serving.names import served_digest

__all__ = ["ApprovalCount", "Ballot", "author", "ballots", "count_approvals", "is_service_account", "submitters"]


def is_service_account(user: str) -> bool:
    """Whether a user name is that of a service account or a node."""
    return user.startswith(("system:serviceaccount:", "system:node:"))


def author(spec: ModelVersionSpec) -> str | None:
    """The person who submitted the version; None without a submitter, or when the submitter is a service account."""
    by = spec.submitted_by
    return None if by is None or is_service_account(by) else by


def submitters(spec: ModelVersionSpec) -> frozenset[str]:
    """The submitter and the account that applied the version for them: neither may judge the version."""
    return frozenset(each for each in (spec.submitted_by, spec.submitted_via) if each is not None)


STRICTNESS: Final[dict[ApprovalDecision, int]] = {"Approved": 0, "ChangesRequested": 1, "Rejected": 2}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ballot:
    """A decision, and why it does not count (None when it does)."""

    approval: ModelApproval
    lapsed: str | None

    @property
    def counts(self) -> bool:
        """Whether this is the approver's current decision and the approver may decide."""
        return self.lapsed is None

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
    wanted: int
    passed_over: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether enough people approved."""
        return len(self.approvers) >= self.wanted


def ballots(
    approvals: Iterable[ModelApproval], *, version: ModelVersion, digest: str | None, tier: RiskTier, stage: str
) -> tuple[Ballot, ...]:
    """Every decision on a version for a stage, oldest first, each with why it does not count."""
    cast = sorted((each for each in approvals if each.spec.stage == stage), key=_order)
    if not cast:
        return ()
    served = served_digest(version.spec, digest)
    newest = {each.spec.approver: each.metadata.name for each in cast if _is_about(each, version, digest)}
    return tuple(
        Ballot(each, _why_lapsed(each, version=version, digest=digest, served=served, tier=tier, newest=newest))
        for each in cast
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


def _why_lapsed(
    approval: ModelApproval,
    *,
    version: ModelVersion,
    digest: str | None,
    served: str | None,
    tier: RiskTier,
    newest: dict[str, str],
) -> str | None:
    """Why a decision does not count. Changes by the submitter, as of arguments or the tier, void only approvals."""
    spec = approval.spec
    approves = spec.decision == "Approved"
    if not _is_about(approval, version, digest):
        return "is about other bytes" if spec.version_ref.uid == version.metadata.uid else "is about another version"
    if approves and spec.served_digest != served:
        return "is about other arguments, variables or hardware: spec.serving, runtime or hardwareProfileRef changed"
    if approves and TIER_RANK[spec.risk_tier] < TIER_RANK[tier]:
        return f"was given for risk tier {spec.risk_tier}, the model is {tier}"
    if spec.approver in submitters(version.spec):
        return "is of the submitter"
    if newest[spec.approver] != approval.metadata.name:
        return "was followed by another decision of the same person"
    return None


def count_approvals(requirement: ApprovalRequirement, cast: Sequence[Ballot]) -> ApprovalCount:
    """The people whose approval meets the requirement."""
    approvers: list[str] = []
    passed_over: list[str] = []
    for ballot in cast:
        if ballot.approval.spec.decision != "Approved":
            continue
        reason = ballot.lapsed or _why_not_taken(requirement, ballot.approval)
        if reason is None:
            approvers.append(ballot.approver)
        else:
            passed_over.append(f"{ballot.approval.metadata.name} of {ballot.approver} {reason}")
    return ApprovalCount(tuple(approvers), requirement.count, tuple(passed_over))


def _why_not_taken(requirement: ApprovalRequirement, approval: ModelApproval) -> str | None:
    approver, groups = approval.spec.approver, approval.spec.groups
    if is_service_account(approver) and approver not in requirement.service_accounts:
        return "is of a service account that the policy does not name"
    if (
        requirement.groups
        and approver not in requirement.service_accounts
        and not set(groups) & set(requirement.groups)
    ):
        return f"is of nobody in {' or '.join(requirement.groups)}"
    return None
