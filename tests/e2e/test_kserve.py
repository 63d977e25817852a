"""The shipped gate against KServe's own manager: its full kinds, webhooks and controllers.

No kubelet runs: Pods are set ready. Every way in of deployers and of administrators of a namespace is tried at once,
and whatever Pods come of it load what was vetted and nothing else.
"""

from __future__ import annotations

import contextlib
import copy
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from cluster.admission.canaries import CANARY, CANARY_USES, CANARY_WAYS, good_canary, with_canary
from cluster.admission.evasions import EVIL, OVERRIDES, URIS
from cluster.admission.policy_texts import words
from cluster.admission.uses import USES
from cluster.gated import DEVELOPER, IMAGE, NEXT, NEXT_DIGEST, STAGE, URI, Gate, altered, make_gate, send
from cluster.impersonation import As
from cluster.podfields import least_value
from cluster.pretend_kubelet import pretend_kubelet
from cluster.rig import until
from cluster.servers import available
from cluster.status import Manifest
from e2e.kserve_manager import INITIALIZER, KServe, kserve, wait_gone
from e2e.kserve_services import MERGE, PERSIST, furnish, items, ready, said, sent
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

INTERNAL: Final = "internal.serving.kserve.io"
PREDICTOR = ("spec", "predictor")
MODEL = (*PREDICTOR, "model")
ANNOTATIONS, LABELS = ("metadata", "annotations"), ("metadata", "labels")
NAME = ("metadata", "name")
DISABLED = (*ANNOTATIONS, "serving.kserve.io/disable-localmodel")
ADMINISTRATOR: Final = "namespace-admin"
SHAPE: Final = "gatehouse-inferenceservice-shape"

Changes = Mapping[tuple[str | int, ...], Any]


@pytest.fixture(scope="module")
def manager() -> Iterator[KServe]:
    """KServe and the gate on one control plane."""
    with available(kserve()) as running, pretend_kubelet(running.plane, run_job=lambda _: 0):
        yield running


@pytest.fixture(scope="module")
def gate(manager: KServe) -> Iterator[Gate]:
    """A namespace with a stage, the runtime of the template and the connection in it."""
    with make_gate(manager.plane) as made:
        furnish(made)
        yield made


@pytest.fixture(scope="module")
def administrator(gate: Gate) -> Iterator[KubeClient]:
    """Somebody with every right in the namespace, to KServe's kinds too, and none on its stage."""
    rules = [{"apiGroups": ["serving.kserve.io"], "resources": ["*"], "verbs": ["*"]}]
    group = "rbac.authorization.k8s.io"
    metadata = {"name": "test-kserve", "namespace": gate.namespace}
    gate.admin.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
    for kind, role in (("Role", "test-kserve"), ("ClusterRole", "admin")):
        gate.admin.apply(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"test-{role}", "namespace": gate.namespace},
                "roleRef": {"apiGroup": group, "kind": kind, "name": role},
                "subjects": [{"apiGroup": group, "kind": "User", "name": ADMINISTRATOR}],
            }
        )
    with As(gate.plane, ADMINISTRATOR) as client:
        path = f"/apis/serving.kserve.io/v1alpha1/namespaces/{gate.namespace}/trainedmodels"
        until(lambda: _listed(client, path), what="the administrator has no rights")
        yield client


def _listed(client: KubeClient, path: str) -> bool:
    with contextlib.suppress(ApiRefused):
        client.request("GET", path)
        return True
    return False


def pods(gate: Gate, name: str = "") -> list[Manifest]:
    """Pods of the namespace, or of one service."""
    selector = f"?labelSelector=serving.kserve.io/inferenceservice%3D{name}" if name else ""
    return items(gate, f"/api/v1/namespaces/{gate.namespace}/pods{selector}")


def deploy(gate: Gate, changes: Changes | None = None) -> tuple[str, str]:
    """The good service under a name of its own, changed: its name and its path."""
    name = f"m-{secrets.token_hex(4)}"
    body = gate.service({NAME: name, **(changes or {})})
    return name, gate.developer.path_of(send(gate.developer, body, query=PERSIST))


