from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.governance_policy import ApprovalRequirement
from gatehouse.api.model_approval import ModelApproval
from gatehouse.domain.policy import ballots, count_approvals
from policies import approval

ROBOT = "system:serviceaccount:ci:robot"


def counted(cast: list[ModelApproval], *, tier: Any = "Low", digest: str = worlds.DIGEST, **requirement: Any) -> Any:
    version = worlds.version(submittedBy="carol", submittedVia="argocd")
    wanted = ApprovalRequirement.model_validate({"stage": "staging", **requirement})
    found = ballots(cast, version=version, digest=digest, tier=tier, stage=wanted.stage)
    return count_approvals(wanted, found)


@pytest.mark.parametrize(
    ("cast", "why"),
    [
        (approval("carol"), "submitter"),
        (approval("argocd"), "submitter"),
        (approval(digest=worlds.OTHER_DIGEST), "other bytes"),
        (approval(versionRef={"name": "granite-1", "uid": "an-earlier-life"}), "another version"),
        (approval(versionRef={"name": "granite-2", "uid": "v-1"}), "other bytes"),
        (approval(ROBOT), "service account"),
    ],
    ids=["own", "submitted for another", "old digest", "deleted and made again", "copied", "machine"],
)
def test_what_does_not_count_and_why(cast: ModelApproval, why: str) -> None:
    found = counted([cast])

    assert not found.met
    assert why in found.passed_over[0]


def test_another_stage_is_another_decision() -> None:
    assert not counted([approval(stage="production")]).met


@pytest.mark.parametrize(
    ("written", "tier", "met"), [("Low", "High", False), ("High", "Low", True), ("High", "High", True)]
)
def test_a_raised_tier_voids_and_a_lowered_one_does_not(written: str, tier: str, met: bool) -> None:
    assert counted([approval(riskTier=written)], tier=tier).met is met


def test_a_person_counts_once_and_the_last_word_counts() -> None:
    assert not counted([approval("bob", minutes=9), approval("bob", minutes=8)], count=2).met
    assert not counted([approval("bob", minutes=9), approval("bob", "Rejected", minutes=8)]).met
    assert counted([approval("bob", "Rejected", minutes=9), approval("bob", minutes=8)]).met


def test_in_one_second_the_stricter_decision_is_the_last_word() -> None:
    for names in (("a", "b"), ("b", "a")):
        cast = [approval("bob", name=names[0]), approval("bob", "Rejected", name=names[1])]
        assert not counted(cast).met


def test_groups_and_named_machines() -> None:
    assert not counted([approval()], groups=["board"]).met
    assert counted([approval(groups=["staff", "board"])], groups=["board"]).met
    assert counted([approval(ROBOT)], groups=["board"], serviceAccounts=[ROBOT]).met


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["bob", "eve", "carol", ROBOT]),
            st.sampled_from(["Approved", "Rejected", "ChangesRequested"]),
            st.sampled_from([worlds.DIGEST, worlds.OTHER_DIGEST]),
            st.integers(0, 3),
        ),
        max_size=8,
    )
)
def test_nobody_counts_twice_nor_for_himself(cast: list[tuple[str, str, str, int]]) -> None:
    made = [
        approval(who, said, name=f"d{number}", minutes=minutes, digest=digest)
        for number, (who, said, digest, minutes) in enumerate(cast)
    ]
    found = counted(made)

    assert len(set(found.approvers)) == len(found.approvers)
    assert set(found.approvers) <= {"bob", "eve"}
    # The order in which the API server lists them says nothing.
    assert set(counted(list(reversed(made))).approvers) == set(found.approvers)
