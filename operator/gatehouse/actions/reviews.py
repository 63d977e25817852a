"""Reviews of versions: the requirements of the policies, the decisions so far, and whether the person may decide."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gatehouse.actions.identity import Action, Person, approving, deciding_in
from gatehouse.actions.snapshot import Snapshot
from gatehouse.api.governance_policy import ApprovalRequirement
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.governance.approvals import Ballot, ballots
from gatehouse.domain.governance.eligibility import Review, Reviewer, digest_of

__all__ = ["approval_requirements", "heard_ballots", "review_of", "review_rights", "reviewer_in"]


def review_rights(tiers: Collection[RiskTier], namespaces: Collection[str]) -> list[Action]:
    """The rights that decide whether a person may review versions of these tiers in these namespaces."""
    return [*map(approving, sorted(tiers)), *map(deciding_in, sorted(namespaces))]


def reviewer_in(namespace: str, person: Person, rights: Mapping[Action, bool]) -> Reviewer:
    """The person as a reviewer of the versions of a namespace. A right that was not asked for counts as missing."""
    tiers: Sequence[RiskTier] = ("Low", "Medium", "High")
    return Reviewer(
        name=person.name,
        groups=person.groups,
        tiers=tuple(tier for tier in tiers if rights.get(approving(tier), False)),
        may_write=rights.get(deciding_in(namespace), False),
    )


def review_of(snapshot: Snapshot, version: ModelVersion, stage: str) -> Review:
    """What is known of a version before a decision on a stage."""
    requirements = approval_requirements(snapshot, version, stage)
    cast = heard_ballots(snapshot, version, stage, requirements)
    return Review(
        version=version,
        tier=snapshot.tier_of(version),
        stage=stage,
        stages=snapshot.stages_of(version),
        requirements=requirements,
        approvers=[ballot.approver for ballot in cast if ballot.counts and ballot.approval.spec.decision == "Approved"],
    )


def approval_requirements(snapshot: Snapshot, version: ModelVersion, stage: str) -> Sequence[ApprovalRequirement]:
    """What the enforced policies that apply to a version require of its approvals for a stage."""
    return [
        requirement
        for policy in snapshot.applying_to(version, snapshot.compiled)
        if policy.enforced
        for requirement in policy.policy.spec.approvals
        if requirement.stage == stage
    ]


def heard_ballots(
    snapshot: Snapshot, version: ModelVersion, stage: str, requirements: Sequence[ApprovalRequirement]
) -> Sequence[Ballot]:
    """The decisions for a stage by people, and by those service accounts that a requirement names."""
    tier = snapshot.tier_of(version)
    if tier is None:
        return ()
    accounts = {account for requirement in requirements for account in requirement.service_accounts}
    cast = ballots(snapshot.approvals_of(version), version=version, digest=digest_of(version), tier=tier, stage=stage)
    return [ballot for ballot in cast if ballot.is_heard(accounts)]