def strange(pod: Manifest, *, uri: str | None = None) -> list[str]:
    """What a Pod may load or run beside the vetted bytes. This knows nothing of the policies."""
    spec = pod["spec"]
    initializers = [(each["image"], each.get("args")) for each in spec.get("initContainers", [])]
    vetted = [[(INITIALIZER, [each, "/mnt/models"])] for each in ([uri] if uri else [URI, NEXT])]
    found = [] if initializers in vetted else [f"initContainers {initializers}"]
    for each in spec.get("initContainers", []):
        found += _strange_initializer(each)
    servers = [(each["name"], each["image"]) for each in spec["containers"]]
    found += [] if servers == [("kserve-container", IMAGE)] else [f"containers {servers}"]
    for each in spec["containers"]:
        found += _strange_server(each)
    found += [f"volume {each}" for each in spec.get("volumes", []) if not _harmless(each)]
    names = ("hostAliases", "hostNetwork", "hostPID", "hostIPC", "dnsConfig", "ephemeralContainers")
    return found + [f"{name} {spec[name]}" for name in names if spec.get(name)]


def _strange_initializer(container: Manifest) -> list[str]:
    variables = {each["name"]: each for each in container.get("env", [])}
    reference = {"secretKeyRef": {"name": "storage-config", "key": "minio-connection"}}
    found = []
    if variables.get("STORAGE_CONFIG", {}).get("valueFrom") != reference:
        found.append(f"credentials {variables.get('STORAGE_CONFIG')}")
    elsewhere = {"AWS_ENDPOINT_URL", "S3_ENDPOINT", "STORAGE_OVERRIDE_CONFIG"} & variables.keys()
    return found + [f"another server by {name}" for name in sorted(elsewhere)]


def _strange_server(container: Manifest) -> list[str]:
    arguments = container.get("args", [])
    wanted = {
        "command": container.get("command") == ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "model": [each for each in arguments if each.startswith("--model")] == ["--model=/mnt/models"],
        "offline": {"name": "HF_HUB_OFFLINE", "value": "1"} in container.get("env", []),
        "hooks": not container.get("lifecycle") and not container.get("envFrom"),
    }
    return [f"{what} of the server: {container}" for what, good in wanted.items() if not good]


def _harmless(volume: Manifest) -> bool:
    provision = volume["name"] == "kserve-provision-location" and "emptyDir" in volume
    return provision or volume.get("emptyDir", {}).get("medium") == "Memory"


def settled(gate: Gate) -> None:
    """Until KServe and the controllers of Deployments have done what they do about everything that is there.

    KServe takes one service after the other: once the Pod of the newest is there, it has seen all others.
    """
    name, path = deploy(gate)
    until(lambda: bool(pods(gate, name)), what=lambda: said(gate, path))
    base = f"/apis/apps/v1/namespaces/{gate.namespace}"

    def done() -> bool:
        deployments, sets = items(gate, f"{base}/deployments"), items(gate, f"{base}/replicasets")
        seen = all(
            each.get("status", {}).get("observedGeneration") == each["metadata"]["generation"]
            for each in (*deployments, *sets)
        )
        made = all(
            each["status"].get("replicas", 0) == each["spec"]["replicas"]
            or any(condition["type"] == "ReplicaFailure" for condition in each["status"].get("conditions", ()))
            for each in sets
        )
        return seen and made

    until(done, what="Deployments are not done")
    gate.developer.request("DELETE", path)
    wait_gone(gate.admin, path)


# What should work


def test_a_template_is_served_changed_stopped_started_and_deleted(gate: Gate) -> None:
    name, path = deploy(gate)
    until(lambda: ready(gate, path), what=lambda: said(gate, path))
    [pod] = pods(gate, name)
    assert not strange(pod)
    assert pod["spec"]["initContainers"][0]["args"] == [URI, "/mnt/models"]

    def patch(body: Manifest) -> None:
        gate.developer.request("PATCH", path, body, content_type=MERGE)

    patch({"spec": {"predictor": {"minReplicas": 2, "maxReplicas": 2}}})
    until(lambda: len(pods(gate, name)) == 2, what="it is not scaled")
    patch({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}})
    until(lambda: not pods(gate, name), what="it is not stopped")
    patch({"metadata": {"annotations": {"serving.kserve.io/stop": None}}})
    until(lambda: len(pods(gate, name)) == 2, what="it is not started again")
    assert not [each for pod in pods(gate, name) for each in strange(pod)]
    gate.developer.request("DELETE", path)
    wait_gone(gate.admin, path)
    until(lambda: not pods(gate, name), what="its Pods are still there")


