"""Whether a person may decide on a version, as one answer: no objection, or a finding that says why not.

The queue, the advice for shut gates, the commands, the count of approvals and the gate ``Approved`` render these
findings. The policy ``gatehouse-approvals`` of admission reads no object but the decision; :func:`admission_finding`
is what it evaluates, and a test compares both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from gatehouse.api.governance_policy import ApprovalRequirement
from gatehouse.api.meta import GROUP
from gatehouse.api.model_approval import ApprovalDecision, ModelApprovalSpec
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.common.finding import Finding

__all__ = [
    "Review",
    "Reviewer",
    "admission_finding",
    "author",
    "decision_finding",
    "digest_of",
    "is_service_account",
    "own_submission",
    "refusal_text",
    "requirement_finding",
    "submitter_finding",
    "submitters",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """The person who asks. ``tiers`` are the risk tiers that they hold the verb ``approve`` on.

    ``may_write`` is whether they may create ModelApprovals in the namespace of the version.
    """

    name: str
    groups: Collection[str] = ()
    tiers: Collection[RiskTier] = ()
    may_write: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A version and the stage to decide on. ``tier`` is None when the model is missing or not readable.

    ``stages`` are the stages of the registry, ``requirements`` those of the policies for the stage, ``approvers`` the
    people whose current approval counts. Each is empty where it is unknown.
    """

    version: ModelVersion
    tier: RiskTier | None
    stage: str
    stages: Sequence[str] = ()
    requirements: Sequence[ApprovalRequirement] = ()
    approvers: Collection[str] = ()


def is_service_account(user: str) -> bool:
    """Whether a user name belongs to a service account or a node."""
    return user.startswith(("system:serviceaccount:", "system:node:"))


def author(spec: ModelVersionSpec) -> str | None:
    """The person who submitted the version; None without a submitter, or when the submitter is a service account."""
    by = spec.submitted_by
    return None if by is None or is_service_account(by) else by


def submitters(spec: ModelVersionSpec) -> frozenset[str]:
    """The submitter and the account that applied the version for them: neither may judge the version."""
    return frozenset(name for name in (spec.submitted_by, spec.submitted_via) if name is not None)


def digest_of(version: ModelVersion) -> str | None:
    """The digest that approvals and evaluations must name: the recorded digest where the files differ from it."""
    status = version.status
    return status.recorded_digest or (status.artifact.digest if status.artifact else None)


def refusal_text(finding: Finding) -> str:
    """A finding as one sentence for people."""
    parts = (finding.found, f"expected: {finding.expected}" if finding.expected else "", finding.remedy)
    return "; ".join(part for part in parts if part)


def decision_finding(reviewer: Reviewer, review: Review, decision: ApprovalDecision = "Approved") -> Finding | None:
    """Why a decision of the person would be rejected or would not count; None when no reason is known."""
    return next(_objections(reviewer, review, approves=decision == "Approved"), None)


def _objections(reviewer: Reviewer, review: Review, *, approves: bool) -> Iterator[Finding]:
    if review.stages and review.stage not in review.stages:
        yield Finding(
            reason="StageUnknown",
            found=f"stage is {review.stage}",
            expected=f"a stage of the registry: {', '.join(review.stages)}",
        )
    yield from _state_findings(review.version)
    unknown = submitter_finding(review.version)
    if approves and unknown is not None:
        yield unknown
    if reviewer.name in submitters(review.version.spec):
        yield own_submission(_subject(reviewer), tier=review.tier)
    yield from _digest_findings(review.version)
    yield from _right_findings(reviewer, review)
    if approves:
        yield from _count_findings(reviewer, review)


def _state_findings(version: ModelVersion) -> Iterator[Finding]:
    state = version.spec.state
    if state != "Submitted":
        yield Finding(
            reason="NotSubmitted",
            found=f"the version is {state}",
            expected="a Submitted version",
            remedy=f"the author must run: gatehouse {'submit' if state == 'Draft' else 'restore'} {_where(version)}",
        )


def submitter_finding(version: ModelVersion) -> Finding | None:
    """Why no approval of the version counts; None when a person submitted the version."""
    if author(version.spec) is not None:
        return None
    account = version.spec.submitted_by
    if account is None:
        problem = "spec.submittedBy is empty, so self-approval cannot be ruled out"
        remedy = f"the author must run: gatehouse submit {_where(version)}"
    else:
        # Several people may use a service account, and any of them may be an approver.
        problem = f"spec.submittedBy is the service account {account}, so self-approval cannot be ruled out"
        remedy = (
            "create a new ModelVersion whose spec.submittedBy is the author; name the service account that applies it "
            "in spec.submittedVia, and grant the account the verb submitfor on modelversions"
        )
    return Finding(
        reason="SubmitterUnknown", found=problem, expected="a version that a person submitted", remedy=remedy
    )


