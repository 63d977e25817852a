"""Whether a person may decide on a version, and the words of the answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.governance_policy import ApprovalRequirement
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.governance.approvals import ballots, count_approvals
from gatehouse.domain.governance.eligibility import (
    Review,
    Reviewer,
    decision_finding,
    refusal_text,
    submitter_finding,
)
from policies import approval

BOB = Reviewer(name="bob", groups=("risk",), tiers=("Low", "High"))
ROBOT = "system:serviceaccount:ci:robot"
VERIFIED = {"artifact": {"digest": worlds.DIGEST}}


def version(*, status: dict[str, Any] | None = None, **spec: Any) -> ModelVersion:
    submitters = {"submittedBy": "ada", "submittedVia": "argocd"}
    return worlds.version(status=VERIFIED if status is None else status, **{**submitters, **spec})


def required(**spec: Any) -> ApprovalRequirement:
    return ApprovalRequirement.model_validate({"stage": "staging", **spec})


def review(about: ModelVersion | None = None, **changes: Any) -> Review:
    values: dict[str, Any] = {"tier": "High", "stage": "staging", "stages": ("staging", "production")}
    return Review(version=about or version(), **(values | changes))


def test_no_objection_to_a_decision_that_counts() -> None:
    assert decision_finding(BOB, review()) is None
    assert decision_finding(BOB, review(stages=(), stage="anything"), "Rejected") is None
    assert decision_finding(BOB, review(requirements=[required(groups=["legal"]), required(groups=["risk"])])) is None
    assert decision_finding(BOB, review(version(submittedBy=None, submittedVia=None)), "Rejected") is None
    assert decision_finding(BOB, review(approvers=["bob"]), "ChangesRequested") is None


@pytest.mark.parametrize(
    ("reviewer", "changes", "reason", "words"),
    [
        (
            BOB,
            {"stage": "moon"},
            "StageUnknown",
            "stage is moon; expected: a stage of the registry: staging, production",
        ),
        (BOB, {"about": version(state="Draft")}, "NotSubmitted", "the version is Draft; expected: a Submitted version"),
        (BOB, {"about": version(state="Archived")}, "NotSubmitted", "gatehouse restore granite-1 -n team"),
        (
            BOB,
            {"about": version(submittedBy=None, submittedVia=None)},
            "SubmitterUnknown",
            "spec.submittedBy is empty, so self-approval cannot be ruled out",
        ),
        (BOB, {"about": version(submittedBy=ROBOT)}, "SubmitterUnknown", f"is the service account {ROBOT}"),
        (
            Reviewer(name="ada", tiers=("High",)),
            {},
            "OwnSubmission",
            "you (ada) submitted the version; expected: a decision by another person who may approve High risk",
        ),
        (Reviewer(name="argocd"), {}, "OwnSubmission", "you (argocd) submitted the version"),
        (BOB, {"about": version(status={"phase": "Verifying"})}, "NotVerified", "has no digest yet (Verifying)"),
        (
            BOB,
            {"about": version(status={**VERIFIED, "phase": "Artifact Changed", "recordedDigest": worlds.OTHER_DIGEST})},
            "ArtifactChanged",
            "the version is Artifact Changed: its files differ from the recorded digest",
        ),
        (BOB, {"tier": None}, "ModelUnknown", "you (bob) cannot read RegisteredModel team/granite"),
        (
            BOB,
            {"tier": "Medium"},
            "VerbMissing",
            "you (bob) cannot decide on Medium risk; expected: the verb approve on risktiers.gatehouse.dev/Medium",
        ),
        (
            Reviewer(name="bob", tiers=("High",), may_write=False),
            {},
            "CreateForbidden",
            "you (bob) cannot create modelapprovals.gatehouse.dev in namespace team",
        ),
        (BOB, {"approvers": ["bob"]}, "AlreadyApproved", "you (bob) already approved the version for staging"),
        (
            BOB,
            {"requirements": [required(groups=["legal", "board"])]},
            "GroupMissing",
            "the groups of bob are none of: legal, board; expected: an approver in legal or board",
        ),
        (
            Reviewer(name=ROBOT, tiers=("High",)),
            {"requirements": [required()]},
            "AccountNotNamed",
            f"the policy does not name the service account {ROBOT}",
        ),
    ],
)
def test_every_objection_has_a_reason_and_says_what_to_do(
    reviewer: Reviewer, changes: dict[str, Any], reason: str, words: str
) -> None:
    objection = decision_finding(reviewer, review(**changes))
    assert objection is not None
    assert (objection.reason, words in refusal_text(objection)) == (reason, True), refusal_text(objection)


NAMES = st.sampled_from(["ada", "argocd", "bob", "eve", ROBOT])
GROUPS = st.lists(st.sampled_from(["risk", "legal"]), unique=True)


@given(
    name=NAMES,
    groups=GROUPS,
    by=st.sampled_from(["ada", ROBOT, None]),
    needed=GROUPS,
    accounts=st.sampled_from([[], [ROBOT]]),
)
def test_an_approval_counts_if_and_only_if_its_approver_was_eligible(
    name: str, groups: list[str], by: str | None, needed: list[str], accounts: list[str]
) -> None:
    """The answer before a decision and the count after it are one rule."""
    about = version(submittedBy=by, submittedVia="argocd" if by else None)
    requirement = required(groups=needed, serviceAccounts=accounts)
    reviewer = Reviewer(name=name, groups=groups, tiers=("Low",))
    objection = decision_finding(reviewer, review(about, tier="Low", requirements=[requirement]))
    cast = ballots([approval(name, groups=groups)], version=about, digest=worlds.DIGEST, tier="Low", stage="staging")
    counts = submitter_finding(about) is None and bool(count_approvals(requirement, cast).approvers)
    assert (objection is None) == counts