def test_canaries_are_served_promoted_without_a_restart_and_deleted(gate: Gate) -> None:
    name = f"m-{secrets.token_hex(4)}"
    service = gate.service({NAME: name, (*PREDICTOR, "minReplicas"): 2, (*PREDICTOR, "maxReplicas"): 2})
    body = altered(service, {CANARY: [good_canary(service, percent=50)]})
    path = gate.developer.path_of(send(gate.developer, body, query=PERSIST))

    def of(app: str) -> list[Manifest]:
        return [each for each in pods(gate, name) if each["metadata"]["labels"]["app"] == f"isvc.{name}-{app}"]

    until(lambda: len(of("next-predictor")) == 1 and len(of("predictor")) == 1, what=lambda: said(gate, path))
    [stable], [canary] = of("predictor"), of("next-predictor")
    assert not strange(stable, uri=URI)
    assert not strange(canary, uri=NEXT)
    digest = "gatehouse.dev/artifact-digest"
    assert canary["metadata"]["annotations"][digest] == NEXT_DIGEST
    assert stable["metadata"]["annotations"][digest] == service["metadata"]["annotations"][digest]
    promoted = {(*PREDICTOR, "name"): "next", (*MODEL, "storageUri"): NEXT, (*ANNOTATIONS, digest): NEXT_DIGEST}
    until(lambda: replaced(gate, path, altered(service, promoted)), what="KServe writes the service all the time")
    until(lambda: not of("predictor") and len(of("next-predictor")) == 2, what=lambda: said(gate, path))
    assert canary["metadata"]["uid"] in {each["metadata"]["uid"] for each in of("next-predictor")}, "it was restarted"
    assert not [each for pod in pods(gate, name) for each in strange(pod, uri=NEXT)]
    gate.developer.request("DELETE", path)
    wait_gone(gate.admin, path)
    until(lambda: not pods(gate, name), what="its Pods are still there")


def replaced(gate: Gate, path: str, body: Manifest) -> bool:
    """Whether a whole object was written, and not over a write of KServe in between."""
    body["metadata"]["resourceVersion"] = gate.admin.request("GET", path)["metadata"]["resourceVersion"]
    try:
        send(gate.developer, body, method="PUT", query=PERSIST)
    except ApiRefused as refused:
        if refused.status != 409:
            raise
        return False
    return True


@pytest.mark.parametrize("use", CANARY_USES)
def test_what_a_deployer_may_set_in_a_canary_passes_kserve_and_the_gate(gate: Gate, use: str) -> None:
    name = f"m-{secrets.token_hex(4)}"
    service = gate.service({NAME: name})
    body = altered(altered(service, with_canary(service)), CANARY_USES[use])
    path = gate.developer.path_of(send(gate.developer, body, query=PERSIST))
    try:
        until(lambda: len(pods(gate, name)) == 2, what=lambda: said(gate, path))
        assert not [each for pod in pods(gate, name) for each in strange(pod)]
    finally:
        gate.developer.request("DELETE", path)
        wait_gone(gate.admin, path)


CANARY_PLACES: Final[Mapping[tuple[str, ...], frozenset[str]]] = {
    (): frozenset(["predictor", "trafficPercent"]),
    ("predictor",): frozenset(words(SHAPE, "predictorFields")) - frozenset(words(SHAPE, "stableFields")),
    ("predictor", "model"): frozenset(words(SHAPE, "modelFields")),
    ("predictor", "model", "storage"): frozenset(["key"]),
    ("predictor", "model", "resources"): frozenset(["requests", "limits"]),
    ("predictor", "model", "securityContext"): frozenset(words(SHAPE, "securityFields")),
    ("predictor", "model", "readinessProbe"): frozenset(words(SHAPE, "probeFields")),
    ("predictor", "securityContext"): frozenset(words(SHAPE, "podSecurityFields")),
}
"""Places in an entry of spec.canary, and the fields that the gate admits there."""


