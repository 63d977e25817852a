from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import worlds
from gatehouse.api import GovernancePolicy
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.artifact.values import CheckProgress
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.governance.policy import CompiledPolicy, applying
from gatehouse.domain.version.facts import Withdrawal
from gatehouse.domain.version.lifecycle import Decision, decide
from gatehouse.domain.version.stages import next_expiry
from policies import approval, evaluation, policy

SHIPPED = Path(__file__).parents[4] / "manifests" / "policies"
NEEDS_ACC: dict[str, Any] = {
    "name": "task",
    "kind": "Task",
    "metric": "acc",
    "operator": ">=",
    "threshold": "0.7",
    "maxAge": "720h",
}


def decided(*policies: Any, **changes: Any) -> Decision:
    changes.setdefault("version", worlds.version(submittedBy="carol"))
    return decide(worlds.facts(policies=policies, policy_names=frozenset(each.name for each in policies), **changes))


@pytest.mark.parametrize(
    ("spec", "changes", "reason"),
    [
        ({"artifact": {"formats": ["gguf"]}}, {}, "FormatNotAllowed"),
        (
            {"artifact": {"remoteCode": "Deny"}},
            {"artifact": worlds.record(summary=worlds.summary(config=replace(worlds.config(), auto_map=True)))},
            "RemoteCode",
        ),
        (
            {"artifact": {"verification": "Content"}},
            {"registry": worlds.registry(verification={"content": False, "trustStoreChecksums": False})},
            "ContentNotRead",
        ),
        (
            {"hardware": {"unknownFit": "Deny"}},
            {"artifact": worlds.record(summary=worlds.summary(weights_bytes=None, config=None))},
            "FitUnknown",
        ),
        ({"licenses": ["Apache-2.0"]}, {}, "LicenseNotAllowed"),
        ({"licenses": ["Apache-2.0"]}, {"model": worlds.model(license="llama3")}, "LicenseNotAllowed"),
        ({"lineage": {"required": ["baseModel", "code.commit"]}}, {}, "LineageMissing"),
        ({"rules": [{"name": "no", "expression": "stage == 'x'", "message": "never"}]}, {}, "RuleNotMet"),
        ({"rules": [{"name": "no", "expression": "version.x == 1", "message": "never"}]}, {}, "RuleFailed"),
        ({"rules": [{"name": "no", "expression": "((", "message": "never"}]}, {}, "PolicyDoesNotCompile"),
        (
            {"evaluations": [NEEDS_ACC]},
            {"evaluations": (evaluation(metrics=[{"name": "acc", "value": "0.6999"}]),)},
            "EvaluationFailed",
        ),
    ],
)
def test_a_policy_denies_and_says_why(spec: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    enforced = decided(policy(**spec), **changes)

    assert (enforced.phase, enforced.reason, enforced.cleared_for) == ("Policy Denied", reason, ())
    assert enforced.outcomes == {"strict": "Denies"}

    audited = decided(policy(mode="Audit", **spec), **changes)
    assert (audited.phase, audited.outcomes) == ("Ready to Deploy", {"strict": "Denies"})
    assert any("in audit only: strict" in gate.finding.found for gate in audited.gates)


READ: dict[str, Any] = {"artifact": {"verification": "Content"}}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("source", ["StoreChecksum", "Mixed", None])
def test_content_that_was_not_read_is_owed_whatever_the_registry_trusts_now(source: Any, trusted: bool) -> None:
    facts: dict[str, Any] = {
        "registry": worlds.registry(verification={"trustStoreChecksums": trusted}),
        "artifact": worlds.record(content_source=source),
    }
    enforced = decided(policy(**READ), **facts)

    assert (enforced.phase, enforced.reason) == ("Pending Review", "ContentNotRead")
    assert "Gatehouse is reading the files" in enforced.message

    audited = decided(policy(mode="Audit", **READ), **facts)
    assert (audited.phase, audited.outcomes) == ("Ready to Deploy", {"strict": "Owes"})


@pytest.mark.parametrize("trusted", [True, False])
def test_content_that_was_read_is_read_whatever_the_registry_trusts_now(trusted: bool) -> None:
    registry = worlds.registry(verification={"trustStoreChecksums": trusted})
    found = decided(policy(**READ), registry=registry, artifact=worlds.record(content_source="Bytes"))

    assert found.phase == "Ready to Deploy"


def test_how_far_the_files_are_read_is_said_and_why_they_cannot_be() -> None:
    progress = CheckProgress(files_done=2, files=5, bytes_done=1, bytes=9, rereading=True)
    assert "2 of 5 files read so far" in decided(policy(**READ), rereading=progress).message

    outage = Finding(reason="StoreUnavailable", found="the store is down", expected="", remedy="look at the store")
    message = decided(policy(**READ), rereading=outage).message
    assert "Gatehouse cannot read the files: the store is down" in message
    assert "look at the store" in message


def test_rules_see_where_the_hashes_are_from() -> None:
    rule = {"name": "read", "expression": "artifact.contentSource == 'Bytes'", "message": "read"}

    assert decided(policy(rules=[rule]), artifact=worlds.record(content_source="Bytes")).phase == "Ready to Deploy"
    assert decided(policy(rules=[rule]), artifact=worlds.record(content_source="Mixed")).phase == "Policy Denied"
    assert decided(policy(rules=[rule])).phase == "Policy Denied"


def test_licences_are_compared_without_case() -> None:
    found = decided(policy(licenses=["Apache-2.0"]), model=worlds.model(license="apache-2.0"))

    assert found.phase == "Ready to Deploy"


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ((), "no task evaluation"),
        ((evaluation(digest=worlds.OTHER_DIGEST),), "is about other bytes"),
        ((evaluation(days=31),), "31 days old"),
        ((evaluation(days=-1),), "has a time in the future"),
        ((evaluation(kind="Safety"),), "no task evaluation"),
        ((evaluation(versionRef={"name": "granite-1", "uid": "gone"}),), "names a deleted version with the same name"),
    ],
)
def test_an_evaluation_that_does_not_count_is_owed_and_said_so(there: tuple[Any, ...], found: str) -> None:
    decision = decided(policy(evaluations=[NEEDS_ACC]), evaluations=there)

    assert (decision.phase, decision.reason) == ("Pending Review", "EvaluationOwed")
    assert found in decision.message
    assert "acc >= 0.7" in decision.message


