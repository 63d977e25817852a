from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.governance_policy import ApprovalRequirement
from gatehouse.api.model_approval import ModelApproval
from gatehouse.domain.governance.approvals import ballots, count_approvals
from gatehouse.domain.serving.names import served_digest
from policies import approval

ROBOT = "system:serviceaccount:ci:robot"


def counted(cast: list[ModelApproval], *, tier: Any = "Low", digest: str = worlds.DIGEST, **requirement: Any) -> Any:
    version = worlds.version(submittedBy="carol", submittedVia="argocd")
    required = ApprovalRequirement.model_validate({"stage": "staging", **requirement})
    return count_approvals(required, ballots(cast, version=version, digest=digest, tier=tier, stage=required.stage))


@pytest.mark.parametrize(
    ("cast", "why"),
    [
        (approval("carol"), "carol submitted the version"),
        (approval("argocd"), "argocd submitted the version"),
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


SERVED: tuple[dict[str, Any], ...] = (
    {"serving": {"maxModelLen": 4096}},
    {"serving": {"extraArgs": ["--enforce-eager"]}},
    {"serving": {"env": [{"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}]}},
    {"hardwareProfileRef": {"name": "nvidia-h100"}},
)


@pytest.mark.parametrize("served", SERVED, ids=str)
def test_an_approval_is_of_what_is_served_and_a_rejection_of_the_bytes(served: dict[str, Any]) -> None:
    changed = worlds.version(submittedBy="carol", **served)
    cast = [approval("bob"), approval("eve", "Rejected")]
    found = ballots(cast, version=changed, digest=worlds.DIGEST, tier="High", stage="staging")
    objections = {ballot.approver: ballot.objection for ballot in found}

    assert objections["bob"] is not None
    assert "other arguments" in objections["bob"].found
    # Neither other arguments nor a raised tier, which the submitter may write, takes a decision against it away.
    assert objections["eve"] is None


def test_what_is_not_served_leaves_the_approval() -> None:
    told: dict[str, Any] = {"description": "new", "metrics": {"a": 1.0}, "lineage": {"baseModel": "x"}}
    spelled = {"serving": {"extraArgs": [], "env": []}, "runtime": "vLLM"}
    other = worlds.version(submittedBy="carol", metadata={"labels": {"a": "b"}}, **told, **spelled)

    (found,) = ballots([approval()], version=other, digest=worlds.DIGEST, tier="Low", stage="staging")
    assert found.counts


def test_the_order_of_variables_is_none_and_that_of_arguments_is_one() -> None:
    def digest(**serving: Any) -> str | None:
        return served_digest(worlds.version(serving=serving).spec, worlds.DIGEST)

    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert digest(env=env) == digest(env=env[::-1])
    assert digest(extraArgs=["--a", "--b"]) != digest(extraArgs=["--b", "--a"])
    assert served_digest(worlds.version().spec, None) is None
    assert served_digest(worlds.version().spec, worlds.OTHER_DIGEST) != served_digest(
        worlds.version().spec, worlds.DIGEST
    )


def test_an_earlier_rejection_does_not_come_back_when_a_later_approval_lapses() -> None:
    cast = [approval("bob", "Rejected", minutes=9), approval("bob", minutes=8)]
    changed = worlds.version(submittedBy="carol", serving={"maxModelLen": 4096})

    assert not any(
        each.counts for each in ballots(cast, version=changed, digest=worlds.DIGEST, tier="Low", stage="staging")
    )


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
