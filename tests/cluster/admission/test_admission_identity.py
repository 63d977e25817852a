"""Whose word is taken: decisions, results, submissions, statuses, lists and the labels of namespaces, each as the user
who tries to speak for another."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cluster.admission.callers import MERGE, PERSIST, RBAC_GROUP, approval, bind, evaluation, gatehouse, version
from cluster.gated import DIGEST, STAGE, Gate, altered, refusal, send, take_back, vetted
from cluster.impersonation import As
from cluster.status import Manifest
from cluster.world import API
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient


@pytest.fixture(scope="module")
def reviewer(gate: Gate) -> Iterator[KubeClient]:
    """Somebody who may approve models of low risk, and no others."""
    bind(gate, "gatehouse-approver-low", user="reviewer")
    with As(gate.plane, "reviewer", groups=("governance",)) as client:
        yield client


@pytest.fixture(scope="module")
def scientist(gate: Gate) -> Iterator[KubeClient]:
    """Somebody who submits versions in the namespace."""
    bind(gate, "gatehouse-submitter", user="scientist", cluster=False)
    with As(gate.plane, "scientist") as client:
        yield client


@pytest.fixture(scope="module")
def robot(gate: Gate) -> Iterator[KubeClient]:
    """A GitOps controller that submits for people in the namespace."""
    for role in ("gatehouse-submitter", "gatehouse-submitter-for-others"):
        bind(gate, role, user="robot", cluster=False)
    with As(gate.plane, "robot") as client:
        yield client


# Classification


@pytest.fixture(scope="module")
def classifier(gate: Gate) -> Iterator[KubeClient]:
    """Somebody who submits and classifies, but says nothing of high risk."""
    bind(gate, "gatehouse-submitter", user="classifier", cluster=False)
    rules = [
        {
            "apiGroups": ["gatehouse.dev"],
            "resources": ["risktiers"],
            "resourceNames": ["Low", "Medium"],
            "verbs": ["classify"],
        }
    ]
    role = {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "test-classifies"},
        "rules": rules,
    }
    gate.admin.apply(role)
    bind(gate, "test-classifies", user="classifier")
    with As(gate.plane, "classifier") as client:
        yield client


@pytest.fixture
def family(gate: Gate, scientist: KubeClient) -> Iterator[str]:
    """A model of medium risk that the scientist made."""
    name = f"model-{secrets.token_hex(4)}"
    made = gatehouse("RegisteredModel", gate, {"riskTier": "Medium", "license": "MIT"}, name=name)
    assert send(scientist, made, query=PERSIST)
    yield name
    gate.admin.request("DELETE", gate.admin.path_of(made))


def amended(client: KubeClient, gate: Gate, name: str, patch: Mapping[str, Any]) -> str:
    """What is said of a change; nothing when it is let through."""
    path = f"{API}/namespaces/{gate.namespace}/registeredmodels/{name}"
    try:
        client.request("PATCH", f"{path}?{PERSIST}", patch, content_type=MERGE)
    except ApiRefused as refused:
        return str(refused)
    return ""


LOWER: Mapping[str, Any] = {"spec": {"riskTier": "Low"}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (LOWER, "lowers the risk tier from Medium to Low"),
        ({"spec": {"riskTier": None}}, "lowers the risk tier from Medium to the default of the registry"),
        ({"spec": {"license": "Apache-2.0"}}, "changes the license from MIT to Apache-2.0"),
        ({"spec": {"license": None}}, "changes the license from MIT to none"),
        ({"spec": {"riskTier": "Low", "classifiedBy": "scientist"}}, "(it is scientist)"),
        ({"spec": {"classifiedBy": "scientist"}}, "who may not classify models of this tier"),
        ({"spec": {"riskTier": "Low", "classifiedBy": "ai-admin"}}, "(it is ai-admin)"),
        ({"spec": {"classifiedBy": "ai-admin"}}, "spec.classifiedBy is ai-admin, and you are scientist"),
    ],
)
def test_a_submitter_neither_lowers_the_tier_nor_changes_the_licence_nor_vouches(
    gate: Gate, scientist: KubeClient, family: str, change: Mapping[str, Any], said: str
) -> None:
    assert said in amended(scientist, gate, family, change)


def test_a_submitter_raises_the_tier_and_names_what_was_not_named(gate: Gate, scientist: KubeClient) -> None:
    name = f"model-{secrets.token_hex(4)}"
    assert send(scientist, gatehouse("RegisteredModel", gate, {}, name=name), query=PERSIST)
    assert not amended(scientist, gate, name, {"spec": {"license": "MIT", "riskTier": "Low"}})
    assert not amended(scientist, gate, name, {"spec": {"riskTier": "High"}, "metadata": {"labels": {"a": "b"}}})


def test_a_model_is_not_made_with_somebody_else_s_word_for_it(gate: Gate, scientist: KubeClient) -> None:
    for name in ("ai-admin", "scientist"):
        made = gatehouse("RegisteredModel", gate, {"riskTier": "Low", "classifiedBy": name}, name="vouched")
        assert f"spec.classifiedBy is {name}, and you are scientist" in refusal(scientist, made)
    with pytest.raises(ApiRefused, match="set that as well"):
        send(gate.admin, gatehouse("RegisteredModel", gate, {"classifiedBy": "admin"}, name="vouched"))


def test_who_may_classify_lowers_and_says_so(
    gate: Gate, scientist: KubeClient, classifier: KubeClient, family: str
) -> None:
    assert "spec.classifiedBy: classifier (it is empty)" in amended(classifier, gate, family, LOWER)
    mine = {"spec": {"riskTier": "Low", "license": "Apache-2.0", "classifiedBy": "classifier"}}
    assert not amended(classifier, gate, family, mine)
    # What was vouched for stays, whoever asks, until somebody vouches anew or nobody does.
    for change in ({"spec": {"license": "MIT"}}, {"metadata": {"labels": {"kind": "other"}}}):
        assert amended(scientist, gate, family, change)
    assert not amended(scientist, gate, family, {"spec": {"description": "ours"}})
    unvouched = {"spec": {"classifiedBy": None}, "metadata": {"labels": {"kind": "other"}}}
    assert not amended(scientist, gate, family, unvouched)


def test_the_verb_is_asked_for_on_both_tiers(gate: Gate, classifier: KubeClient, family: str) -> None:
    assert not amended(classifier, gate, family, {"spec": {"riskTier": "High"}})
    down = {"spec": {"riskTier": "Low", "classifiedBy": "classifier"}}
    assert "lowers the risk tier from High to Low" in amended(classifier, gate, family, down)
    assert not amended(gate.admin, gate, family, {"spec": {"riskTier": "Low", "classifiedBy": "admin"}})


# Approvals


def test_an_approver_decides_in_his_own_name(gate: Gate, reviewer: KubeClient) -> None:
    assert send(reviewer, approval(gate, approver="reviewer", groups=["governance"]))
    assert send(gate.approver, approval(gate, approver="ai-admin", tier="High", groups=["rhoai-admins"]))


def test_an_approval_in_another_s_name_is_refused(gate: Gate, reviewer: KubeClient) -> None:
    said = refusal(reviewer, approval(gate, approver="ai-admin"))
    assert "spec.approver is ai-admin, and you are reviewer" in said
    assert "gatehouse approve" in said


def test_a_cluster_administrator_approves_in_nobody_else_s_name(gate: Gate) -> None:
    assert "you are admin" in refusal(gate.admin, approval(gate, approver="ai-admin"))


def test_groups_that_the_approver_is_not_in_are_refused(gate: Gate, reviewer: KubeClient) -> None:
    said = refusal(reviewer, approval(gate, approver="reviewer", groups=["governance", "rhoai-admins"]))
    assert "spec.groups names rhoai-admins, and you (reviewer) are in none of them" in said


@pytest.mark.parametrize("tier", ["Medium", "High"])
def test_an_approver_without_the_verb_on_the_tier_is_refused(gate: Gate, reviewer: KubeClient, tier: str) -> None:
    said = refusal(reviewer, approval(gate, approver="reviewer", tier=tier))
    assert f"you (reviewer) cannot decide on {tier} risk" in said
    assert f"the verb approve on risktiers.gatehouse.dev/{tier}" in said
    assert "gatehouse-approver" in said


def test_who_may_write_approvals_and_not_decide_is_refused(gate: Gate) -> None:
    """RBAC that is too wide, such as every verb in a namespace, makes nobody an approver."""
    role = {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "test-everything"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    }
    gate.admin.apply(role)
    bind(gate, "test-everything", user="landlord", cluster=False)
    with As(gate.plane, "landlord") as landlord:
        assert "cannot decide" in refusal(landlord, approval(gate, approver="landlord"))


@pytest.mark.parametrize("reason", ["", "   ", "\n\t"])
def test_a_decision_wants_a_reason(gate: Gate, reviewer: KubeClient, reason: str) -> None:
    with pytest.raises(ApiRefused, match=r"spec\.reason") as refused:
        send(reviewer, approval(gate, approver="reviewer", reason=reason))
    assert refused.value.status == 422


@pytest.fixture
def decided(gate: Gate, reviewer: KubeClient) -> Iterator[Manifest]:
    """A decision of the reviewer's."""
    body = approval(gate, approver="reviewer", decision="Rejected", name=f"decision-{secrets.token_hex(4)}")
    yield send(reviewer, body, query=PERSIST)
    take_back(reviewer, gate.admin.path_of(body), by="reviewer")


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "Approved"},
        {"riskTier": "Medium"},
        {"digest": f"sha256:{'e' * 64}"},
        {"approver": "admin"},
        {"versionRef": {"uid": "another"}},
        {"stage": "staging"},
        {"reason": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_decision_never_changes_for_a_cluster_administrator_either(
    gate: Gate, decided: Manifest, change: Mapping[str, Any]
) -> None:
    with pytest.raises(ApiRefused, match="a decision never changes"):
        gate.admin.request("PATCH", gate.admin.path_of(decided), {"spec": change}, content_type=MERGE)


# Evaluations


def test_results_are_those_of_who_applies_them(gate: Gate, scientist: KubeClient) -> None:
    assert send(scientist, evaluation(gate, evaluator="scientist"))
    said = refusal(scientist, evaluation(gate, evaluator="independent-lab"))
    assert "spec.evaluator is independent-lab, and you are scientist" in said
    assert "gatehouse evaluate import" in said


def test_results_name_only_groups_that_their_evaluator_is_in(gate: Gate, reviewer: KubeClient) -> None:
    bind(gate, "gatehouse-submitter", user="reviewer", cluster=False)
    assert send(reviewer, evaluation(gate, evaluator="reviewer", groups=["governance"]))
    said = refusal(reviewer, evaluation(gate, evaluator="reviewer", groups=["governance", "lab"]))
    assert "spec.groups names lab, and you (reviewer) are in none of them" in said


# Submitters


def test_an_author_submits_in_his_own_name_or_in_none(gate: Gate, scientist: KubeClient) -> None:
    assert send(scientist, version(gate, by="scientist"))
    assert send(scientist, version(gate))


def test_a_version_in_another_s_name_is_refused(gate: Gate, scientist: KubeClient) -> None:
    said = refusal(scientist, version(gate, by="somebody"))
    assert "spec.submittedBy is somebody, and you are scientist" in said
    assert "gatehouse submit" in said
    assert "submitfor" in said
    assert "you are scientist" in refusal(scientist, version(gate, by="somebody", via="scientist"))
    assert "you are scientist" in refusal(scientist, version(gate, by="scientist", via="robot"))


def test_a_cluster_administrator_who_names_another_names_himself_too(gate: Gate) -> None:
    """So he cannot approve what he submitted: who is in either field may not."""
    assert "you are admin" in refusal(gate.admin, version(gate, by="somebody"))
    assert send(gate.admin, version(gate, by="somebody", via="admin"))


def test_a_controller_submits_for_others_and_says_so(gate: Gate, robot: KubeClient) -> None:
    assert send(robot, version(gate, by="scientist", via="robot"))
    assert "spec.submittedVia is empty" in refusal(robot, version(gate, by="scientist"))
    assert "you are robot" in refusal(robot, version(gate, by="scientist", via="admin"))


def test_a_version_is_claimed_in_one_s_own_name_only(gate: Gate, scientist: KubeClient, robot: KubeClient) -> None:
    body = version(gate, name="unclaimed")
    send(scientist, body, query=PERSIST)
    path = gate.admin.path_of(body)

    def claim(client: KubeClient, spec: Manifest) -> Manifest:
        return client.request("PATCH", path, {"spec": spec}, content_type=MERGE)

    try:
        with pytest.raises(ApiRefused, match="you are robot"):
            claim(robot, {"submittedBy": "scientist"})
        assert claim(scientist, {"submittedBy": "scientist"})
        assert claim(robot, {"description": "whoever changes something else is not asked"})
        with pytest.raises(ApiRefused, match="submittedBy cannot change once set"):
            claim(gate.admin, {"submittedBy": "admin"})
        with pytest.raises(ApiRefused, match="submittedBy cannot change once set"):
            claim(gate.admin, {"submittedBy": None})
    finally:
        scientist.request("DELETE", path)


# What only the operator writes

STATUSES = ("modelversions", "registeredmodels", "modelregistries", "governancepolicies", "hardwareprofiles")


@pytest.fixture(scope="module")
def registered(gate: Gate) -> Iterator[Gate]:
    """One object of each kind that has a status worth forging."""
    profile = {
        "accelerator": {"vendor": "NVIDIA", "model": "L4", "memory": "23034Mi", "computeCapability": "8.9", "count": 1}
    }
    bodies = (
        version(gate),
        gatehouse("RegisteredModel", gate, {}, name="granite-1"),
        gatehouse("ModelRegistry", gate, {}, name="granite-1"),
        gatehouse("GovernancePolicy", gate, {}, name="granite-1"),
        gatehouse("HardwareProfile", gate, profile, name="granite-1"),
    )
    for body in bodies:
        gate.admin.apply(body)
    yield gate
    for body in bodies:
        gate.admin.request("DELETE", gate.admin.path_of(body))


def status_path(gate: Gate, plural: str) -> str:
    scope = "" if plural in {"governancepolicies", "hardwareprofiles"} else f"/namespaces/{gate.namespace}"
    return f"{API}{scope}/{plural}/granite-1/status"


@pytest.mark.parametrize("plural", STATUSES)
def test_a_status_is_not_written_by_hand_not_even_by_a_cluster_administrator(registered: Gate, plural: str) -> None:
    forged = {"status": {"observedGeneration": 1}}
    with pytest.raises(ApiRefused) as refused:
        registered.admin.request("PATCH", status_path(registered, plural), forged, content_type=MERGE)
    assert f"only Gatehouse writes {plural}/status" in str(refused.value)
    assert "you are admin" in str(refused.value)
    assert "gatehouse explain" in str(refused.value)


def test_the_operator_writes_a_status(registered: Gate) -> None:
    body = {"status": {"phase": "Verifying"}}
    where = f"{status_path(registered, 'modelversions')}?dryRun=All"
    assert registered.operator.request("PATCH", where, body, content_type=MERGE)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_the_lists_of_the_gate_are_not_written_by_hand_not_even_by_a_cluster_administrator(
    gate: Gate, method: str
) -> None:
    name = "evil" if method == "POST" else f"{STAGE}.models"
    body = vetted(artifacts={"s3://models/evil/": DIGEST}) | {"metadata": {"name": name}}
    where = f"{API}/vettedartifacts" + ("" if method == "POST" else f"/{name}")
    content_type = MERGE if method == "PATCH" else "application/json"
    with pytest.raises(ApiRefused) as refused:
        gate.admin.request(method, where, None if method == "DELETE" else body, content_type=content_type)
    assert refused.value.status == 403
    assert "only Gatehouse writes vettedartifacts" in str(refused.value)
    assert "gatehouse explain" in str(refused.value)


def test_an_administrator_of_gatehouse_may_not_even_ask_to(gate: Gate) -> None:
    with pytest.raises(ApiRefused, match='cannot create resource "vettedartifacts"'):
        gate.approver.request("POST", f"{API}/vettedartifacts", vetted())


# What runs keeps its record


def test_a_version_that_is_deployed_is_not_deleted(gate: Gate, scientist: KubeClient) -> None:
    body = version(gate, name="running")
    send(scientist, body, query=PERSIST)
    path = gate.admin.path_of(body)

    def deployed_to(*stages: str) -> None:
        status = {"status": {"deployedTo": list(stages)}}
        gate.operator.request("PATCH", f"{path}/status", status, content_type=MERGE)

    deployed_to(STAGE)
    for client in (scientist, gate.admin):
        with pytest.raises(ApiRefused) as refused:
            client.request("DELETE", path)
        assert f"ModelVersion {gate.namespace}/running is deployed to {STAGE}" in str(refused.value)
        assert "delete its InferenceServices there first" in str(refused.value)
    deployed_to()
    pods = {"stage": STAGE, "namespace": gate.namespace, "service": "llm", "pods": 1, "ready": 0, "approved": True}
    gate.operator.request("PATCH", f"{path}/status", {"status": {"running": [pods]}}, content_type=MERGE)
    with pytest.raises(ApiRefused, match=f"runs in Pods of {gate.namespace}/llm: delete these services first"):
        gate.admin.request("DELETE", path)
    gate.operator.request("PATCH", f"{path}/status", {"status": {"running": []}}, content_type=MERGE)
    assert scientist.request("DELETE", path)


# The labels of namespaces

LABELS = "gatehouse.dev/stage", "gatehouse.dev/gate", "gatehouse.dev/accelerators"


@pytest.fixture(scope="module")
def landlady(gate: Gate) -> Iterator[KubeClient]:
    """Somebody who may change namespaces, and holds nothing of Gatehouse's."""
    role = {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "test-namespaces"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["namespaces", "namespaces/status", "namespaces/finalize"],
                "verbs": ["get", "create", "update", "patch", "delete"],
            }
        ],
    }
    gate.admin.apply(role)
    bind(gate, "test-namespaces", user="landlady")
    with As(gate.plane, "landlady") as client:
        yield client


