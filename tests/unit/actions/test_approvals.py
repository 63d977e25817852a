"""The groups that a decision names, and the name of the decision."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.actions.approvals import counted_groups, decision_name
from gatehouse.actions.identity import Person
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.model_approval import ModelApprovalSpec

BOB = Person(name="bob", groups=("ml-leads", "nlp", "risk"))


def policy(stage: str, *groups: str) -> GovernancePolicy:
    spec = {"approvals": [{"stage": stage, "groups": list(groups)}]}
    return GovernancePolicy.model_validate({"metadata": {"name": "p"}, "spec": spec})


def test_only_groups_that_policies_ask_for_are_told() -> None:
    policies = [policy("staging", "risk", "others"), policy("production", "nlp")]
    assert counted_groups(BOB, policies, "staging") == ("risk",)
    assert counted_groups(BOB, policies, "qa") == ()
    assert counted_groups(BOB, [], "staging") == ()
    assert counted_groups(BOB, None, "staging") == ("ml-leads", "nlp", "risk")
    many = Person(name="bob", groups=tuple(f"g{number}" for number in range(100)))
    assert len(counted_groups(many, None, "staging")) == 64


def spec(**changes: Any) -> ModelApprovalSpec:
    values: dict[str, Any] = {
        "versionRef": {"name": "granite-1", "uid": "v-1"},
        "digest": worlds.DIGEST,
        "servedDigest": worlds.DIGEST,
        "stage": "staging",
        "riskTier": "Low",
        "decision": "Approved",
        "reason": "good",
        "approver": "bob",
    }
    return ModelApprovalSpec.model_validate(values | changes)


@given(
    name=st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True),
    stage=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True),
)
def test_a_name_is_always_one_of_kubernetes(name: str, stage: str) -> None:
    named = decision_name(spec(versionRef={"name": name, "uid": "v-1"}, stage=stage), earlier=[])
    assert len(named) <= 253
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", named)


def test_a_name_tells_apart_what_is_told_apart() -> None:
    differing = [
        spec(),
        spec(approver="eve"),
        spec(stage="production"),
        spec(digest=worlds.OTHER_DIGEST),
        spec(versionRef={"name": "granite-1", "uid": "v-2"}),
    ]
    names = {decision_name(each, earlier=[]) for each in differing}
    names |= {decision_name(spec(), earlier=["a"]), decision_name(spec(), earlier=["a", "b"])}
    assert len(names) == 7
    assert decision_name(spec(), earlier=["b", "a"]) in names
    assert decision_name(spec(reason="other words"), earlier=[]) in names
