"""The commands of reviewers and authors on the real API server, as the people who type them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster.desk import AUTHOR, DIGEST, REVIEWER, Desk, make_desk, pending
from gatehouse.api import ModelVersion
from gatehouse.domain.serving.names import served_digest
from gatehouse_local.ephemeral import RunningControlPlane


@pytest.fixture
def desk(control_plane: RunningControlPlane) -> Iterator[Desk]:
    with make_desk(control_plane) as made:
        yield made


def names(said: str) -> list[str]:
    return [each["name"] for each in json.loads(said)]


# queue


def test_the_queue_shows_what_waits_for_whom_and_why_not_for_others(desk: Desk) -> None:
    desk.version("granite-1")
    desk.version("cleared", status=pending(cleared=("staging", "production"), phase="Ready to Deploy"))
    desk.version("later", status=pending(cleared=("staging",), phase="Ready to Deploy"))
    desk.version("verifying", status=pending(phase="Verifying"))
    said = desk.run("queue", "-o", "json")
    assert said.exit_code == 0, said.output
    found = {each["name"]: each for each in json.loads(said.stdout)}
    assert {name: each["stage"] for name, each in found.items()} == {"granite-1": "staging", "later": "production"}
    first = found["granite-1"]
    assert (first["riskTier"], first["submittedBy"], first["digest"]) == ("Low", AUTHOR, DIGEST)
    assert (first["mayApprove"], first["whyNot"], first["owed"]) == (True, None, ["Approved: no approval"])
    own = json.loads(desk.run("queue", "-o", "json", user=AUTHOR).stdout)
    assert {each["whyNot"] for each in own} == {f"you ({AUTHOR}) submitted the version"}
    assert json.loads(desk.run("queue", "--mine", "-o", "json", user=AUTHOR).stdout) == []
    assert names(desk.run("queue", "--stage", "production", "-o", "json").stdout) == ["later"]
    shown = desk.run("queue")
    assert shown.stdout.splitlines()[0].split()[:4] == ["NAME", "MODEL", "VERSION", "STAGE"]
    assert "may approve" in shown.stdout


def test_the_queue_counts_approvals_as_policies_want_them(desk: Desk) -> None:
    policy = {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "GovernancePolicy",
        "metadata": {"name": desk.namespace},
        "spec": {
            "match": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": desk.namespace}}},
            "approvals": [{"stage": "staging", "count": 2, "groups": ["rhoai-admins"]}],
        },
    }
    desk.admin.apply(policy)
    try:
        desk.version("granite-1")
        before = json.loads(desk.run("queue", "-o", "json").stdout)
        assert [each["approvals"] for each in before] == ["0 of 2"]
        said = desk.run("approve", "granite-1", "--stage=staging", "--reason=it answers well", "-o", "json")
        assert said.exit_code == 0, said.output
        assert json.loads(said.stdout)["spec"]["groups"] == ["rhoai-admins"]
        after = json.loads(desk.run("queue", "-o", "json").stdout)
        assert [(each["approvals"], each["whyNot"]) for each in after] == [
            ("1 of 2", f"you ({REVIEWER}) already approved the version for staging")
        ]
    finally:
        desk.admin.request("DELETE", f"/apis/gatehouse.dev/v1alpha1/governancepolicies/{desk.namespace}")


def test_what_somebody_turned_down_waits_no_more(desk: Desk) -> None:
    desk.version("granite-1")
    assert desk.run("reject", "granite-1", "--stage=staging", "--reason=no").exit_code == 0
    said = desk.run("queue")
    assert (said.exit_code, said.stdout, said.stderr) == (0, "", "no version waits for a review\n")


# approve, reject, request-changes


@pytest.mark.parametrize(
    ("command", "decision"),
    [("approve", "Approved"), ("reject", "Rejected"), ("request-changes", "ChangesRequested")],
)
def test_a_decision_is_bound_to_what_is_there_now_and_to_who_decides(desk: Desk, command: str, decision: str) -> None:
    made = desk.version("granite-1")
    desk.model(riskTier="High")
    said = desk.run(command, "granite-1", "--stage=staging", "--reason=because")
    assert said.exit_code == 0, said.output
    (written,) = desk.all("modelapprovals")
    assert written["spec"] == {
        "versionRef": {"name": "granite-1", "uid": made["metadata"]["uid"]},
        "digest": DIGEST,
        "servedDigest": served_digest(ModelVersion.model_validate(made).spec, DIGEST),
        "stage": "staging",
        "riskTier": "High",
        "decision": decision,
        "reason": "because",
        "approver": REVIEWER,
        "groups": written["spec"]["groups"],
    }
    assert said.stdout.startswith(f"modelapproval.gatehouse.dev/{written['metadata']['name']} created")
    again = desk.run(command, "granite-1", "--stage=staging", "--reason=because")
    assert (again.exit_code, "unchanged" in again.stdout) == (0, True), again.output
    assert len(desk.all("modelapprovals")) == 1


def test_a_change_of_mind_is_another_decision(desk: Desk) -> None:
    desk.version("granite-1")
    for command in ("approve", "reject", "approve"):
        said = desk.run(command, "granite-1", "--stage=staging", f"--reason=now I {command}")
        assert said.exit_code == 0, said.output
    assert sorted(each["spec"]["decision"] for each in desk.all("modelapprovals")) == [
        "Approved",
        "Approved",
        "Rejected",
    ]


def test_a_dry_run_is_checked_and_keeps_nothing(desk: Desk) -> None:
    desk.version("granite-1")
    said = desk.run("approve", "granite-1", "--stage=staging", "--reason=try", "--dry-run=server")
    assert (said.exit_code, "(server dry run)" in said.stdout) == (0, True), said.output
    assert desk.all("modelapprovals") == []


def test_nobody_decides_on_what_he_submitted(desk: Desk) -> None:
    desk.version("granite-1")
    said = desk.run("approve", "granite-1", "--stage=staging", "--reason=mine is good", user=AUTHOR)
    assert said.exit_code == 2
    assert f"ModelVersion {desk.namespace}/granite-1: you ({AUTHOR}) submitted the version" in said.stderr
    assert desk.all("modelapprovals") == []


def test_an_early_refusal_says_what_is_wanted(desk: Desk) -> None:
    desk.version("no-digest", status={"phase": "Verifying", "gates": pending()["gates"]})
    desk.version("changed", status=pending(phase="Artifact Changed", recordedDigest="sha256:" + "b" * 64))
    desk.version("draft", state="Draft")
    desk.version("unclaimed", submitted=False)
    desk.version("granite-1")
    for name, stage, expected in (
        ("no-digest", "staging", "has no digest yet (Verifying)"),
        ("changed", "staging", "is Artifact Changed: its files differ from the recorded digest"),
        ("draft", "staging", "is Draft; expected: a Submitted version"),
        ("unclaimed", "staging", "spec.submittedBy is empty"),
        ("granite-1", "moon", "stage is moon; expected: a stage of the registry: staging, production"),
    ):
        said = desk.run("approve", name, f"--stage={stage}", "--reason=r")
        assert (said.exit_code, expected in said.stderr) == (2, True), (name, said.output)
    empty = desk.run("approve", "granite-1", "--stage=staging", "--reason=  ")
    assert (empty.exit_code, "the reason is empty" in empty.stderr) == (2, True)
    assert desk.all("modelapprovals") == []


def test_who_may_not_approve_the_tier_is_told_which_right_it_takes(desk: Desk) -> None:
    desk.version("granite-1", by="ai-admin")
    said = desk.run("approve", "granite-1", "--stage=staging", "--reason=r", user=AUTHOR)
    assert said.exit_code == 2
    assert f"you ({AUTHOR}) cannot decide on Low risk" in said.stderr
    assert "the verb approve on risktiers.gatehouse.dev/Low" in said.stderr
    queued = json.loads(desk.run("queue", "-o", "json", user=AUTHOR).stdout)
    assert [each["whyNot"] for each in queued] == [f"you ({AUTHOR}) cannot decide on Low risk"]


# withdraw


def test_only_own_decisions_are_withdrawn(desk: Desk) -> None:
    desk.version("granite-1")
    for user in (REVIEWER, "admin"):
        for stage in ("staging", "production"):
            said = desk.run("approve", "granite-1", f"--stage={stage}", "--reason=good", user=user)
            assert said.exit_code == 0, said.output
    unsaid = desk.run("withdraw", "granite-1", "--stage=staging")
    assert (unsaid.exit_code, "--reason" in unsaid.stderr) == (2, True), unsaid.output
    tried = desk.run("withdraw", "granite-1", "--stage=staging", "--reason=wrong report", "--dry-run=server")
    assert (tried.exit_code, len(desk.all("modelapprovals"))) == (0, 4), tried.output
    said = desk.run("withdraw", "granite-1", "--stage=staging", "--reason=wrong report")
    assert said.exit_code == 0, said.output
    left = {(each["spec"]["approver"], each["spec"]["stage"]) for each in desk.all("modelapprovals")}
    assert left == {(REVIEWER, "production"), ("admin", "staging"), ("admin", "production")}
    again = desk.run("withdraw", "granite-1", "--stage=staging", "--reason=wrong report")
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"no decision of {REVIEWER} on {desk.namespace}/granite-1" in again.stderr


# submit, deprecate, archive, restore


def test_submitting_a_draft_makes_its_author(desk: Desk) -> None:
    desk.version("granite-1", submitted=False, state="Draft")
    said = desk.run("submit", "granite-1", user=AUTHOR)
    assert said.exit_code == 0, said.output
    assert said.stdout == "modelversion.gatehouse.dev/granite-1 configured: Submitted\n"
    spec = desk.get("modelversions", "granite-1")["spec"]
    assert (spec["state"], spec["submittedBy"]) == ("Submitted", AUTHOR)
    again = desk.run("submit", "granite-1", user=AUTHOR)
    assert again.stdout == "modelversion.gatehouse.dev/granite-1 unchanged: Submitted\n"


def test_archiving_keeps_the_reason_and_restoring_puts_back_what_was(desk: Desk) -> None:
    desk.version("granite-1")
    for command, reason, state in (
        ("deprecate", "there is a better one", "Deprecated"),
        ("archive", "nobody uses it", "Archived"),
        ("restore", "somebody does", "Deprecated"),
        ("restore", "many do", "Submitted"),
    ):
        said = desk.run(command, "granite-1", f"--reason={reason}", user=AUTHOR)
        assert said.exit_code == 0, said.output
        found = desk.get("modelversions", "granite-1")
        assert (found["spec"]["state"], found["metadata"]["annotations"]["gatehouse.dev/reason"]) == (state, reason)
    too_far = desk.run("restore", "granite-1", "--reason=more", user=AUTHOR)
    assert (too_far.exit_code, "is Submitted; expected: Archived or Deprecated" in too_far.stderr) == (2, True)


def test_what_a_tool_declares_is_changed_where_it_is_declared(desk: Desk) -> None:
    desk.version("granite-1", by="admin")
    found = desk.get("modelversions", "granite-1")
    applied = {key: found[key] for key in ("apiVersion", "kind", "spec")}
    applied["metadata"] = {"name": "granite-1", "namespace": desk.namespace}
    desk.admin.request(
        "PATCH",
        f"{desk.path('modelversions', 'granite-1')}?fieldManager=argocd-controller&force=true",
        applied,
        content_type="application/apply-patch+yaml",
    )
    said = desk.run("archive", "granite-1", "--reason=old", user="admin")
    assert said.exit_code == 2
    assert "argocd-controller declares spec.state" in said.stderr
    forced = desk.run("archive", "granite-1", "--reason=old", "--force", user="admin")
    assert forced.exit_code == 0, forced.output
    assert desk.get("modelversions", "granite-1")["spec"]["state"] == "Archived"
