"""Taking decisions and results back: in one's own name, with a reason, and in no other way; as the user who tries."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cluster.admission.callers import MERGE, PERSIST, RBAC_GROUP, approval, bind, evaluation
from cluster.gated import Gate, altered, mark, refusal, send, take_back
from cluster.impersonation import As
from cluster.rig import until
from cluster.status import Manifest
from gatehouse.api.meta import ANNOTATION_WITHDRAWAL_REASON, ANNOTATION_WITHDRAWN_BY
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.users import CONTROLLERS

BY, WHY = ANNOTATION_WITHDRAWN_BY, ANNOTATION_WITHDRAWAL_REASON
NOBODY = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0b6b3d6c-0000-4000-8000-00000000dead"}
CLUSTER_ACCOUNTS = (
    CONTROLLERS,
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:generic-garbage-collector",
)


def refused(client: KubeClient, method: str, path: str, body: Manifest | None = None) -> str:
    """What admission, and not RBAC, says."""
    content_type = MERGE if method == "PATCH" else "application/json"
    with pytest.raises(ApiRefused) as caught:
        client.request(method, f"{path}?dryRun=All", body, content_type=content_type)
    assert caught.value.status == 403, caught.value
    assert "ValidatingAdmissionPolicy" in str(caught.value), caught.value
    return str(caught.value)


@pytest.fixture(scope="module")
def reviewer(gate: Gate) -> Iterator[KubeClient]:
    """Somebody who may approve models of low risk, and no others."""
    bind(gate, "gatehouse-approver-low", user="rita")
    with As(gate.plane, "rita") as client:
        yield client


@pytest.fixture(scope="module")
def meddler(gate: Gate) -> Iterator[KubeClient]:
    """Somebody whom RBAC lets do everything with decisions and results, and who holds no verb of Gatehouse's."""
    role = {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "test-meddler"},
        "rules": [
            {"apiGroups": ["gatehouse.dev"], "resources": ["modelapprovals", "modelevaluations"], "verbs": ["*"]}
        ],
    }
    gate.admin.apply(role)
    bind(gate, "test-meddler", user="meddler")
    with As(gate.plane, "meddler") as client:
        yield client


@pytest.fixture
def decision(gate: Gate, reviewer: KubeClient) -> Iterator[str]:
    """The path of a rejection of the reviewer's."""
    body = approval(gate, approver="rita", decision="Rejected", name=f"decision-{secrets.token_hex(4)}")
    path = gate.admin.path_of(send(reviewer, body, query=PERSIST))
    yield path
    take_back(reviewer, path, by="rita")


@pytest.fixture
def result(gate: Gate) -> Iterator[str]:
    """The path of a result of the administrator's."""
    body = evaluation(gate, evaluator="admin")
    body["metadata"]["name"] = f"result-{secrets.token_hex(4)}"
    path = gate.admin.path_of(send(gate.admin, body, query=PERSIST))
    yield path
    take_back(gate.admin, path, by="admin")


# Deleting


def test_who_says_why_first_may_delete_his_own(gate: Gate, reviewer: KubeClient) -> None:
    body = send(reviewer, approval(gate, approver="rita", name="withdrawn"), query=PERSIST)
    path = gate.admin.path_of(body)
    take_back(reviewer, path, by="rita")
    with pytest.raises(ApiRefused, match="not found"):
        gate.admin.request("GET", path)


def test_a_decision_that_does_not_say_why_stays(gate: Gate, reviewer: KubeClient, decision: str) -> None:
    said = refused(reviewer, "DELETE", decision)
    name = decision.rpartition("/")[2]
    assert f"ModelApproval {name} does not say who withdraws it, and you are rita" in said
    assert f"gatehouse withdraw granite-1 -n {gate.namespace} --stage production --reason WHY" in said
    assert f"kubectl annotate modelapprovals.gatehouse.dev {name} -n {gate.namespace} --overwrite {BY}=rita" in said


def test_a_decision_of_somebody_else_stays(gate: Gate, meddler: KubeClient, decision: str) -> None:
    for client, who in ((meddler, "meddler"), (gate.approver, "ai-admin")):
        assert f"this is the decision of rita, and you are {who}" in refused(client, "DELETE", decision)