def own_submission(who: str, *, tier: RiskTier | None) -> Finding:
    """The finding about a decision of the submitter: another person must decide."""
    return Finding(
        reason="OwnSubmission",
        found=f"{who} submitted the version",
        expected=f"a decision by another person who may approve {tier or 'its'} risk",
    )


def _digest_findings(version: ModelVersion) -> Iterator[Finding]:
    if digest_of(version) is None:
        yield Finding(
            reason="NotVerified",
            found=f"the version has no digest yet ({version.status.phase or 'not reconciled yet'})",
            expected="a verified artifact",
            remedy="try again after verification",
        )
    if version.status.recorded_digest is not None:
        yield Finding(
            reason="ArtifactChanged",
            found=f"the version is {version.status.phase}: its files differ from the recorded digest",
            expected=f"files with the digest {version.status.recorded_digest}",
            remedy=f"see: gatehouse explain {_where(version)}",
        )


def _right_findings(reviewer: Reviewer, review: Review) -> Iterator[Finding]:
    metadata = review.version.metadata
    if review.tier is None:
        model = review.version.spec.model_ref.name
        yield Finding(
            reason="ModelUnknown",
            found=f"{_subject(reviewer)} cannot read RegisteredModel {metadata.namespace}/{model}",
            expected="a model that names the risk tier",
            remedy="create the model, or ask for the right to read models",
        )
    elif review.tier not in reviewer.tiers:
        yield _no_verb(reviewer, review.tier)
    if not reviewer.may_write:
        yield Finding(
            reason="CreateForbidden",
            found=f"{_subject(reviewer)} cannot create modelapprovals.{GROUP} in namespace {metadata.namespace}",
            expected="the verb create on that resource",
            remedy="ask the people who bind roles in that namespace",
        )


def _count_findings(reviewer: Reviewer, review: Review) -> Iterator[Finding]:
    if reviewer.name in review.approvers:
        yield Finding(
            reason="AlreadyApproved",
            found=f"{_subject(reviewer)} already approved the version for {review.stage}",
            expected="approvals of more people",
        )
    uncounted = [requirement_finding(reviewer.name, reviewer.groups, rule) for rule in review.requirements]
    if uncounted and uncounted[0] is not None and None not in uncounted:
        yield uncounted[0]


def requirement_finding(approver: str, groups: Collection[str], requirement: ApprovalRequirement) -> Finding | None:
    """Why an approval by that person does not count for the requirement; None when it does."""
    if approver in requirement.service_accounts:
        return None
    if is_service_account(approver):
        return Finding(
            reason="AccountNotNamed",
            found=f"the policy does not name the service account {approver}",
            expected="a person, or a service account that the policy names",
        )
    if requirement.groups and not set(groups) & set(requirement.groups):
        return Finding(
            reason="GroupMissing",
            found=f"the groups of {approver} are none of: {', '.join(requirement.groups)}",
            expected=f"an approver in {' or '.join(requirement.groups)}",
        )
    return None


def admission_finding(decision: ModelApprovalSpec, caller: Reviewer) -> Finding | None:
    """Why admission rejects a decision that the caller writes; None when admission lets it in.

    Admission reads no other object. ``caller.groups`` are all groups, as the API server knows them.
    """
    if decision.approver != caller.name:
        return Finding(
            reason="AnotherName",
            found=f"spec.approver is {decision.approver}, and you are {caller.name}",
            expected="a decision in your own name",
            remedy="use gatehouse approve, reject or request-changes",
        )
    foreign = [group for group in decision.groups if group not in caller.groups]
    if foreign:
        return Finding(
            reason="AnotherGroup",
            found=f"spec.groups names {', '.join(foreign)}, and {_subject(caller)} are in none of them",
            expected="groups that you are in",
            remedy="use gatehouse approve, reject or request-changes",
        )
    return None if decision.risk_tier in caller.tiers else _no_verb(caller, decision.risk_tier)


def _no_verb(reviewer: Reviewer, tier: RiskTier) -> Finding:
    return Finding(
        reason="VerbMissing",
        found=f"{_subject(reviewer)} cannot decide on {tier} risk",
        expected=f"the verb approve on risktiers.{GROUP}/{tier}",
        remedy="ask for the ClusterRole gatehouse-approver, bound by a ClusterRoleBinding",
    )


def _subject(reviewer: Reviewer) -> str:
    return f"you ({reviewer.name})"


def _where(version: ModelVersion) -> str:
    return f"{version.metadata.name} -n {version.metadata.namespace}"