@pytest.mark.parametrize("place", CANARY_PLACES, ids=lambda place: ".".join(place) or "entry")
def test_every_field_that_kserve_s_schema_has_for_a_canary_is_on_the_list_or_refused(
    gate: Gate, place: tuple[str, ...]
) -> None:
    kind = "customresourcedefinitions/inferenceservices.serving.kserve.io"
    body = gate.admin.request("GET", f"/apis/apiextensions.k8s.io/v1/{kind}")
    [version] = [each for each in body["spec"]["versions"] if each["name"] == "v1beta1"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["canary"]["items"]
    for name in place:
        schema = schema["properties"][name]
    assert CANARY_PLACES[place] <= schema["properties"].keys() | {"annotations"}
    service = gate.service()
    good = altered(service, with_canary(service))
    for field in sorted(schema["properties"].keys() - CANARY_PLACES[place]):
        value = FIELD_EXAMPLES.get(field, least_value(schema["properties"][field], {}))
        refused = _refused(gate.developer, altered(good, {(*CANARY, 0, *place, field): value}))
        named = f"spec.canary[next].{'.'.join((*place, field))}", f"spec.canary[next].{'.'.join(place)} (only httpGet"
        assert "admission webhook" in refused or any(each in refused for each in named), (field, refused)


def _refused(client: KubeClient, body: Manifest) -> str:
    """What the API server says against the object; nothing when the object passes."""
    try:
        send(client, body)
    except ApiRefused as refused:
        return str(refused)
    return ""


FIELD_EXAMPLES: Final[Mapping[str, Any]] = {
    "exec": {"command": ["x"]},
    "windowsOptions": {"runAsUserName": "x"},
    "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}],
}
NO_PODS: Final = ("stopped", "autoscaling by KEDA")
"""Uses of which KServe makes no Pods here: KEDA is not installed."""


@pytest.mark.parametrize("use", USES)
def test_what_a_deployer_may_set_passes_kserve_and_the_gate(gate: Gate, use: str) -> None:
    name, path = deploy(gate, USES[use])
    try:
        if use not in NO_PODS:
            until(lambda: bool(pods(gate, name)), what=lambda: said(gate, path))
            assert not [each for pod in pods(gate, name) for each in strange(pod)]
    finally:
        gate.developer.request("DELETE", path)
        wait_gone(gate.admin, path)


# What KServe's own webhook writes


def test_tokens_that_kserve_does_not_mount_hold_up_neither_a_service_nor_a_deletion(
    manager: KServe, gate: Gate
) -> None:
    before, old = deploy(gate)
    until(lambda: bool(pods(gate, before)), what=lambda: said(gate, old))
    manager.configure(gate.admin, security={"autoMountServiceAccountToken": False})
    try:
        name, path = deploy(gate)
        until(lambda: bool(pods(gate, name)), what=lambda: said(gate, path))
        [pod] = pods(gate, name)
        assert pod["spec"]["automountServiceAccountToken"] is False
        for each in (old, path):
            gate.developer.request("DELETE", each)
            wait_gone(gate.admin, each)
    finally:
        manager.configure(gate.admin, security={"autoMountServiceAccountToken": True})


def _cache(gate: Gate) -> Iterator[Manifest]:
    yield {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LocalModelNodeGroup",
        "metadata": {"name": "gpus"},
        "spec": {
            "storageLimit": "10Gi",
            "persistentVolumeClaimSpec": {"accessModes": ["ReadWriteOnce"]},
            "persistentVolumeSpec": {"capacity": {"storage": "10Gi"}, "hostPath": {"path": "/models"}},
        },
    }
    yield {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LocalModelCache",
        "metadata": {"name": f"granite-{gate.namespace}"},
        "spec": {"sourceModelUri": URI, "modelSize": "1Gi", "nodeGroups": ["gpus"]},
    }


def test_a_cache_of_models_is_kept_off_by_the_template_and_holds_up_no_service_that_it_comes_after(
    manager: KServe, gate: Gate
) -> None:
    without, old = deploy(gate, {DISABLED: None})
    until(lambda: bool(pods(gate, without)), what=lambda: said(gate, old))
    manager.configure(gate.admin, localModel={"enabled": True})
    caches = list(_cache(gate))
    try:
        for body in caches:
            gate.admin.apply(body)
        name, path = deploy(gate)
        until(lambda: bool(pods(gate, name)), what=lambda: said(gate, path))
        assert not [each for pod in pods(gate, name) for each in strange(pod)]
        with pytest.raises(ApiRefused, match=r"set the annotation serving\.kserve\.io/disable-localmodel to true"):
            deploy(gate, {DISABLED: None})
        stop = {"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}}
        gate.developer.request("PATCH", old, stop, content_type=MERGE)
        until(lambda: not pods(gate, without), what="it is not stopped")
        for each in (old, path):
            gate.developer.request("DELETE", each)
            wait_gone(gate.admin, each)
    finally:
        manager.configure(gate.admin, localModel={"enabled": False})
        for body in reversed(caches):
            gate.admin.request("DELETE", gate.admin.path_of(body))


def test_a_service_from_before_the_gate_is_deleted(gate: Gate) -> None:
    """Whatever it has: its finalizer is taken off by an update."""
    with gate.another(stage=STAGE, gate="Off") as late:
        furnish(late)
        body = late.service({DISABLED: None, (*PREDICTOR, "hostNetwork"): True}, uri=EVIL)
        until(lambda: sent(late.developer, body), what="the gate is not off")
        path = late.developer.path_of(body)
        until(lambda: late.admin.request("GET", path)["metadata"].get("finalizers"), what="KServe has not seen it")
        label = {"metadata": {"labels": {"gatehouse.dev/gate": None}}}
        late.admin.request("PATCH", f"/api/v1/namespaces/{late.namespace}", label, content_type=MERGE)
        late.settle(refuses=altered(body, {NAME: "other"}))
        late.developer.request("DELETE", path)
        wait_gone(late.admin, path)


# What should not


def test_no_way_of_a_deployer_leads_through_a_canary_either(gate: Gate) -> None:
    let_in = {}
    for number, (way, changes) in enumerate(CANARY_WAYS.items()):
        service = gate.service({NAME: f"canary-{number}"})
        if sent(gate.developer, altered(altered(service, with_canary(service)), changes)):
            let_in[f"canary-{number}"] = way
    settled(gate)
    found = {pod["metadata"]["name"]: strange(pod) for pod in pods(gate)}
    for name in let_in:
        gate.developer.request("DELETE", gate.developer.path_of(gate.service({NAME: name})))
    assert not {name: each for name, each in found.items() if each}
    # KServe's webhook takes a field that KServe does not know off again, and writes 0 where no share is given.
    assert set(let_in.values()) <= {"another field", "no share"}


def test_no_way_of_a_deployer_leads_to_a_pod_that_loads_anything_but_what_was_vetted(gate: Gate) -> None:
    ways: dict[str, Changes] = {
        **OVERRIDES,
        **{f"URI {name}": {(*MODEL, "storageUri"): uri} for name, uri in URIS.items()},
    }
    let_in = {}
    for number, (way, changes) in enumerate(ways.items()):
        body = gate.service({NAME: f"way-{number}", **changes})
        if sent(gate.developer, body):
            let_in[f"way-{number}"] = way
    settled(gate)
    found = {pod["metadata"]["name"]: strange(pod) for pod in pods(gate)}
    assert not {name: each for name, each in found.items() if each}
    for name in let_in:
        gate.developer.request("DELETE", gate.developer.path_of(gate.service({NAME: name})))
    # KServe's webhook takes the labels of its cache off again; nothing else comes through.
    assert set(let_in.values()) <= {"local model by labels", "local model by annotations"}


def _workload(gate: Gate, kind: str, name: str, template: Manifest) -> Manifest:
    labels = {"app": name}
    metadata = altered(template, {}).get("metadata", {})
    pod = {
        "metadata": {
            "labels": {**metadata.get("labels", {}), **labels},
            "annotations": metadata.get("annotations", {}),
        },
        "spec": template["spec"],
    }
    spec: Manifest = {"template": pod}
    if kind == "Job":
        pod["spec"] = pod["spec"] | {"restartPolicy": "Never"}
    else:
        spec["selector"] = {"matchLabels": labels}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": gate.namespace},
        "spec": spec,
    }


def _ways_of_an_administrator(gate: Gate) -> Iterator[tuple[str, Manifest]]:
    source = f"{INTERNAL}/storage-initializer-sourceuri"
    of_model = {"serving.kserve.io/inferenceservice": "granite"}
    vllm = ["python3", "-m", "vllm.entrypoints.openai.api_server"]

    def container(**more: Any) -> Manifest:
        return {"name": "kserve-container", "image": IMAGE, **more}

    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    templates: Mapping[str, Manifest] = {
        "a bare server": {"spec": {"containers": [container(args=["--model=org/evil"], **gpu)]}},
        "a server called a service's": {
            "metadata": {"labels": of_model},
            "spec": {"containers": [container(command=vllm, args=["--model=org/evil"])]},
        },
        "another artifact by annotation": {
            "metadata": {"labels": of_model, "annotations": {source: EVIL, f"{INTERNAL}/storage-spec": "true"}},
            "spec": {"containers": [container(command=vllm, args=["--port=8080", "--model=/mnt/models"])]},
        },
        "an artifact by annotation and none by label": {
            "metadata": {"annotations": {source: URI}},
            "spec": {"containers": [container(command=vllm, args=["--model=/mnt/models"], **gpu)]},
        },
        "the artifact without a connection": {
            "metadata": {"labels": of_model, "annotations": {source: URI}},
            "spec": {"containers": [container(command=vllm, args=["--port=8080", "--model=/mnt/models"])]},
        },
        "the artifact by another connection": {
            "metadata": {
                "labels": of_model,
                "annotations": {
                    source: URI,
                    f"{INTERNAL}/storage-spec": "true",
                    f"{INTERNAL}/storage-spec-key": "evil",
                },
            },
            "spec": {"containers": [container(command=vllm, args=["--port=8080", "--model=/mnt/models"])]},
        },
        "the cache of models": {
            "metadata": {
                "labels": {**of_model, f"{INTERNAL}/localmodel": "evil"},
                "annotations": {
                    f"{INTERNAL}/localmodel-pvc-name": "evil",
                    f"{INTERNAL}/localmodel-sourceuri": URI,
                    source: URI,
                },
            },
            "spec": {"containers": [container(command=vllm, args=["--port=8080", "--model=/mnt/models"])]},
        },
        "an image with a model": {
            "metadata": {"labels": of_model, "annotations": {source: "oci://registry/evil:1"}},
            "spec": {"containers": [container(command=vllm, args=["--port=8080", "--model=/mnt/models"])]},
        },
    }
    for name, template in templates.items():
        for kind in ("Deployment", "StatefulSet", "ReplicaSet", "Job"):
            yield f"{kind}: {name}", _workload(gate, kind, f"way-{secrets.token_hex(4)}", copy.deepcopy(template))
    v1alpha1 = "serving.kserve.io/v1alpha1"
    kinds: Mapping[str, Manifest] = {
        "TrainedModel": {
            "inferenceService": "granite",
            "model": {"storageUri": EVIL, "framework": "pytorch", "memory": "1Gi"},
        },
        "LLMInferenceService": {"model": {"uri": EVIL, "name": "granite"}},
        "LLMInferenceServiceConfig": {"model": {"uri": EVIL, "name": "granite"}},
        "LocalModelNamespaceCache": {"sourceModelUri": URI, "modelSize": "1Gi", "nodeGroups": ["gpus"]},
    }
    for kind, spec in kinds.items():
        metadata = {"name": f"way-{kind.lower()}", "namespace": gate.namespace}
        yield kind, {"apiVersion": v1alpha1, "kind": kind, "metadata": metadata, "spec": spec}
    for name, changes in {
        "another image": {("spec", "containers", 0, "image"): "evil"},
        "another model": {("spec", "containers", 0, "args"): ["--model=org/evil"]},
        "online": {("spec", "containers", 0, "env"): [{"name": "HF_HUB_OFFLINE", "value": "0"}]},
        "a sidecar": {("spec", "containers", -1): {"name": "sidecar", "image": "evil"}},
        "a cache": {("spec", "labels"): {f"{INTERNAL}/localmodel": "evil"}},
        "a volume in place of the model's": {
            ("spec", "volumes", -1): {
                "name": "kserve-provision-location",
                "persistentVolumeClaim": {"claimName": "evil"},
            }
        },
    }.items():
        yield f"ServingRuntime: {name}", gate.runtime(changes)
        yield f"ServingRuntime of another name: {name}", gate.runtime({NAME: f"way-{secrets.token_hex(4)}", **changes})


def test_no_way_of_an_administrator_of_the_namespace_leads_there_either(gate: Gate, administrator: KubeClient) -> None:
    name, path = deploy(gate)
    until(lambda: bool(pods(gate, name)), what=lambda: said(gate, path))
    let_in: dict[str, str] = {}
    for way, body in _ways_of_an_administrator(gate):
        with contextlib.suppress(ApiRefused):
            applied = administrator.apply(body)
            let_in[way] = administrator.path_of(applied)
    # KServe's own objects, changed under its hands.
    deployment = f"/apis/apps/v1/namespaces/{gate.namespace}/deployments/{name}-predictor"
    for change in (
        {"metadata": {"annotations": {f"{INTERNAL}/storage-initializer-sourceuri": EVIL}}},
        {"metadata": {"labels": {f"{INTERNAL}/localmodel": "evil"}}},
        {"spec": {"initContainers": [{"name": "storage-initializer", "image": "evil"}]}},
        {"spec": {"hostAliases": [{"ip": "10.0.0.9", "hostnames": ["minio.minio"]}]}},
        {"spec": {"volumes": [{"name": "kserve-provision-location", "hostPath": {"path": "/evil"}}]}},
    ):
        with contextlib.suppress(ApiRefused):
            administrator.request("PATCH", deployment, {"spec": {"template": change}}, content_type=MERGE)
    for pod in pods(gate, name):
        where = f"/api/v1/namespaces/{gate.namespace}/pods/{pod['metadata']['name']}"
        for change in (
            {"spec": {"containers": [{"name": "kserve-container", "image": "evil"}]}},
            {"spec": {"initContainers": [{"name": "storage-initializer", "image": "evil"}]}},
        ):
            with contextlib.suppress(ApiRefused):
                strategic = "application/strategic-merge-patch+json"
                administrator.request("PATCH", where, change, content_type=strategic)
    secret = f"/api/v1/namespaces/{gate.namespace}/secrets/storage-config"
    with pytest.raises(ApiRefused, match="gatehouse-connections"):
        administrator.request("PATCH", secret, {"data": {"minio-connection": "e30K"}}, content_type=MERGE)
    settled(gate)
    found = {pod["metadata"]["name"]: strange(pod) for pod in pods(gate)}
    plain = [way for way in let_in if ": a bare server" in way or "none by label" in way]
    assert not {each: found[each] for each in found if found[each]}
    assert not plain, "a Pod with an accelerator that is no model's"
    for where in let_in.values():
        with contextlib.suppress(ApiRefused):
            gate.admin.request("DELETE", where)
    gate.developer.request("DELETE", path)
    wait_gone(gate.admin, path)


def test_developers_and_administrators_are_who_they_are(gate: Gate, administrator: KubeClient) -> None:
    """What is refused above is refused by the gate, not for want of rights."""
    for client in (gate.developer, administrator):
        body = gate.service({NAME: f"m-{secrets.token_hex(4)}"})
        path = client.path_of(send(client, body, query=PERSIST))
        client.request("DELETE", path)
        wait_gone(gate.admin, path)
    assert DEVELOPER != ADMINISTRATOR
