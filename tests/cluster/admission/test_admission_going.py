"""Objects that are being deleted: what takes their finalizer off is never refused, and no other edit becomes possible.

Every kind whose updates a shipped policy judges has its case here; a policy for another kind needs one more.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import pytest

from cluster.admission.callers import PERSIST, approval, evaluation, gatehouse, version
from cluster.gated import ACCELERATOR, REFUSED, STAGE, Gate, altered, mark, model_pod, send, vetted
from cluster.rig import until
from cluster.status import Manifest
from gatehouse.api.meta import ANNOTATION_WITHDRAWAL_REASON, ANNOTATION_WITHDRAWN_BY
from gatehouse.install.shipped_files import documents
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

FINALIZER: Final = "test.example.com/held"
INTERNAL: Final = "internal.serving.kserve.io"
MERGE: Final = "application/merge-patch+json"
EVIL: Final = "s3://models/evil/"
MODEL = ("spec", "predictor", "model")

Changes = Mapping[tuple[str | int, ...], Any]


def judged() -> dict[str, set[str]]:
    """Resources whose updates are judged, and by which policies."""
    found: dict[str, set[str]] = {}
    for body in documents("kustomize/base/admission"):
        for rule in body["spec"].get("matchConstraints", {}).get("resourceRules", ()):
            if {"UPDATE", "*"} & set(rule["operations"]):
                for resource in rule["resources"]:
                    found.setdefault(resource, set()).add(body["metadata"]["name"])
    return found


SUBRESOURCES: Final[Mapping[str, str]] = {
    "*/status": "a write of a status changes no metadata",
    "pods/ephemeralcontainers": "a container is added to a Pod that ends as to any other: not at all",
    "pods/resize": "resources of a Pod that ends are judged as those of any other",
    "namespaces/status": "labels that stay are not judged",
    "namespaces/finalize": "labels that stay are not judged",
}
"""Why each of them takes nobody's finalizer off, or is judged in spite of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind: ``body`` is an object that the gate refuses, or may refuse a change of.

    ``written`` is what other webhooks write into the update that takes the finalizer off. ``edits`` are what somebody
    might try on an object that a finalizer holds; none is let through. Without any, ``why`` says what makes them vain.
    """

    body: Callable[[Gate], Manifest]
    written: Changes = field(default_factory=dict)
    edits: Mapping[str, Changes] = field(default_factory=dict)
    why: str = ""
    by: str = "admin"

    def __post_init__(self) -> None:
        assert bool(self.edits) != bool(self.why)


def gpu_container() -> Manifest:
    return {"name": "main", "image": "x", "resources": {"limits": {ACCELERATOR: "1"}}}


def workload(kind: str, gate: Gate, **spec: Any) -> Manifest:
    """A maker of Pods that ask for a GPU, which makes none here."""
    group = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1"}.get(kind, "apps/v1")
    template: dict[str, Any] = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [gpu_container()]}}
    if kind in {"Job", "CronJob"}:
        template["spec"]["restartPolicy"] = "Never"
    made = {"template": template, **spec}
    if kind == "CronJob":
        made = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": template}}}
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": "held", "namespace": gate.namespace},
        "spec": made,
    }


def pod_template(gate: Gate) -> Manifest:
    made = workload("ReplicationController", gate)
    template = made.pop("spec")["template"]
    return {**made, "kind": "PodTemplate", "template": template}


def other(kind: str, gate: Gate, spec: Manifest) -> Manifest:
    metadata = {"name": "held", "namespace": gate.namespace}
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def of_a_model(gate: Gate) -> Manifest:
    body = model_pod(gate.namespace, uri=REFUSED)
    # Its service account's token is added by the real API server where that is switched on.
    return altered(body, {("metadata", "name"): "held", ("spec", "nodeName"): None})


SELECTOR: Final = {"matchLabels": {"app": "x"}}
TOLERATION: Final = [{"key": "x", "operator": "Exists"}]
TEMPLATE = ("spec", "template", "spec")
VAIN: Final = "its controller does nothing with one that is being deleted, and its Pods are judged themselves"

CASES: Final[Mapping[str, Case]] = {
    "inferenceservices": Case(
        body=lambda gate: gate.service({("metadata", "name"): "held"}, uri=REFUSED),
        written={
            ("spec", "predictor", "automountServiceAccountToken"): False,
            ("metadata", "labels", f"{INTERNAL}/localmodel"): "granite",
            ("metadata", "annotations", f"{INTERNAL}/localmodel-pvc-name"): "granite-gpus",
            ("metadata", "annotations", f"{INTERNAL}/localmodel-sourceuri"): REFUSED,
            ("metadata", "annotations", "serving.kserve.io/deploymentMode"): "Standard",
            (*MODEL, "protocolVersion"): "v2",
        },
        edits={
            "another artifact": {(*MODEL, "storageUri"): EVIL},
            "another artifact by a framework's name": {
                (*MODEL, "storageUri"): EVIL,
                ("spec", "predictor", "pytorch"): {"storageUri": EVIL},
            },
            "another digest": {("metadata", "annotations", "gatehouse.dev/artifact-digest"): f"sha256:{'e' * 64}"},
            "another version": {("metadata", "annotations", "gatehouse.dev/model-version"): "private-ai/evil"},
        },
    ),
    "servingruntimes": Case(
        body=lambda gate: gate.runtime({("metadata", "name"): "held", ("spec", "containers", 0, "image"): "other"}),
        written={("metadata", "labels", "x"): "y"},
        edits={"another image": {("spec", "containers", 0, "image"): "evil"}},
        by="developer",
    ),
    "llminferenceservices": Case(
        body=lambda gate: other("LLMInferenceService", gate, {"model": {"uri": EVIL}}),
        written={("spec", "model", "name"): "held"},
        why=VAIN,
    ),
    "llminferenceserviceconfigs": Case(
        body=lambda gate: other("LLMInferenceServiceConfig", gate, {"model": {"uri": EVIL}}),
        edits={"another model": {("spec", "model", "uri"): "hf://org/evil"}},
    ),
    "trainedmodels": Case(
        body=lambda gate: other("TrainedModel", gate, {"inferenceService": "x", "model": {"storageUri": EVIL}}),
        edits={"another model": {("spec", "model", "storageUri"): "hf://org/evil"}},
    ),
    "localmodelnamespacecaches": Case(
        body=lambda gate: other("LocalModelNamespaceCache", gate, {"sourceModelUri": EVIL}),
        edits={"another model": {("spec", "sourceModelUri"): "hf://org/evil"}},
    ),
    "pods": Case(
        body=of_a_model,
        edits={"another image": {("spec", "containers", 0, "image"): "evil"}},
    ),
    "secrets": Case(
        body=lambda gate: {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "storage-config", "namespace": gate.namespace},
            "stringData": {"models": "{}"},
        },
        edits={"another server": {("data", "models"): "e30K"}},
        by="developer",
    ),
    "deployments": Case(
        body=lambda gate: workload("Deployment", gate, replicas=0, selector=SELECTOR),
        written={(*TEMPLATE, "tolerations"): TOLERATION},
        why=VAIN,
    ),
    "replicasets": Case(
        body=lambda gate: workload("ReplicaSet", gate, replicas=0, selector=SELECTOR),
        written={(*TEMPLATE, "tolerations"): TOLERATION},
        why=VAIN,
    ),
    "statefulsets": Case(
        body=lambda gate: workload("StatefulSet", gate, replicas=0, selector=SELECTOR, serviceName="x"),
        written={(*TEMPLATE, "tolerations"): TOLERATION},
        why=VAIN,
    ),
    "daemonsets": Case(
        body=lambda gate: workload("DaemonSet", gate, selector=SELECTOR),
        written={(*TEMPLATE, "tolerations"): TOLERATION},
        why=VAIN,
    ),
    "replicationcontrollers": Case(
        body=lambda gate: workload("ReplicationController", gate, replicas=0, selector={"app": "x"}),
        written={(*TEMPLATE, "tolerations"): TOLERATION},
        why=VAIN,
    ),
    "controllerrevisions": Case(
        body=lambda gate: {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {"name": "held", "namespace": gate.namespace},
            "revision": 1,
            "data": {"a": 1},
        },
        why="the API server lets no one change the data of one",
    ),
    "podtemplates": Case(
        body=pod_template,
        written={("template", "spec", "tolerations"): TOLERATION},
        why="nothing makes Pods of one by itself, and its Pods are judged themselves",
    ),
    "jobs": Case(body=lambda gate: workload("Job", gate, suspend=True), why=VAIN),
    "cronjobs": Case(
        body=lambda gate: workload("CronJob", gate),
        written={("spec", "jobTemplate", *TEMPLATE, "tolerations"): TOLERATION},
        why=VAIN,
    ),
    "namespaces": Case(
        body=lambda gate: {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": f"{gate.namespace}-held", "labels": {"gatehouse.dev/stage": STAGE}},
        },
        why="its labels are judged as those of any other namespace",
    ),
    "registeredmodels": Case(
        body=lambda gate: gatehouse("RegisteredModel", gate, {}, name="held"),
        edits={"somebody else's word for the tier": {("spec", "classifiedBy"): "somebody"}},
    ),
    "modelversions": Case(
        body=lambda gate: version(gate, name="held"),
        edits={"another author": {("spec", "submittedBy"): "somebody"}},
    ),
    "modelapprovals": Case(
        body=lambda gate: approval(gate, approver="admin", name="held"),
        edits={"another note": {("metadata", "annotations", "x"): "y"}},
    ),
    "modelevaluations": Case(
        body=lambda gate: altered(evaluation(gate, evaluator="admin"), {("metadata", "name"): "held"}),
        edits={"another note": {("metadata", "annotations", "x"): "y"}},
    ),
    "modeldeployments": Case(
        body=lambda gate: gatehouse(
            "ModelDeployment",
            gate,
            {"modelRef": {"name": "granite"}, "versionRef": {"name": "granite-1"}, "servedName": "granite"},
            name="held",
        ),
        edits={"in another's name": {("metadata", "annotations"): {"gatehouse.dev/deployed-by": "somebody"}}},
    ),
    "vettedartifacts": Case(
        body=lambda _: altered(vetted("elsewhere/nothing"), {("metadata", "name"): f"held-{secrets.token_hex(4)}"}),
        edits={"another artifact": {("spec", "artifacts"): {EVIL: f"sha256:{'e' * 64}"}}},
    ),
}


def test_every_kind_whose_updates_are_judged_has_its_case() -> None:
    assert judged().keys() == CASES.keys() | SUBRESOURCES.keys()


@pytest.fixture(scope="module")
def late(gate: Gate) -> Iterator[Gate]:
    """A namespace whose gate is shut after the objects came, and all of them are being deleted."""
    with gate.another(stage=STAGE, gate="Off") as late:
        late.settle(accepts=late.service(uri=REFUSED))
        for resource, case in CASES.items():
            _make(late, resource, case)
        labels = {"metadata": {"labels": {"gatehouse.dev/gate": None}}}
        late.admin.request("PATCH", f"/api/v1/namespaces/{late.namespace}", labels, content_type=MERGE)
        late.settle(refuses=late.service({("metadata", "name"): "other"}, uri=REFUSED))
        yield late
        for resource in DECIDED:
            late.admin.request(
                "PATCH", _dependent(late, resource), {"metadata": {"finalizers": None}}, content_type=MERGE
            )


_PATHS: dict[str, str] = {}
DECIDED: Final = ("modelapprovals", "modelevaluations")
"""Decisions and results never have finalizers; the cluster gives them one while what they own is deleted first."""


def _dependent(gate: Gate, resource: str) -> str:
    return f"/api/v1/namespaces/{gate.namespace}/configmaps/{resource}-dependent"


def _keep_waiting(gate: Gate, resource: str, owner: Manifest) -> None:
    """A dependent that does not go, so that the cluster leaves its finalizer on the owner.

    The garbage collector sees ConfigMaps in the order in which they were made. It has seen the dependent once it has
    taken away another one that was made later, and whose owner is not there.
    """

    def make(name: str, of: Manifest, **metadata: Any) -> str:
        metadata |= {"name": name, "namespace": gate.namespace, "ownerReferences": [{**of, "blockOwnerDeletion": True}]}
        made = send(gate.admin, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, query=PERSIST)
        return gate.admin.path_of(made)

    there = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    nowhere = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": str(uuid.uuid4())}
    held = make(f"{resource}-dependent", there, finalizers=[FINALIZER])
    assert held == _dependent(gate, resource)
    later = make(f"{resource}-orphan", nowhere)
    until(lambda: _found(gate, later) is None, what="the garbage collector takes nothing away")


def _make(gate: Gate, resource: str, case: Case) -> None:
    """The object, held by a finalizer and deleted."""
    client = gate.operator if resource == "vettedartifacts" else gate.admin
    decided = resource in DECIDED
    body = altered(case.body(gate), {} if decided else {("metadata", "finalizers"): [FINALIZER]})
    created = send(client, body, query=PERSIST)
    path = _PATHS[resource] = client.path_of(created)
    if decided:
        _keep_waiting(gate, resource, created)
        mark(client, path, {ANNOTATION_WITHDRAWN_BY: "admin", ANNOTATION_WITHDRAWAL_REASON: "it is a test"})
    client.request("DELETE", f"{path}?propagationPolicy=Foreground" if decided else path)


def current(gate: Gate, resource: str) -> Manifest | None:
    return _found(gate, _PATHS[resource])


def _found(gate: Gate, path: str) -> Manifest | None:
    try:
        return gate.admin.request("GET", path)
    except ApiRefused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return None


def put(client: KubeClient, resource: str, body: Manifest) -> None:
    client.request("PUT", _PATHS[resource], body)


EDITS = [(resource, name) for resource, case in CASES.items() for name in case.edits]


@pytest.mark.parametrize(("resource", "name"), EDITS, ids=[" ".join(each) for each in EDITS])
def test_what_a_finalizer_holds_is_edited_no_more_than_before(late: Gate, resource: str, name: str) -> None:
    case = CASES[resource]
    body = current(late, resource)
    assert body is not None
    assert body["metadata"]["deletionTimestamp"]
    client: KubeClient = getattr(late, case.by)
    with pytest.raises(ApiRefused) as caught:
        put(client, resource, altered(body, case.edits[name]))
    assert "ValidatingAdmissionPolicy" in str(caught.value) or caught.value.status == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("resource", CASES)
def test_what_is_being_deleted_goes_when_its_finalizer_is_taken_off(late: Gate, resource: str) -> None:
    case = CASES[resource]
    body = current(late, resource)
    assert body is not None
    put(late.admin, resource, altered(body, {("metadata", "finalizers"): None, **case.written}))
    until(lambda: current(late, resource) is None, what=f"{resource}: held is still there")


FORGED: Final = "2026-01-01T00:00:00Z"


def test_nobody_says_of_an_object_that_it_is_being_deleted(gate: Gate) -> None:
    """Only what the API server itself has stored counts."""
    forged: Changes = {("metadata", "deletionTimestamp"): FORGED, ("metadata", "deletionGracePeriodSeconds"): 0}
    evil = gate.service(forged, uri=REFUSED)
    with pytest.raises(ApiRefused, match="not cleared"):
        send(gate.developer, evil)
    created = send(gate.developer, gate.service({("metadata", "name"): "forged"}), query=PERSIST)
    path = gate.developer.path_of(created)
    try:
        with pytest.raises(ApiRefused):
            gate.developer.request("PUT", path, altered(created, {**forged, (*MODEL, "storageUri"): REFUSED}))
        change = {"metadata": {"deletionTimestamp": FORGED}, "spec": {"predictor": {"hostNetwork": True}}}
        with pytest.raises(ApiRefused):
            gate.developer.request("PATCH", path, change, content_type=MERGE)
    finally:
        gate.developer.request("DELETE", path)


def test_a_container_is_not_added_to_a_pod_that_ends(gate: Gate) -> None:
    pod = gate.pod({("metadata", "finalizers"): [FINALIZER]})
    created = send(gate.developer, pod, query=PERSIST)
    path = gate.developer.path_of(created)
    gate.developer.request("DELETE", path)
    try:
        ending = gate.admin.request("GET", path)
        assert ending["metadata"]["deletionTimestamp"]
        added = altered(ending, {("spec", "ephemeralContainers"): [{"name": "x", "image": "evil"}]})
        with pytest.raises(ApiRefused, match="ephemeralContainers"):
            gate.admin.request("PUT", f"{path}/ephemeralcontainers", added)
    finally:
        gate.admin.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE)
