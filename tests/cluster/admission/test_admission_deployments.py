"""Who may change what runs in a stage, who may only go back, and in whose name; as the user who tries."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cluster.admission.callers import MERGE, PERSIST, RBAC_GROUP, bind, gatehouse
from cluster.gated import DEVELOPER, STAGE, Gate, altered, mark, objection, refusal, send
from cluster.impersonation import As
from cluster.rig import until
from cluster.status import Manifest
from gatehouse.api.model_deployment import (
    ANNOTATION_DEPLOYED_BY,
    ANNOTATION_RESUME,
    ANNOTATION_RETRY,
    ANNOTATION_ROLLBACK_BY,
    ANNOTATION_ROLLBACK_REASON,
    ANNOTATION_ROLLBACK_REQUESTED_AT,
    ANNOTATION_ROLLBACK_TO,
)
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.users import CONTROLLERS

APPLY = "application/apply-patch+yaml"
DORA, OTTO, EDDA, STAN = "dora", "otto", "edda", "stan"
NEXT_VERSION: Manifest = {"spec": {"versionRef": {"name": "granite-2"}}}
NOBODY = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0b6b3d6c-0000-4000-8000-00000000dead"}
CLUSTER_ACCOUNTS = (
    CONTROLLERS,
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:generic-garbage-collector",
)


def wants_back(
    by: str | None, *, reason: str | None = "answers in French", to: str = "chat-1"
) -> dict[str, str | None]:
    return {ANNOTATION_ROLLBACK_TO: to, ANNOTATION_ROLLBACK_REASON: reason, ANNOTATION_ROLLBACK_BY: by}


def deployment(gate: Gate, *, by: str | None = None, name: str = "chat", **spec: Any) -> Manifest:
    given = {"modelRef": {"name": "granite"}, "versionRef": {"name": "granite-1"}, "servedName": "granite", **spec}
    body = gatehouse("ModelDeployment", gate, given, name=name)
    return body if by is None else altered(body, {("metadata", "annotations"): {ANNOTATION_DEPLOYED_BY: by}})


def marks(values: Mapping[str, str | None]) -> Manifest:
    return {"metadata": {"annotations": dict(values)}}


def said_to(client: KubeClient, path: str, patch: Manifest, *, kind: str = MERGE, query: str = "dryRun=All") -> str:
    """What admission, and not RBAC, says against a patch; nothing when the patch is let in."""
    try:
        client.request("PATCH", f"{path}?{query}", patch, content_type=kind)
    except ApiRefused as refused:
        if refused.status != 403 or "ValidatingAdmissionPolicy" not in str(refused):
            raise
        return str(refused)
    return ""


def person(gate: Gate, user: str, role: str, *rules: Manifest) -> As:
    """Somebody with one role in the namespace of the gate only."""
    if rules:
        meta = {"name": role}
        gate.admin.apply(
            {"apiVersion": f"{RBAC_GROUP}/v1", "kind": "ClusterRole", "metadata": meta, "rules": list(rules)}
        )
    bind(gate, role, user=user, cluster=False)
    return As(gate.plane, user)


EVERYTHING: Manifest = {
    "apiGroups": ["gatehouse.dev"],
    "resources": ["modeldeployments", "modeldeployments/status", "modeldeployments/scale"],
    "verbs": ["*"],
}


@pytest.fixture(scope="module")
def dora(gate: Gate) -> Iterator[KubeClient]:
    with person(gate, DORA, "gatehouse-deployer") as client:
        yield client


@pytest.fixture(scope="module")
def otto(gate: Gate) -> Iterator[KubeClient]:
    """On call."""
    with person(gate, OTTO, "gatehouse-rollbacker") as client:
        yield client


@pytest.fixture(scope="module")
def edda(gate: Gate) -> Iterator[KubeClient]:
    """Somebody whom RBAC lets do everything with deployments, and who holds no verb on the stage."""
    with person(gate, EDDA, "test-edits-deployments", EVERYTHING) as client:
        yield client


@pytest.fixture(scope="module")
def stan(gate: Gate) -> Iterator[KubeClient]:
    """Somebody who may deploy to staging."""
    stages = {
        "apiGroups": ["gatehouse.dev"],
        "resources": ["stages"],
        "resourceNames": ["staging"],
        "verbs": ["deploy", "rollback"],
    }
    with person(gate, STAN, "test-deploys-to-staging", EVERYTHING, stages) as client:
        yield client


@pytest.fixture(scope="module")
def without(edda: KubeClient, otto: KubeClient, stan: KubeClient) -> Mapping[str, KubeClient]:
    """Those who may patch deployments here and may not deploy: they have no verb, another one, or for another stage."""
    return {EDDA: edda, OTTO: otto, STAN: stan}


@pytest.fixture
def chat(gate: Gate, dora: KubeClient) -> Iterator[str]:
    """The path of a deployment of dora's."""
    body = deployment(gate, by=DORA, name=f"chat-{secrets.token_hex(4)}")
    path = gate.admin.path_of(send(dora, body, query=PERSIST))
    yield path
    gate.admin.request("DELETE", path)


