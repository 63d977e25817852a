"""`gatehouse explain` tells each reader what he himself could do about a shut gate."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster.desk import AUTHOR, REVIEWER, Desk, gate, make_desk, pending
from cluster.rig import until
from gatehouse_local.ephemeral import RunningControlPlane


@pytest.fixture
def desk(control_plane: RunningControlPlane) -> Iterator[Desk]:
    with make_desk(control_plane) as made:
        yield made


def advice(desk: Desk, user: str, name: str = "granite-1") -> dict[tuple[str, str], str]:
    said = desk.run("explain", name, "-o", "json", user=user)
    assert said.exit_code == 1, said.output
    return {(each["gate"], each["stage"]): each["you"] for each in json.loads(said.stdout)["advice"]}


def test_author_and_reviewer_are_told_what_each_can_do(desk: Desk) -> None:
    desk.model(riskTier="High")
    status = pending()
    gates = [*status["gates"], gate("HardwareFits", stage="later", is_open=False)]
    gates = [each for each in gates if each["name"] != "PolicyCompliant"]
    gates.append(gate("PolicyCompliant", stage="staging", is_open=False))
    desk.version("granite-1", status={**status, "gates": gates})
    author, reviewer = advice(desk, AUTHOR), advice(desk, REVIEWER)
    assert author["Approved", "staging"] == (
        f"you ({AUTHOR}) submitted the version; expected: a decision by another person who may approve High risk"
    )
    assert reviewer["Approved", "staging"] == (
        f"you may decide: gatehouse approve granite-1 -n {desk.namespace} --stage staging --reason …"
    )
    assert desk.run("approve", "granite-1", "--stage=staging", "--reason=good").exit_code == 0
    assert advice(desk, REVIEWER)["Approved", "staging"] == (
        f"you ({REVIEWER}) already approved the version for staging; expected: approvals of more people"
    )
    assert author["PolicyCompliant", "staging"] == "you may change the version and import evaluations"
    assert author["HardwareFits", "later"] == "you may change the version yourself"
    other = desk.run("explain", "granite-1", "-o", "json", user="admin")
    assert "change the policies" in str(json.loads(other.stdout)["advice"])


def test_who_may_only_read_is_told_who_else_can(desk: Desk) -> None:
    status = pending()
    shut = [gate("HardwareFits", is_open=False), gate("Approved", stage="staging", is_open=False)]
    desk.version("granite-1", by="admin", status={**status, "gates": shut})
    desk.admin.request("DELETE", _role(desk))
    until(lambda: not desk.allowed(AUTHOR, "patch", "modelversions"), what="the author kept his rights")
    found = advice(desk, AUTHOR)
    assert found["Approved", "staging"].startswith(
        f"you ({AUTHOR}) cannot decide on Low risk; expected: the verb approve on risktiers.gatehouse.dev/Low"
    )
    assert found["HardwareFits", ""] == "you may only read the version; its author, who may change it, is admin"


def _role(desk: Desk) -> str:
    return f"/apis/rbac.authorization.k8s.io/v1/namespaces/{desk.namespace}/rolebindings/author"


def test_gates_are_grouped_by_stage_for_people(desk: Desk) -> None:
    desk.version("granite-1", status=pending(cleared=("staging",), phase="Ready to Deploy"))
    said = desk.run("explain", "granite-1", "--all", user=REVIEWER)
    lines = [line for line in said.stdout.splitlines() if line.startswith(("open", "shut", "stage"))]
    assert lines == [
        "open Registered",
        "open ArtifactVerified",
        "open HardwareFits",
        "stage staging  cleared",
        "open PolicyCompliant",
        "open Approved",
        "stage production  not cleared",
        "open PolicyCompliant",
        "shut Approved",
    ]
    assert "     you      you may decide: gatehouse approve granite-1" in said.stdout


def test_the_state_is_also_told_in_the_words_of_other_registries(desk: Desk) -> None:
    desk.version("granite-1", status=pending(cleared=("staging",), phase="Ready to Deploy", deployedTo=["staging"]))
    said = desk.run("explain", "granite-1", "-o", "json")
    assert json.loads(said.stdout)["projections"] == {"review": "DEPLOYED", "lifecycle": "staging"}