def test_another_s_name_opens_nothing_to_a_cluster_administrator_either(
    gate: Gate, reviewer: KubeClient, decision: str
) -> None:
    """Also not while the approver's own is there: what he was about to delete, he deletes."""
    assert "does not say who withdraws it" in refused(gate.admin, "DELETE", decision)
    mark(reviewer, decision, {BY: "rita", WHY: "read the wrong report"})
    assert f"{BY} of ModelApproval {decision.rpartition('/')[2]} is rita, and you are admin" in refused(
        gate.admin, "DELETE", decision
    )


def test_many_at_once_are_no_way_round(gate: Gate, decision: str) -> None:
    refused(gate.admin, "DELETE", decision.rpartition("/")[0])


def test_who_holds_the_verb_revoke_does_it_in_his_own_name(gate: Gate, reviewer: KubeClient) -> None:
    """A cluster administrator holds every verb."""
    body = send(reviewer, approval(gate, approver="rita", decision="Rejected", name="revoked"), query=PERSIST)
    take_back(gate.admin, gate.admin.path_of(body), by="admin", reason="rita has left")


def test_a_result_that_does_not_say_why_stays(gate: Gate, meddler: KubeClient, result: str) -> None:
    for client, who in ((meddler, "meddler"), (gate.admin, "admin")):
        said = refused(client, "DELETE", result)
        assert f"does not say who withdraws it, and you are {who}" in said
        assert f"gatehouse evaluate withdraw {result.rpartition('/')[2]} -n {gate.namespace} --reason WHY" in said


@pytest.mark.parametrize("account", CLUSTER_ACCOUNTS)
def test_the_clusters_own_controllers_are_not_asked(
    gate: Gate, meddler: KubeClient, decision: str, account: str
) -> None:
    bind(gate, "test-meddler", user=account)
    with As(gate.plane, account) as controller:
        assert controller.request("DELETE", f"{decision}?dryRun=All")


def test_a_namespace_goes_with_all_decisions_and_results_in_it(gate: Gate, reviewer: KubeClient) -> None:
    with gate.another() as other:
        paths = [
            other.admin.path_of(send(client, body, query=PERSIST))
            for client, body in (
                (reviewer, approval(other, approver="rita", name="of-the-namespace")),
                (gate.admin, evaluation(other, evaluator="admin")),
            )
        ]
        for path in paths:
            assert gate.admin.request("GET", path)

    def gone() -> bool:
        try:
            gate.admin.request("GET", f"/api/v1/namespaces/{other.namespace}")
        except ApiRefused as error:
            return error.status == 404
        return False

    until(gone, what="the namespace does not go")


# Saying who and why


@pytest.mark.parametrize("who", ["rita", "meddler", ""])
def test_a_withdrawal_in_another_s_name_is_refused(gate: Gate, decision: str, result: str, who: str) -> None:
    for path in (decision, result):
        said = refused(gate.admin, "PATCH", path, {"metadata": {"annotations": {BY: who, WHY: "x"}}})
        assert f"{BY} is {who or 'empty'}, and you are admin" in said


def test_who_may_not_withdraw_a_decision_does_not_say_that_he_does(
    meddler: KubeClient, reviewer: KubeClient, decision: str
) -> None:
    marks = {"metadata": {"annotations": {BY: "meddler", WHY: "x"}}}
    assert "this is the decision of rita, and you are meddler" in refused(meddler, "PATCH", decision, marks)
    mark(reviewer, decision, {BY: "rita", WHY: "read the wrong report"})
    for marks in ({WHY: "bribed"}, {BY: None, WHY: None}):
        said = refused(meddler, "PATCH", decision, {"metadata": {"annotations": marks}})
        assert "this is the decision of rita, and you are meddler" in said


def test_a_reason_is_not_written_under_another_s_name(gate: Gate, reviewer: KubeClient, decision: str) -> None:
    mark(reviewer, decision, {BY: "rita", WHY: "read the wrong report"})
    said = refused(gate.admin, "PATCH", decision, {"metadata": {"annotations": {WHY: "bribed"}}})
    assert f"{BY} is rita, and you are admin" in said