# Deploying


def test_who_holds_the_verb_in_the_namespace_deploys(gate: Gate, dora: KubeClient, chat: str) -> None:
    """A RoleBinding in the namespace is enough, with the annotation and without."""
    send(dora, deployment(gate))
    send(dora, deployment(gate, by=DORA))
    own = {"metadata": {"annotations": {ANNOTATION_DEPLOYED_BY: DORA, ANNOTATION_RETRY: "1"}}}
    for patch in ({**NEXT_VERSION, **own}, own, marks({ANNOTATION_RESUME: "chat-1/2"}), {"spec": {"replicas": 2}}):
        assert said_to(dora, chat, patch) == ""
    assert said_to(gate.developer, chat, {"spec": {"paused": True}}) == ""


CHANGES: Mapping[str, tuple[Manifest, str]] = {
    "version": (NEXT_VERSION, "spec"),
    "replicas": ({"spec": {"replicas": 2}}, "spec"),
    "paused": ({"spec": {"paused": True}}, "spec"),
    "hostname": ({"spec": {"hostname": "chat.apps.example"}}, "spec"),
    "strategy": ({"spec": {"strategy": {"scaleDownDelay": "1h"}}}, "spec"),
    "failure": ({"spec": {"onFailure": "Pause"}}, "spec"),
    "deadline": ({"spec": {"progressDeadline": "1h"}}, "spec"),
    "retry": (marks({ANNOTATION_RETRY: "1"}), ANNOTATION_RETRY),
    "resume": (marks({ANNOTATION_RESUME: "chat-1/0"}), ANNOTATION_RESUME),
    "author": (marks({ANNOTATION_DEPLOYED_BY: EDDA}), ANNOTATION_DEPLOYED_BY),
    "no author": (marks({ANNOTATION_DEPLOYED_BY: None}), ANNOTATION_DEPLOYED_BY),
    "owner": ({"metadata": {"ownerReferences": [NOBODY]}}, "the owner ConfigMap gone"),
    "finalizer": ({"metadata": {"finalizers": ["example.com/stays"]}}, "the finalizer example.com/stays"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rbac_alone_changes_nothing_that_runs(
    without: Mapping[str, KubeClient], dora: KubeClient, chat: str, change: str
) -> None:
    """Neither the right to patch, nor the verb rollback, nor the verb for another stage."""
    patch, named = CHANGES[change]
    for who, client in without.items():
        said = said_to(client, chat, patch)
        assert f"you ({who}) may not change what runs in the stage {STAGE} ({named})" in said
        assert f"the verb deploy on stages.gatehouse.dev/{STAGE}" in said
        assert "gatehouse-deployer" in said
    if change != "author":
        assert said_to(dora, chat, patch) == ""


def test_no_kind_of_write_is_a_way_round(gate: Gate, edda: KubeClient, chat: str) -> None:
    there = gate.admin.request("GET", chat)
    name = there["metadata"]["name"]
    manifest = deployment(gate, name=name, versionRef={"name": "granite-2"})
    apply = f"dryRun=All&fieldManager={EDDA}&force=true"
    json_patch: Any = [{"op": "replace", "path": "/spec/versionRef/name", "value": "granite-2"}]
    assert "may not change what runs" in said_to(edda, chat, manifest, kind=APPLY, query=apply)
    assert "may not change what runs" in said_to(edda, chat, json_patch, kind="application/json-patch+json")
    assert "may not change what runs" in refusal(
        edda, {**there, **manifest, "metadata": there["metadata"]}, method="PUT"
    )
    assert "may not change what runs" in refusal(edda, deployment(gate, name="another"))
    generated = deployment(gate)
    generated["metadata"] = {"generateName": "chat-", "namespace": gate.namespace}
    with pytest.raises(ApiRefused, match="may not change what runs"):
        edda.request("POST", f"{chat.rpartition('/')[0]}?dryRun=All", generated)
    with pytest.raises(ApiRefused, match="may not change what runs"):
        edda.request(
            "PATCH", f"{chat.rpartition('/')[0]}/new?{apply}", deployment(gate, name="new"), content_type=APPLY
        )


def test_subresources_change_nothing(gate: Gate, edda: KubeClient, chat: str) -> None:
    """Only the operator writes a status, and a status carries neither spec nor annotations. The kind has no scale."""
    change = {**NEXT_VERSION, **marks({ANNOTATION_RETRY: "1", ANNOTATION_DEPLOYED_BY: EDDA}), "status": {"stage": "x"}}
    with pytest.raises(ApiRefused, match="only Gatehouse writes modeldeployments/status"):
        edda.request("PATCH", f"{chat}/status", change, content_type=MERGE)
    written = gate.operator.request("PATCH", f"{chat}/status", change, content_type=MERGE)
    assert written["status"]["stage"] == "x"
    assert written["spec"]["versionRef"] == {"name": "granite-1"}
    assert written["metadata"]["annotations"] == {ANNOTATION_DEPLOYED_BY: DORA}
    with pytest.raises(ApiRefused) as caught:
        edda.request("PATCH", f"{chat}/scale", {"spec": {"replicas": 9}}, content_type=MERGE)
    assert caught.value.status == 404


def test_what_changes_nothing_that_runs_needs_no_verb(edda: KubeClient, chat: str) -> None:
    for patch in (
        {"metadata": {"labels": {"team": "chat"}}},
        marks({"gatehouse.dev/reconcile-requested-at": "now"}),
        {"spec": {"versionRef": {"name": "granite-1"}}},
    ):
        assert said_to(edda, chat, patch) == ""


def test_an_administrator_of_the_namespace_takes_no_verb(gate: Gate) -> None:
    """RBAC lets nobody bind a role whose rights they lack."""
    with person(gate, "nora", "admin") as nora:
        binding = {
            "apiVersion": f"{RBAC_GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "nora-deploys", "namespace": gate.namespace},
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": "gatehouse-deployer"},
            "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": "nora"}],
        }
        assert "attempting to grant RBAC permissions not currently held" in objection(nora, binding)
        assert "cannot create resource" in objection(nora, deployment(gate))