@pytest.mark.parametrize("days", [1, 2, 3, 400])
def test_the_worst_evaluation_decides_however_old_it_is(days: float) -> None:
    worse = evaluation("worse", days=days, metrics=[{"name": "acc", "value": "0.5"}])
    bad = evaluation("bad", days=1.5, metrics=[{"name": "acc", "value": "0.6"}])
    better = evaluation("better", days=2, metrics=[{"name": "acc", "value": "0.9"}])

    found = decided(policy(evaluations=[NEEDS_ACC]), evaluations=(better, worse, bad))
    assert (found.phase, found.reason) == ("Policy Denied", "EvaluationFailed")
    assert "acc is 0.5 in worse" in found.message
    assert "gatehouse evaluate withdraw worse" in found.message


def test_a_version_is_looked_at_again_when_its_evaluation_gets_too_old() -> None:
    facts = worlds.facts(
        version=worlds.version(submittedBy="carol"),
        policies=(policy(evaluations=[NEEDS_ACC]),),
        evaluations=(evaluation(days=1),),
    )
    due = next_expiry(facts, worlds.DIGEST)
    assert due == worlds.NOW + timedelta(days=29)

    later = decide(replace(facts, now=due + timedelta(seconds=1)))
    assert later.phase == "Pending Review"
    assert decide(facts).check_due is not None


def test_stages_are_cleared_in_order() -> None:
    only_production = policy(approvals=[{"stage": "production", "count": 1}])
    assert decided(only_production).cleared_for == ("staging",)
    assert decided(only_production, approvals=(approval(stage="production"),)).cleared_for == ("staging", "production")

    only_staging = policy(approvals=[{"stage": "staging", "count": 1}])
    found = decided(only_staging, approvals=(approval(stage="production"),))
    assert (found.phase, found.cleared_for) == ("Pending Review", ())


def test_a_later_stage_that_is_shut_leaves_the_version_ready() -> None:
    found = decided(policy(approvals=[{"stage": "production", "count": 2}]))

    assert found.ready
    assert found.first_shut is None


def test_every_policy_that_applies_has_its_say() -> None:
    wants_two = policy("two", approvals=[{"stage": "staging", "count": 2}])
    wants_board = policy("board", approvals=[{"stage": "staging", "groups": ["board"]}])
    both = (approval("bob"), approval("eve"))

    assert decided(wants_two, wants_board, approvals=both).phase == "Pending Review"
    with_board = (approval("bob"), approval("eve", groups=["board"]))
    assert decided(wants_two, wants_board, approvals=with_board).phase == "Ready to Deploy"