@pytest.mark.parametrize("why", [None, "", "  ", "x" * 4097], ids=["none", "empty", "blank", "long"])
def test_a_withdrawal_wants_a_reason(reviewer: KubeClient, decision: str, why: str | None) -> None:
    said = refused(reviewer, "PATCH", decision, {"metadata": {"annotations": {BY: "rita", WHY: why}}})
    assert f"{WHY} {'has 4097 characters' if why and len(why) > 4096 else 'is empty'}" in said


def test_who_thinks_better_of_it_takes_the_withdrawal_back(reviewer: KubeClient, decision: str) -> None:
    mark(reviewer, decision, {BY: "rita", WHY: "read the wrong report"})
    assert BY not in mark(reviewer, decision, {BY: None, WHY: None})["metadata"].get("annotations", {})


@pytest.mark.parametrize("marks", [{BY: "rita"}, {WHY: "later"}, {BY: "admin", WHY: "in advance"}], ids=str)
def test_nothing_is_made_withdrawn(gate: Gate, reviewer: KubeClient, marks: Mapping[str, str]) -> None:
    """Else whoever lets its namespace go would seem to have somebody else's reason."""
    body = altered(approval(gate, approver="rita"), {("metadata", "annotations"): dict(marks)})
    assert "must not be created with" in refusal(reviewer, body)
    body = altered(evaluation(gate, evaluator="admin"), {("metadata", "annotations"): dict(marks)})
    assert "must not be created with" in refusal(gate.admin, body)


# Owners and finalizers


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"ownerReferences": [NOBODY]}, "must not get the owner ConfigMap gone"),
        ({"finalizers": ["example.com/hangs"]}, "must not get the finalizer example.com/hangs"),
        ({"finalizers": ["foregroundDeletion"]}, "must not get the finalizer foregroundDeletion"),
    ],
    ids=["owner", "finalizer", "foreground"],
)
def test_no_owner_and_no_finalizer_is_written_into_one(
    gate: Gate, reviewer: KubeClient, decision: str, metadata: Any, told: str
) -> None:
    """An owner that is not there has the garbage collector delete it, in nobody's name."""
    for client in (reviewer, gate.admin):
        assert told in refused(client, "PATCH", decision, {"metadata": metadata})
    result = gate.admin.path_of(send(gate.admin, evaluation(gate, evaluator="admin"), query=PERSIST))
    assert told in refused(gate.admin, "PATCH", result, {"metadata": metadata})
    take_back(gate.admin, result, by="admin")
    made = {("metadata", key): value for key, value in metadata.items()}
    assert told in refusal(reviewer, altered(approval(gate, approver="rita"), made))
    assert told in refusal(gate.admin, altered(evaluation(gate, evaluator="admin"), made))


def test_what_is_there_may_go(gate: Gate, reviewer: KubeClient) -> None:
    """A finalizer that the API server itself put there, for a deletion that waits for dependents."""
    body = send(reviewer, approval(gate, approver="rita", name="foreground"), query=PERSIST)
    path = gate.admin.path_of(body)
    mark(reviewer, path, {BY: "rita", WHY: "read the wrong report"})
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
    reviewer.request("DELETE", path, options)

    def gone() -> bool:
        try:
            gate.admin.request("GET", path)
        except ApiRefused as error:
            return error.status == 404
        return False

    until(gone, what="the garbage collector does not let it go")


@pytest.mark.parametrize(
    "metadata",
    [{"labels": {"a": "b"}}, {"annotations": {"a": "b"}}, {"annotations": {"gatehouse.dev/reason": "x"}}],
    ids=str,
)
def test_nothing_else_is_written_into_one(gate: Gate, decision: str, result: str, metadata: Manifest) -> None:
    for path in (decision, result):
        assert "never changes, not even its labels and annotations" in refused(
            gate.admin, "PATCH", path, {"metadata": metadata}
        )


def test_the_operator_may_take_nothing_back(gate: Gate, decision: str) -> None:
    for method in ("PATCH", "DELETE"):
        with pytest.raises(ApiRefused, match=f'User "{OPERATOR_USER}" cannot'):
            gate.operator.request(method, decision, {} if method == "PATCH" else None, content_type=MERGE)