def relabel(client: KubeClient, gate: Gate, labels: Mapping[str, str | None], *, subresource: str = "") -> Manifest:
    return client.request(
        "PATCH",
        f"/api/v1/namespaces/{gate.namespace}{subresource}?dryRun=All",
        {"metadata": {"labels": dict(labels)}},
        content_type=MERGE,
    )


@pytest.mark.parametrize(
    "labels",
    [
        {"gatehouse.dev/stage": None},
        {"gatehouse.dev/stage": "staging"},
        {"gatehouse.dev/stage": ""},
        {"gatehouse.dev/gate": "Off"},
        {"gatehouse.dev/gate": "Warn"},
        {"gatehouse.dev/accelerators": "Allow"},
    ],
    ids=str,
)
@pytest.mark.parametrize("subresource", ["", "/status"])
def test_a_namespace_does_not_escape_the_gate(
    gate: Gate, landlady: KubeClient, labels: Mapping[str, str | None], subresource: str
) -> None:
    with pytest.raises(ApiRefused) as refused:
        relabel(landlady, gate, labels, subresource=subresource)
    said = str(refused.value)
    assert f"you (landlady) may not set, change or remove {next(iter(labels))} of namespace {gate.namespace}" in said
    assert f"stage: {STAGE} before" in said
    assert "the verb assign on stages.gatehouse.dev/STAGE" in said
    assert "gatehouse-stage-admin" in said