@pytest.mark.parametrize(("decision", "phase"), [("Rejected", "Rejected"), ("ChangesRequested", "Changes Requested")])
def test_a_current_decision_against_it_shuts_the_stage_also_when_no_policy_asked(decision: str, phase: str) -> None:
    found = decided(approvals=(approval("eve", decision, minutes=1), approval("bob", minutes=2)))

    assert (found.phase, found.reason) == (phase, decision)
    assert "eve" in found.message
    assert "because" in found.message


def test_the_submitter_and_machines_reject_nothing() -> None:
    against = (approval("carol", "Rejected"), approval("system:serviceaccount:ci:robot", "Rejected"))

    assert decided(approvals=against).phase == "Ready to Deploy"


def test_without_a_submitter_nobody_can_approve() -> None:
    found = decided(policy(approvals=[{"stage": "staging"}]), version=worlds.version(), approvals=(approval("bob"),))

    assert (found.phase, found.reason) == ("Pending Review", "SubmitterUnknown")
    assert "gatehouse submit granite-1" in found.message


MACHINE = "system:serviceaccount:team:pipeline"


def test_a_service_account_that_submitted_is_nobody_s_author() -> None:
    wants = policy(approvals=[{"stage": "staging"}])
    machine = decided(wants, version=worlds.version(submittedBy=MACHINE), approvals=(approval("bob"),))

    assert (machine.phase, machine.reason) == ("Pending Review", "SubmitterUnknown")
    assert f"spec.submittedBy is the service account {MACHINE}" in machine.message
    assert "submittedVia" in machine.message
    named = worlds.version(submittedBy="carol", submittedVia=MACHINE)
    assert decided(wants, version=named, approvals=(approval("bob"),)).phase == "Ready to Deploy"
    # Whoever applied it for the author is no approver either.
    own = policy(approvals=[{"stage": "staging", "serviceAccounts": [MACHINE]}])
    assert decided(own, version=named, approvals=(approval(MACHINE),)).phase == "Pending Review"


GOOD = evaluation("good")
BY_LAB = {"users": ["lab"], "groups": ["evaluators"], "serviceAccounts": ["system:serviceaccount:ci:judge"]}


@pytest.mark.parametrize(
    ("who", "submitted", "named", "found"),
    [
        ({"evaluator": "dave"}, {"submittedBy": "carol"}, {}, None),
        ({"evaluator": "carol"}, {"submittedBy": "carol"}, {}, "was made by the submitter"),
        ({"evaluator": "argo"}, {"submittedBy": "carol", "submittedVia": "argo"}, {}, "was made by the submitter"),
        ({"evaluator": "dave"}, {}, {}, "may have been made by the submitter"),
        ({"evaluator": "dave"}, {"submittedBy": MACHINE}, {}, "may have been made by the submitter"),
        ({"evaluator": "dave"}, {"submittedBy": "carol"}, BY_LAB, "was made by dave, whom the policy does not name"),
        ({"evaluator": "lab"}, {"submittedBy": "carol"}, BY_LAB, None),
        ({"evaluator": "lab"}, {"submittedBy": MACHINE}, BY_LAB, None),
        ({"evaluator": "lab"}, {"submittedBy": "lab"}, BY_LAB, "was made by the submitter"),
        ({"evaluator": "dave", "groups": ["evaluators"]}, {"submittedBy": "carol"}, BY_LAB, None),
        (
            {"evaluator": "dave", "groups": ["evaluators"]},
            {"submittedBy": MACHINE},
            BY_LAB,
            "may have been made by the submitter",
        ),
        ({"evaluator": "dave", "groups": ["staff"]}, {"submittedBy": "carol"}, BY_LAB, "whom the policy does not name"),
        ({"evaluator": "system:serviceaccount:ci:judge"}, {"submittedBy": MACHINE}, BY_LAB, None),
    ],
)
def test_whose_good_result_counts(
    who: dict[str, Any], submitted: dict[str, Any], named: dict[str, Any], found: str | None
) -> None:
    wants = policy(evaluations=[NEEDS_ACC | {"evaluators": named}])
    decision = decided(wants, version=worlds.version(**submitted), evaluations=(evaluation(**who),))

    if found is None:
        assert decision.phase == "Ready to Deploy"
    else:
        assert (decision.phase, decision.reason) == ("Pending Review", "EvaluationOwed")
        assert found in decision.message