def test_the_stage_of_the_namespace_decides(gate: Gate, stan: KubeClient, edda: KubeClient) -> None:
    """A binding elsewhere says nothing; what is in no stage runs nowhere, but names are the caller's there too."""
    for labels, allowed in (
        ({"stage": "staging"}, {STAN}),
        ({"stage": STAGE, "gate": "Off"}, set()),
        ({}, {STAN, EDDA}),
    ):
        with gate.another(**labels) as other:
            for user, role in ((STAN, "test-deploys-to-staging"), (EDDA, "test-edits-deployments")):
                bind(other, role, user=user, cluster=False)
            for client, who in ((stan, STAN), (edda, EDDA)):
                body = deployment(other, modelRef={"name": "granite", "namespace": gate.namespace})
                assert (objection(client, body) == "") == (who in allowed), (labels, who)
            if STAN in allowed:
                said = refusal(stan, deployment(other, by=DORA))
                assert f"{ANNOTATION_DEPLOYED_BY} is {DORA}, and you are {STAN}" in said


# Whose name


def test_a_name_is_the_caller_s_own(gate: Gate, dora: KubeClient, chat: str) -> None:
    for body in (deployment(gate, by=OTTO), deployment(gate, by="gatehouse")):
        assert f"{ANNOTATION_DEPLOYED_BY} is" in refusal(dora, body)
    said = said_to(dora, chat, {**NEXT_VERSION, **marks({ANNOTATION_DEPLOYED_BY: OTTO})})
    assert f"the annotation {ANNOTATION_DEPLOYED_BY} is {OTTO}, and you are {DORA}" in said
    assert said_to(dora, chat, marks({ANNOTATION_DEPLOYED_BY: OTTO})) != ""


def test_an_earlier_name_does_not_stay_on_another_version(gate: Gate, chat: str) -> None:
    """Somebody else changes the version, writes their own name or removes the earlier one. Other fields may change."""
    client = gate.developer
    for patch in (NEXT_VERSION, marks({ANNOTATION_RETRY: "1"})):
        assert f"{ANNOTATION_DEPLOYED_BY} is {DORA}, and you are {DEVELOPER}" in said_to(client, chat, patch)
        for name in (DEVELOPER, None):
            given = {**patch.get("metadata", {}).get("annotations", {}), ANNOTATION_DEPLOYED_BY: name}
            assert said_to(client, chat, {**patch, **marks(given)}) == ""
    assert said_to(client, chat, {"spec": {"replicas": 3}}) == ""


