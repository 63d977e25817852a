"""What changes in front of a version becomes a record of the audit, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.domain.audit.records import UNKNOWN_ACTOR
from gatehouse.domain.version.facts import Facts, Withdrawal
from gatehouse.domain.version.lifecycle import Decision, decide
from policies import approval, evaluation, policy

WANTS_ONE = policy(approvals=[{"stage": "staging"}])


def facts(**changes: Any) -> Facts:
    return worlds.facts(version=worlds.version(submittedBy="carol"), **changes)


def told(decision: Decision) -> list[tuple[str, str, str]]:
    return [(each.actor, each.kind, each.reason) for each in decision.facts]


def then(before: Facts, **changes: Any) -> Decision:
    """What is decided after the row was written."""
    record = decide(before).record
    assert record is not None
    return decide(replace(before, row=replace(record, id=7, model_id=3), **changes))


def test_a_first_judgement_and_then_silence() -> None:
    first = facts(policies=(WANTS_ONE,), approvals=(approval("bob"),))

    assert told(decide(first)) == [
        ("bob", "ModelApproval", "Approved"),
        ("gatehouse", "GovernancePolicy", "PolicyComplies"),
        ("gatehouse", "ModelVersion", "Cleared"),
        ("gatehouse", "ModelVersion", "Cleared"),
    ]
    assert told(then(first)) == []


def test_a_revoked_approval_is_recorded_with_what_it_said() -> None:
    found = then(facts(policies=(WANTS_ONE,), approvals=(approval("bob"),)), approvals=())

    assert told(found) == [
        (UNKNOWN_ACTOR, "ModelApproval", "Revoked"),
        ("gatehouse", "ModelVersion", "ClearanceWithdrawn"),
        ("gatehouse", "ModelVersion", "ClearanceWithdrawn"),
    ]
    assert found.facts[0].before["approver"] == "bob"
    assert found.facts[0].digest == worlds.DIGEST


def test_who_took_an_approval_back_and_why_is_recorded() -> None:
    given = approval("bob")
    before = facts(policies=(WANTS_ONE,), approvals=(given,))
    taken = {given.metadata.uid: Withdrawal(by="bob", reason="read the wrong report")}

    told = then(before, approvals=(), withdrawals=taken | {"another": Withdrawal(by="eve", reason="mine")}).facts[0]
    assert (told.actor, told.reason, told.message) == ("bob", "Revoked", "read the wrong report")
    assert told.before["reason"] == given.spec.reason


def test_who_took_an_evaluation_back_and_why_is_recorded() -> None:
    result = evaluation("e1")
    taken = {result.metadata.uid: Withdrawal(by="ai-admin", reason="wrong split")}

    told = then(facts(evaluations=(result,)), evaluations=(), withdrawals=taken).facts[0]
    assert (told.actor, told.kind, told.message) == ("ai-admin", "ModelEvaluation", "wrong split")


def test_an_approval_made_again_under_its_name_is_another_one() -> None:
    def made(uid: str) -> Any:
        each = approval("bob", name="a")
        return each.model_copy(update={"metadata": each.metadata.model_copy(update={"uid": uid})})

    assert told(then(facts(approvals=(made("1"),)), approvals=(made("2"),))) == [
        (UNKNOWN_ACTOR, "ModelApproval", "Revoked"),
        ("bob", "ModelApproval", "Approved"),
    ]


def test_approval_and_drift_at_the_same_instant_clear_nothing() -> None:
    before = facts(policies=(WANTS_ONE,))
    found = then(before, approvals=(approval("bob"),), artifact=worlds.record(digest=worlds.OTHER_DIGEST))

    assert (found.phase, found.cleared_for) == ("Artifact Changed", ())
    assert ("bob", "ModelApproval", "Approved") in told(found)
    assert not any(reason == "Cleared" for _, _, reason in told(found))


@given(
    st.lists(st.sampled_from(["bob", "eve", "dan"]), unique=True),
    st.lists(st.sampled_from(["bob", "eve", "dan"]), unique=True),
    st.integers(0, 2),
)
def test_what_is_told_is_the_difference(before: list[str], after: list[str], evaluations: int) -> None:
    start = facts(approvals=tuple(approval(who) for who in before))
    found = then(
        start,
        approvals=tuple(approval(who) for who in after),
        evaluations=tuple(evaluation(f"e{number}") for number in range(evaluations)),
    )

    reasons = [each.reason for each in found.facts]
    assert reasons.count("Revoked") == len(set(before) - set(after))
    assert reasons.count("Approved") == len(set(after) - set(before))
    assert reasons.count("Evaluated") == evaluations