def test_a_policy_may_take_the_submitter_s_own_results() -> None:
    own = (evaluation(evaluator="carol"),)
    rule = {"name": "evaluated", "expression": "evaluations.exists(e, e.kind == 'Task')", "message": "evaluate it"}
    for wants in ({"evaluations": [NEEDS_ACC]}, {"rules": [rule]}):
        assert decided(policy(**wants), evaluations=own).phase != "Ready to Deploy"
        assert decided(policy(submitterEvaluations="Allow", **wants), evaluations=own).phase == "Ready to Deploy"


def test_a_bad_result_of_the_submitter_stands_against_it_and_so_does_one_from_before_it_was_made_again() -> None:
    bad = [{"name": "acc", "value": "0.1"}]
    before = {"versionRef": {"name": "granite-1", "uid": "an-earlier-life"}}
    wants = policy(evaluations=[NEEDS_ACC])
    for against in (evaluation("bad", evaluator="carol", metrics=bad), evaluation("bad", metrics=bad, **before)):
        assert decided(wants, evaluations=(GOOD, against)).reason == "EvaluationFailed"


def test_a_rejection_outlives_the_object_that_was_rejected() -> None:
    before = {"versionRef": {"name": "granite-1", "uid": "an-earlier-life"}}

    assert decided(approvals=(approval("eve", "Rejected", **before),)).phase == "Rejected"


BAD = evaluation("bad", metrics=[{"name": "acc", "value": "0.1"}])


@pytest.mark.parametrize(
    ("by", "phase"),
    [("bob", "Ready to Deploy"), ("carol", "Policy Denied"), ("argo", "Policy Denied"), (None, "Policy Denied")],
)
def test_a_bad_result_is_taken_back_by_anybody_but_the_submitter(by: str | None, phase: str) -> None:
    wants = (policy(evaluations=[NEEDS_ACC]),)
    version = worlds.version(submittedBy="carol", submittedVia="argo")
    first = decide(worlds.facts(version=version, policies=wants, evaluations=(GOOD, BAD)))
    assert first.record is not None
    row = replace(first.record, id=7, model_id=3)
    withdrawals = {} if by is None else {BAD.metadata.uid: Withdrawal(by=by, reason="wrong split")}
    facts = worlds.facts(version=version, policies=wants, evaluations=(GOOD,), row=row, withdrawals=withdrawals)
    second = decide(facts)

    assert second.phase == phase
    assert second.record is not None
    if phase == "Ready to Deploy":
        return
    assert "taken back by nobody" not in second.message
    assert "which was deleted" in second.message
    assert "another person than the submitter" in second.message
    # It stays so for the next process, and until somebody else takes back a result of that name.
    row = replace(second.record, id=7, model_id=3)
    assert decide(replace(facts, row=row, withdrawals={})).phase == "Policy Denied"
    again = BAD.model_copy(update={"metadata": BAD.metadata.model_copy(update={"uid": "again"})})
    there = decide(replace(facts, row=row, withdrawals={}, evaluations=(GOOD, again)))
    assert there.record is not None
    row = replace(there.record, id=7, model_id=3)
    taken = {"again": Withdrawal(by="bob", reason="it was wrong")}
    assert decide(replace(facts, row=row, withdrawals=taken)).phase == "Ready to Deploy"


def test_a_required_policy_that_was_deleted_denies() -> None:
    registry = worlds.registry(requiredPolicies=["strict"])

    gone = decided(registry=registry)
    assert (gone.phase, gone.reason) == ("Policy Denied", "PolicyMissing")
    assert decided(policy("strict"), registry=registry).phase == "Ready to Deploy"


UNGUARDED: dict[str, dict[str, Any]] = {
    "no policy": {},
    "one in audit only": {"mode": "Audit", "licenses": ["MIT"]},
    "one that asks for nothing": {},
    "one that asks for something elsewhere": {"approvals": [{"stage": "staging"}]},
    "an evaluation elsewhere": {"evaluations": [NEEDS_ACC | {"stages": ["staging"]}]},
    "a rule elsewhere": {"rules": [{"name": "r", "expression": "true", "message": "m", "stages": ["staging"]}]},
}


