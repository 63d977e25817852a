"""Whatever the API server has, reading it is a value: the object, or why it counts as none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies
import worlds
from gatehouse.api import KINDS, GovernancePolicy, ModelApproval, ModelVersion, Resource
from gatehouse.domain.common.readable import Unreadable, read, read_conditions, read_status
from gatehouse.domain.governance.policy import stand_in
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.lifecycle import Decision, decide
from gatehouse.domain.version.status import version_status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": st.text(max_size=8)}, optional={"labels": JSON, "generation": JSON})},
    optional={"spec": JSON, "status": JSON},
)


@given(st.sampled_from(KINDS), BODIES)
def test_reading_never_raises(kind: type[Resource], body: dict[str, Any]) -> None:
    found = read(kind, body)

    assert isinstance(found, kind | Unreadable)
    assert isinstance(read_status(kind, body), type(kind.model_fields["status"].get_default(call_default_factory=True)))


CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "ArtifactVerified"]) | JSON,
            "status": st.sampled_from(["True", "False"]) | JSON,
            "reason": st.just("Emitted") | JSON,
            "lastTransitionTime": st.just("2026-01-01T00:00:00Z") | JSON,
        },
        optional={"message": st.text(max_size=8) | JSON, "observedGeneration": st.integers(0, 3) | JSON, "odd": JSON},
    ),
    max_size=18,
)


@given(CONDITIONS | JSON)
def test_conditions_are_read_in_one_way(conditions: Any) -> None:
    """Whoever reads a whole status and whoever reads its conditions alone agree on every one that there can be."""
    status = {"phase": "Verifying", "conditions": conditions}
    assert list(read_conditions(status)) == read_status(ModelVersion, {"status": status}).conditions


def test_a_status_of_an_older_version_is_read_without_the_members_that_do_not_read() -> None:
    body = worlds.version().model_dump(mode="json", by_alias=True)
    body["status"] = {"phase": "Blessed", "registryId": "7", "gates": [{"name": "Registered"}], "conditions": 3}

    version = read(ModelVersion, body)

    assert isinstance(version, ModelVersion)
    assert (version.status.phase, version.status.registry_id, version.status.gates) == (None, "7", [])


def test_what_does_not_read_is_named_with_its_field_and_without_its_value() -> None:
    body = policies.approval(name="by-bob").model_dump(mode="json", by_alias=True)
    body["spec"]["stage"] = "hunter2 \x1b[31m"

    found = read(ModelApproval, body)

    assert isinstance(found, Unreadable)
    assert found.message.startswith("ModelApproval team/by-bob cannot be read: spec.stage: ")
    assert "hunter2" not in found.message


def unreadable(**spec: Any) -> tuple[Unreadable, dict[str, Any]]:
    body = {"metadata": {"name": "strict"}, "spec": {"licenses": 5, **spec}}
    found = read(GovernancePolicy, body)
    assert isinstance(found, Unreadable)
    return found, body


def decided(**facts: Any) -> tuple[Facts, Decision]:
    known = worlds.facts(row=worlds.row(), **facts)
    return known, decide(known)


@pytest.mark.parametrize(
    ("spec", "denied"),
    [
        ({}, True),
        ({"match": {"riskTiers": ["High"]}}, False),
        ({"match": {"riskTiers": "Low"}}, True),
        ({"mode": "Audit"}, False),
        ({"mode": "audit"}, True),
        ({"approvals": [{"stage": "staging", "count": 1}], "serving_runtimes": ["vllm"]}, True),
    ],
    ids=["applies to all", "applies to others", "unknown selector", "only reports", "unknown mode", "whatever it says"],
)
def test_a_policy_that_does_not_read_denies_what_it_may_apply_to(spec: dict[str, Any], denied: bool) -> None:
    policy = stand_in(*unreadable(**spec))
    applies = not policy.policy.spec.match.risk_tiers or "Low" in policy.policy.spec.match.risk_tiers

    _, decision = decided(policies=(policy,) if applies else ())

    assert (decision.phase == "Policy Denied") is denied
    assert bool(decision.cleared_for) is not denied
    assert policy.policy.spec.serving_runtimes == []
    if denied:
        assert decision.first_shut is not None
        assert decision.first_shut.finding.reason == "PolicyUnreadable"
        assert "GovernancePolicy strict cannot be read: spec." in decision.first_shut.finding.found


def test_a_policy_whose_word_on_running_services_does_not_read_lets_nothing_go_on() -> None:
    assert stand_in(*unreadable(running={"newPods": "Perhaps"})).policy.spec.running.new_pods == "Deny"
    assert stand_in(*unreadable()).policy.spec.running.new_pods == "Allow"


def test_a_policy_that_cannot_be_judged_denies_and_leaves_the_others_alone() -> None:
    class Broken:
        def judge(self, _values: object) -> object:
            raise ZeroDivisionError

    rule = {"name": "tiny", "expression": "true", "message": "no"}
    broken = policies.policy("broken", rules=[rule])
    broken.expressions["tiny"] = Broken()  # type: ignore[index]

    _, decision = decided(policies=(broken, policies.policy("fine")))

    assert decision.outcomes == {"broken": "Denies", "fine": "Complies"}
    assert decision.first_shut is not None
    assert decision.first_shut.finding.reason == "PolicyFailed"


@pytest.mark.parametrize("may_refuse", [False, True])
def test_a_decision_that_does_not_read_does_not_count_and_is_named_and_no_refusal_is_overheard(
    may_refuse: bool,
) -> None:
    found = Unreadable(
        kind="ModelApproval", namespace="team", name="odd", problem="spec.reason: blank", may_refuse=may_refuse
    )

    known, decision = decided(unreadable=(found,))
    status = version_status(known, decision, registry_id=7, template=None, now=worlds.NOW)

    named = next(each for each in status.conditions if each.type == "UnreadableObjects")
    assert "ModelApproval team/odd" in named.message
    assert (decision.cleared_for == ()) is may_refuse
    if may_refuse:
        assert decision.first_shut is not None
        assert decision.first_shut.finding.reason == "DecisionUnreadable"


def test_more_policies_than_a_status_can_hold_are_all_judged() -> None:
    many = [policies.policy(f"p-{number:03}") for number in range(200)]
    last = policies.policy("p-999", licenses=["Apache-2.0"])

    known, decision = decided(policies=(*many, last))
    status = version_status(known, decision, registry_id=7, template=None, now=worlds.NOW)

    assert decision.cleared_for == ()
    assert len(status.policies) == 128
    assert [each.outcome for each in status.policies if each.name == "p-999"] == ["Denies"]


def test_more_stages_than_a_status_can_hold_keep_those_of_the_registry() -> None:
    known, decision = decided(deployed_to=(*(f"a-{number:02}" for number in range(20)), "production"))

    status = version_status(known, decision, registry_id=7, template=None, now=worlds.NOW)

    assert len(status.deployed_to) == 16
    assert status.deployed_to[0] == "production"


def test_a_count_beyond_what_a_status_can_hold_is_the_largest_that_can() -> None:
    summary = worlds.summary(parameters=10**30, dtypes={"BF16": 10**30})
    known, decision = decided(artifact=worlds.record(summary=summary))

    status = version_status(known, decision, registry_id=7, template=None, now=worlds.NOW)

    assert status.artifact is not None
    assert (status.artifact.parameters, status.artifact.dtypes) == (2**53 - 1, {"BF16": 2**53 - 1})
