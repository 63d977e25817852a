"""What a draft of a policy would change, judged as the operator judges it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import worlds
from gatehouse.actions.policy_dry_run import Judge, Trial, compiled_drafts
from gatehouse.actions.snapshot import Estate, estate_of_file, policies_of_file
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.serving.names import served_digest
from gatehouse.errors import Refused

GATES = [
    {"name": name, "stage": "", "open": True, "rule": "r", "found": "f", "wanted": "w"}
    for name in ("Registered", "ArtifactVerified", "HardwareFits")
]


def policy(name: str = "draft", **spec: Any) -> GovernancePolicy:
    return GovernancePolicy.model_validate({"metadata": {"name": name}, "spec": spec})


def version(name: str = "granite-1", *, verified: bool = True, **spec: Any) -> ModelVersion:
    status = {
        "registry": "gatehouse-system/local",
        "artifact": {"digest": worlds.DIGEST, "parameters": 7, "dtypes": {"BF16": 7}},
        "riskTier": "Low",
        "hardware": {"verdict": "Fits"},
        "gates": GATES if verified else [],
    }
    return worlds.version(metadata={"name": name, "uid": name}, status=status, **spec)


def approval(by: str, name: str = "granite-1") -> ModelApproval:
    spec = {
        "versionRef": {"name": name, "uid": name},
        "digest": worlds.DIGEST,
        "servedDigest": served_digest(worlds.version().spec, worlds.DIGEST),
        "stage": "staging",
        "riskTier": "Low",
        "decision": "Approved",
        "reason": "good",
        "approver": by,
    }
    return ModelApproval.model_validate({"metadata": {"name": f"a-{by}"}, "spec": spec})


def estate(*versions: ModelVersion, **more: Any) -> Estate:
    values: dict[str, Any] = {"models": [worlds.model(license="MIT")], "registries": [worlds.registry()]}
    return Estate(versions=versions or (version(),), **(values | more))


def trial(draft: GovernancePolicy, found: Estate, *, enforce: bool = False) -> Trial:
    drafts = compiled_drafts([draft], enforce=enforce)
    return Judge(found, drafts, now=worlds.NOW).trial(found.versions)


def changes(found: Trial) -> list[tuple[str, str, str, str]]:
    return [(each.name, each.stage, each.before, each.after) for each in found.changes]


def test_a_draft_that_everything_complies_with_changes_nothing() -> None:
    found = trial(policy(licenses=["mit"]), estate())
    assert (found.changes, found.judged, found.applies, found.not_verified) == ((), 1, 1, 0)


def test_a_draft_that_denies_takes_the_stages_and_says_why() -> None:
    found = trial(policy(licenses=["Apache-2.0"]), estate())
    assert changes(found) == [
        ("granite-1", "staging", "Cleared", "Denied"),
        ("granite-1", "production", "Cleared", "Denied"),
    ]
    assert found.changes[0].loses
    assert found.changes[0].why == "PolicyCompliant for staging: license MIT; expected: one of: Apache-2.0"


def test_a_rule_for_a_later_stage_takes_only_that() -> None:
    rule = {"name": "small", "expression": "artifact.parameters < 7", "message": "less", "stages": ["production"]}
    found = trial(policy(rules=[rule]), estate())
    assert changes(found) == [("granite-1", "production", "Cleared", "Denied")]


def test_a_draft_stands_for_the_policy_of_its_name() -> None:
    current = policy("licences", licenses=["Apache-2.0"])
    found = trial(policy("licences"), estate(policies=[current]))
    assert changes(found) == [
        ("granite-1", "staging", "Denied", "Cleared"),
        ("granite-1", "production", "Denied", "Cleared"),
    ]
    assert [change.why for change in found.changes] == ["", ""]
    beside = trial(policy("other"), estate(policies=[current]))
    assert beside.changes == ()


def test_approvals_that_are_there_are_counted() -> None:
    wants = policy(approvals=[{"stage": "staging", "count": 2}])
    one = estate(version(submittedBy="ada"), approvals=[approval("bob"), approval("ada")])
    assert changes(trial(wants, one))[0] == ("granite-1", "staging", "Cleared", "Owed")
    assert "1 of 2 approvals (bob)" in trial(wants, one).changes[0].why
    two = estate(version(submittedBy="ada"), approvals=[approval("bob"), approval("eve")])
    assert trial(wants, two).changes == ()


def test_a_draft_in_audit_changes_something_only_when_it_is_taken_for_enforced() -> None:
    draft = policy(mode="Audit", licenses=["Apache-2.0"])
    assert trial(draft, estate()).changes == ()
    assert len(trial(draft, estate(), enforce=True).changes) == 2


def test_what_is_not_verified_or_not_matched_is_counted() -> None:
    found = trial(
        policy(match={"riskTiers": ["High"]}, licenses=["none"]),
        estate(version(), version("later", verified=False), version("draft", state="Draft")),
    )
    assert (found.changes, found.judged, found.applies, found.not_verified) == ((), 1, 0, 2)


def test_a_draft_that_does_not_compile_is_refused_with_line_and_column() -> None:
    draft = policy(rules=[{"name": "typo", "expression": "artifact.parameters <", "message": "m"}])
    with pytest.raises(Refused, match=r"draft: rule typo does not compile: line 1, column \d+"):
        compiled_drafts([draft], enforce=False)


# Files


def test_versions_are_read_from_what_kubectl_prints(tmp_path: Path) -> None:
    def item(kind: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, **body}

    items = [
        item("ModelVersion", version().wire()),
        item("RegisteredModel", worlds.model(license="MIT").wire()),
        item("ModelRegistry", worlds.registry().wire()),
        item("Pod", {"metadata": {"name": "p"}}),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team", "labels": {"a": "b"}}},
    ]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    found = estate_of_file(path)
    assert (len(found.versions), len(found.models), found.namespaces) == (1, 1, {"team": {"a": "b"}})
    selector = {"namespaceSelector": {"matchLabels": {"a": "c"}}}
    assert trial(policy(match=selector, licenses=["none"]), found).applies == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "holds nothing; expected: GovernancePolicies"),
        ("kind: Pod\nmetadata: {name: p}\n", "holds a 'Pod'"),
        ("[1]", "expected: Kubernetes objects"),
        ("a: b: c", "YamlInvalid"),
        ("kind: GovernancePolicy\nmetadata: {name: p}\nspec: {mode: Never}\n", "GovernancePolicy 'p': spec.mode"),
    ],
)
def test_a_file_that_holds_no_policy_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(Refused) as refused:
        policies_of_file(path)
    assert expected in str(refused.value)


def test_a_file_without_versions_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text('{"kind": "List", "items": []}')
    with pytest.raises(Refused, match="kubectl get mv,rm"):
        estate_of_file(path)
    with pytest.raises(Refused, match="cannot be read"):
        estate_of_file(tmp_path / "none.json")
