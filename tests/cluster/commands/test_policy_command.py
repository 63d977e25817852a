"""`gatehouse policy test`: a draft is judged against what is in the cluster, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.desk import AUTHOR, Desk, make_desk, pending
from gatehouse_local.ephemeral import RunningControlPlane


@pytest.fixture
def desk(control_plane: RunningControlPlane) -> Iterator[Desk]:
    with make_desk(control_plane) as made:
        made.model(license="MIT")
        made.version("granite-1", status=pending(cleared=("staging", "production"), phase="Ready to Deploy"))
        made.version("verifying", status={"phase": "Verifying"})
        yield made


def draft(desk: Desk, folder: Path, **spec: object) -> str:
    """A draft that applies in the namespace of the test alone."""
    match = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": desk.namespace}}}
    body = {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "GovernancePolicy",
        "metadata": {"name": f"draft-{desk.namespace}"},
        "spec": {"match": match, **spec},
    }
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(body))
    return f"--file={path}"


def test_what_a_draft_would_take_away_is_shown(desk: Desk, tmp_path: Path) -> None:
    file = draft(desk, tmp_path, licenses=["Apache-2.0"])
    said = desk.run_anywhere("policy", "test", file, "-o", "json", user=AUTHOR)
    assert said.exit_code == 1, said.output
    found = json.loads(said.stdout)
    own = [each for each in found["changes"] if each["namespace"] == desk.namespace]
    assert [(each["name"], each["stage"], each["before"], each["after"]) for each in own] == [
        ("granite-1", "staging", "Cleared", "Denied"),
        ("granite-1", "production", "Cleared", "Denied"),
    ]
    assert own[0]["why"].startswith("PolicyCompliant for staging: license MIT; expected: one of: Apache-2.0")
    assert found["notVerified"] >= 1
    shown = desk.run_anywhere("policy", "test", file, user=AUTHOR)
    assert "2 stages lost, 0 gained" in shown.stdout
    policies = desk.admin.request("GET", "/apis/gatehouse.dev/v1alpha1/governancepolicies")["items"]
    assert f"draft-{desk.namespace}" not in {each["metadata"]["name"] for each in policies}


def test_a_draft_that_all_comply_with_is_fine(desk: Desk, tmp_path: Path) -> None:
    said = desk.run_anywhere("policy", "test", draft(desk, tmp_path, licenses=["MIT"]), user=AUTHOR)
    assert (said.exit_code, "the draft applies to 1; 0 stages lost" in said.stdout) == (0, True), said.output


def test_a_draft_that_does_not_compile_ends_with_where(desk: Desk, tmp_path: Path) -> None:
    rules = [{"name": "typo", "expression": "artifact.\n  parameters <", "message": "m"}]
    said = desk.run_anywhere("policy", "test", draft(desk, tmp_path, rules=rules), user=AUTHOR)
    assert said.exit_code == 2
    assert "rule typo does not compile: line 2, column" in said.stderr


def test_a_file_of_versions_needs_no_cluster(desk: Desk, tmp_path: Path) -> None:
    items = [desk.get("modelversions", "granite-1"), desk.get("registeredmodels", "granite")]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"kind": "List", "items": items}))
    file = draft(desk, tmp_path, approvals=[{"stage": "production"}])
    said = desk.run_anywhere("policy", "test", file, f"--versions={path}", "-o", "json", user="nobody")
    assert said.exit_code == 1, said.output
    (change,) = json.loads(said.stdout)["changes"]
    assert (change["stage"], change["before"], change["after"]) == ("production", "Cleared", "Owed")