# Rolling back


def test_who_is_on_call_goes_back_in_their_own_name(otto: KubeClient, dora: KubeClient, chat: str) -> None:
    assert said_to(otto, chat, marks(wants_back(OTTO))) == ""
    assert said_to(dora, chat, marks(wants_back(DORA))) == ""


@pytest.mark.parametrize(
    "key",
    [
        ANNOTATION_ROLLBACK_TO,
        ANNOTATION_ROLLBACK_REASON,
        ANNOTATION_ROLLBACK_REQUESTED_AT,
        ANNOTATION_ROLLBACK_BY,
    ],
)
def test_a_rollback_needs_the_verb_of_the_stage(edda: KubeClient, stan: KubeClient, chat: str, key: str) -> None:
    for client, who in ((edda, EDDA), (stan, STAN)):
        said = said_to(client, chat, marks({key: who}))
        assert f"you ({who}) may not roll back in the stage {STAGE} ({key})" in said
        assert "gatehouse-rollbacker" in said


def test_a_new_deployment_is_no_way_to_roll_back(gate: Gate) -> None:
    deploys = {"apiGroups": ["gatehouse.dev"], "resources": ["stages"], "verbs": ["deploy"]}
    with person(gate, "dana", "test-only-deploys", EVERYTHING, deploys) as dana:
        assert objection(dana, deployment(gate)) == ""
        body = altered(deployment(gate), {("metadata", "annotations"): wants_back("dana")})
        assert "may not roll back" in refusal(dana, body)


def test_a_request_names_who_asks_and_why(otto: KubeClient, chat: str) -> None:
    for by, found in ((None, "empty"), (DORA, DORA)):
        said = said_to(otto, chat, marks(wants_back(by)))
        assert f"the annotation {ANNOTATION_ROLLBACK_BY} is {found}, and you are {OTTO}" in said
    for reason, found in ((None, "is empty"), ("  \t", "is empty"), ("x" * 1025, "has 1025 characters")):
        said = said_to(otto, chat, marks(wants_back(OTTO, reason=reason)))
        assert f"the annotation {ANNOTATION_ROLLBACK_REASON} {found}" in said
    assert said_to(otto, chat, marks(wants_back(OTTO, reason="x" * 1024))) == ""


def test_a_request_of_another_is_not_changed_in_their_name(dora: KubeClient, otto: KubeClient, chat: str) -> None:
    mark(dora, chat, wants_back(DORA))
    for change in ({ANNOTATION_ROLLBACK_TO: "chat-2"}, {ANNOTATION_ROLLBACK_REQUESTED_AT: "now"}):
        assert f"{ANNOTATION_ROLLBACK_BY} is {DORA}, and you are {OTTO}" in said_to(otto, chat, marks(change))
    assert said_to(otto, chat, marks({ANNOTATION_ROLLBACK_BY: None})) != ""
    assert said_to(otto, chat, marks({ANNOTATION_ROLLBACK_TO: "chat-2", ANNOTATION_ROLLBACK_BY: OTTO})) == ""
    gone = dict.fromkeys((ANNOTATION_ROLLBACK_TO, ANNOTATION_ROLLBACK_REASON, ANNOTATION_ROLLBACK_BY))
    assert said_to(otto, chat, marks(gone)) == ""
    # A name that is left without a request is nobody's request.
    mark(otto, chat, {ANNOTATION_ROLLBACK_TO: None})
    assert said_to(otto, chat, marks({ANNOTATION_ROLLBACK_TO: "chat-3"})) != ""


# Going


def test_the_cluster_s_own_controllers_go_on(gate: Gate, dora: KubeClient, otto: KubeClient, chat: str) -> None:
    """Deletions are RBAC's. The garbage collector changes owners and finalizers of what it deletes."""
    owned = {**NOBODY, "blockOwnerDeletion": True}
    held = {"metadata": {"ownerReferences": [owned], "finalizers": ["example.com/stays"]}}
    gate.admin.request("PATCH", chat, {"metadata": {"finalizers": ["example.com/stays"]}}, content_type=MERGE)
    assert said_to(dora, chat, held) == ""
    with pytest.raises(ApiRefused, match="cannot delete resource"):
        otto.request("DELETE", f"{chat}?dryRun=All")
    for account in CLUSTER_ACCOUNTS:
        with As(gate.plane, account, groups=("system:masters",)) as client:
            assert said_to(client, chat, {"metadata": {"finalizers": None}}) == ""
            client.request("DELETE", f"{chat}?dryRun=All")
    gate.admin.request("PATCH", chat, {"metadata": {"finalizers": None}}, content_type=MERGE)