@pytest.mark.parametrize("name", UNGUARDED)
def test_a_protected_stage_to_which_no_policy_speaks_is_shut(name: str) -> None:
    policies = () if name == "no policy" else (policy(**UNGUARDED[name]),)
    met: dict[str, Any] = {"approvals": (approval(),), "evaluations": (evaluation(),)}
    found = decided(*policies, registry=worlds.registry(protectedStages=None), **met)

    assert found.cleared_for == ("staging",)
    (shut,) = [gate for gate in found.gates if not gate.open]
    assert (shut.name, shut.stage, shut.finding.reason) == ("PolicyCompliant", "production", "StageUnguarded")
    assert "protectedStages" in shut.rule
    assert "GovernancePolicy in mode Enforce" in shut.finding.expected
    assert "manifests/policies" in shut.finding.remedy
    assert set(found.outcomes) == {each.name for each in policies}


SPEAKING: tuple[dict[str, Any], ...] = (
    {"artifact": {"formats": ["safetensors"]}},
    {"artifact": {"remoteCode": "Deny"}},
    {"hardware": {"unknownFit": "Deny"}},
    {"lineage": {"required": []}},
    {"licenses": ["MIT"]},
    {"evaluations": [NEEDS_ACC]},
    {"evaluations": [NEEDS_ACC | {"stages": ["production"]}]},
    {"rules": [{"name": "r", "expression": "true", "message": "m"}]},
    {"approvals": [{"stage": "production"}]},
)


@pytest.mark.parametrize("spec", SPEAKING, ids=",".join)
def test_whatever_a_policy_asks_for_in_a_protected_stage_guards_it(spec: dict[str, Any]) -> None:
    found = decided(policy(**spec), registry=worlds.registry(protectedStages=["production"]))

    assert "StageUnguarded" not in {gate.finding.reason for gate in found.gates}


@pytest.mark.parametrize(
    ("stages", "named", "cleared"),
    [
        (["staging", "production"], None, ("staging",)),
        (["staging", "production"], [], ("staging", "production")),
        (["staging", "production"], ["staging", "production"], ()),
        (["dev", "live"], None, ("dev", "live")),
        (["dev", "live"], ["live"], ("dev",)),
        (["production"], None, ()),
    ],
)
def test_which_stages_are_protected(stages: list[str], named: list[str] | None, cleared: tuple[str, ...]) -> None:
    registry = worlds.registry(stages=stages, protectedStages=named)
    found = decided(registry=registry)

    assert found.cleared_for == cleared
    assert found.phase == ("Ready to Deploy" if cleared else "Policy Denied")


def test_nothing_is_judged_before_the_bytes_are_known() -> None:
    found = decided(policy(licenses=["MIT"]), artifact=None)

    assert found.phase == "Verifying"
    assert {gate.finding.reason for gate in found.gates if gate.stage} == {"NotJudged"}


def test_which_policies_apply() -> None:
    by_tier = policy("tier", match={"riskTiers": ["High"]})
    by_namespace = policy("namespace", match={"namespaceSelector": {"matchLabels": {"team": "a"}}})
    by_model = policy("model", match={"modelSelector": {"matchLabels": {"kind": "chat"}}})
    every = (by_tier, by_namespace, by_model)

    assert [each.name for each in applying(every, worlds.model(), {"team": "a"}, tier="Low")] == ["namespace"]
    assert [each.name for each in applying(every, worlds.model(riskTier="High"), {}, tier="High")] == ["tier"]
    # Labels that are not known take nobody out.
    assert [each.name for each in applying(every, worlds.model(), None, tier="Low")] == ["namespace"]


def test_the_shipped_policies_compile_and_grow_with_the_tier() -> None:
    shipped = [
        CompiledPolicy(GovernancePolicy.model_validate(yaml.safe_load(path.read_text())))
        for path in sorted(SHIPPED.glob("*-risk.yaml"))
    ]
    assert [each.name for each in shipped] == ["high-risk", "low-risk", "medium-risk"]
    assert not any(each.problems for each in shipped)

    phases = {}
    tiers: tuple[RiskTier, ...] = ("Low", "Medium", "High")
    for tier in tiers:
        model = worlds.model(riskTier=tier, license="apache-2.0")
        phases[tier] = decided(*applying(shipped, model, {}, tier=tier), model=model).cleared_for
    assert phases == {"Low": ("staging", "production"), "Medium": (), "High": ()}
    lineage = {"baseModel": "ibm/granite"}
    medium = worlds.model(riskTier="Medium", license="apache-2.0")
    version = worlds.version(submittedBy="carol", lineage=lineage)
    assert decided(*applying(shipped, medium, {}, tier="Medium"), model=medium, version=version).cleared_for == (
        "staging",
    )