def test_a_namespace_does_not_escape_by_finalize(gate: Gate, landlady: KubeClient) -> None:
    path = f"/api/v1/namespaces/{gate.namespace}"
    body = altered(gate.admin.request("GET", path), {("metadata", "labels", "gatehouse.dev/stage"): None})
    with pytest.raises(ApiRefused, match=r"may not set, change or remove gatehouse\.dev/stage"):
        landlady.request("PUT", f"{path}/finalize?dryRun=All", body)


@pytest.mark.parametrize("label", LABELS)
def test_a_namespace_is_not_made_with_labels_of_the_gate(gate: Gate, landlady: KubeClient, label: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "own", "labels": {label: "production"}}}
    assert f"remove {label} of namespace own" in refusal(landlady, body)


def test_other_labels_are_nobody_s_business(gate: Gate, landlady: KubeClient) -> None:
    assert relabel(landlady, gate, {"team": "nlp"})
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "own", "labels": {"team": "nlp"}}}
    assert send(landlady, body)


@pytest.mark.parametrize("labels", [{LABELS[0]: None}, {LABELS[0]: "staging"}, {LABELS[1]: "Off"}], ids=str)
def test_an_administrator_of_stages_sets_and_drops_the_labels(gate: Gate, labels: Mapping[str, str | None]) -> None:
    assert relabel(gate.approver, gate, labels)


def test_an_administrator_of_one_stage_moves_no_namespace_of_another(gate: Gate, landlady: KubeClient) -> None:
    role = {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "test-staging"},
        "rules": [
            {"apiGroups": ["gatehouse.dev"], "resources": ["stages"], "resourceNames": ["staging"], "verbs": ["assign"]}
        ],
    }
    gate.admin.apply(role)
    for name in ("test-staging", "test-namespaces"):
        bind(gate, name, user="steward")
    with As(gate.plane, "steward") as steward, gate.another(stage="staging") as staging:
        with pytest.raises(ApiRefused, match="stage: production before, staging after"):
            relabel(steward, gate, {LABELS[0]: "staging"})
        with pytest.raises(ApiRefused, match="stage: staging before, production after"):
            relabel(steward, staging, {LABELS[0]: "production"})
        assert relabel(steward, staging, {LABELS[1]: "Warn"})
        assert relabel(steward, staging, {LABELS[0]: None})


def test_a_gated_namespace_is_not_one_that_kserve_passes_by(gate: Gate, landlady: KubeClient) -> None:
    for client in (landlady, gate.admin):
        with pytest.raises(ApiRefused, match="KServe ignores such a namespace"):
            relabel(client, gate, {"control-plane": "x"})