def test_a_deployment_that_is_being_deleted_loses_its_finalizers(
    gate: Gate, edda: KubeClient, dora: KubeClient
) -> None:
    body = send(dora, deployment(gate, by=DORA, name=f"chat-{secrets.token_hex(4)}"), query=PERSIST)
    path = gate.admin.path_of(body)
    gate.admin.request("PATCH", path, {"metadata": {"finalizers": ["example.com/stays"]}}, content_type=MERGE)
    dora.request("DELETE", path)
    edda.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE)

    def gone() -> bool:
        try:
            gate.admin.request("GET", path)
        except ApiRefused as refused:
            return refused.status == 404
        return False

    until(gone, what="the deployment stays")


def test_the_operator_does_not_deploy(gate: Gate, chat: str) -> None:
    """RBAC already says so: it has no right to write the object."""
    with pytest.raises(ApiRefused, match="cannot patch resource"):
        gate.operator.request("PATCH", chat, NEXT_VERSION, content_type=MERGE)


# What belongs to a deployment by its own word only


def controlled(gate: Gate, chat: str, body: Manifest, *, controller: bool = True, by: str = "") -> Manifest:
    """An object that says that the deployment controls it."""
    owner = gate.admin.request("GET", chat)
    claim = {
        "apiVersion": by or owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": controller,
    }
    revision = ("metadata", "annotations", "gatehouse.dev/revision")
    return altered(body, {("metadata", "ownerReferences"): [claim], revision: "chat-0000000000000000"})


def revision_of(gate: Gate) -> Manifest:
    metadata = {"name": "chat-0000000000000000", "namespace": gate.namespace, "annotations": {}}
    body = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata}
    return {**body, "revision": 1, "data": {"a": 1}}


@pytest.mark.parametrize("by", ["", "gatehouse.dev/v9"])
def test_only_the_operator_makes_what_a_deployment_controls(gate: Gate, chat: str, by: str) -> None:
    """It takes the state of such a service for that of the deployment, and overwrites and deletes the service."""
    for body, kind in ((gate.service(), "inferenceservices"), (revision_of(gate), "controllerrevisions")):
        said = refusal(gate.admin, controlled(gate, chat, body, by=by))
        assert f"only Gatehouse writes {kind} that a ModelDeployment controls" in said
        assert "remove the ModelDeployment from metadata.ownerReferences" in said
        assert send(gate.operator, controlled(gate, chat, body, by=by))
        # One that only depends on the deployment is deleted with it, and is no service of the deployment.
        assert send(gate.admin, controlled(gate, chat, body, controller=False))


def test_what_exists_does_not_get_a_deployment_as_its_controller(gate: Gate, chat: str) -> None:
    body = altered(gate.service(), {("metadata", "name"): "adopted"})
    send(gate.developer, body, query=PERSIST)
    path = gate.admin.path_of(body)
    owners = controlled(gate, chat, body)["metadata"]["ownerReferences"]
    told = said_to(gate.developer, path, {"metadata": {"ownerReferences": owners}})
    assert "only Gatehouse writes inferenceservices that a ModelDeployment controls" in told
    depends = [{**owners[0], "controller": False}]
    gate.developer.request("PATCH", path, {"metadata": {"ownerReferences": depends}}, content_type=MERGE)
    assert "that a ModelDeployment controls" in said_to(gate.developer, path, {"metadata": {"ownerReferences": owners}})
    gate.operator.request("PATCH", path, {"metadata": {"ownerReferences": owners}}, content_type=MERGE)
    # People still edit what the operator made: the operator puts it back, and KServe and the cluster write into it.
    assert said_to(gate.developer, path, {"metadata": {"labels": {"team": "red"}}}) == ""
    assert said_to(gate.developer, path, {"metadata": {"ownerReferences": None}}) == ""
    gate.admin.request("DELETE", path)


def test_a_forged_owner_opens_no_gate(gate: Gate, chat: str) -> None:
    """A service of a deployment is judged as each other one, also the operator's: its artifact must be cleared."""
    assert "is not cleared" in refusal(gate.operator, controlled(gate, chat, gate.service(uri="s3://models/tampered/")))
