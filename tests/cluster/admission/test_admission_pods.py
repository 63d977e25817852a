"""Pods, runtimes and KServe's other kinds at the gate: what is loaded, and who asks for an accelerator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cluster.admission.podways import PODS
from cluster.gated import (
    ACCELERATOR,
    ADDED_VARIABLES,
    DIGEST,
    HARMLESS_RESOURCE,
    IMAGE,
    REASON,
    REFUSED,
    RETAINED,
    STAGE,
    Gate,
    altered,
    refusal,
    send,
    vetted,
)
from cluster.status import Manifest
from gatehouse.api.model_registry import ServingDefaults
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

Changes = Mapping[tuple[str | int, ...], Any]

INIT, SERVER = ("spec", "initContainers", 0), ("spec", "containers", 0)
LABEL = ("metadata", "labels", "serving.kserve.io/inferenceservice")
SOURCE = ("metadata", "annotations", "internal.serving.kserve.io/storage-initializer-sourceuri")
DIGEST_AT = ("metadata", "annotations", "gatehouse.dev/artifact-digest")
EVIL = "s3://models/evil/"
GPU = {"limits": {ACCELERATOR: "1"}}


def helpful(said: str, gate: Gate) -> None:
    assert f"stage {STAGE}" in said
    assert gate.namespace in said
    assert "gatehouse explain" in said


# Pods of InferenceServices


def test_the_pod_that_kserve_makes_of_the_template_passes(gate: Gate) -> None:
    assert send(gate.developer, gate.pod())


def test_the_pod_of_what_may_go_on_passes_where_it_was_admitted_and_nowhere_else(gate: Gate) -> None:
    assert send(gate.developer, gate.pod(uri=RETAINED))
    with gate.another(stage=STAGE) as other:
        other.settle(accepts=other.pod())
        assert "is not cleared" in refusal(other.developer, other.pod(uri=RETAINED))


@pytest.mark.parametrize("digest", [f"sha256:{'e' * 64}", "", None])
@pytest.mark.parametrize("uri", [None, RETAINED])
def test_a_pod_says_the_digest_of_the_artifact_that_it_loads(gate: Gate, uri: str | None, digest: str | None) -> None:
    pod = gate.pod() if uri is None else gate.pod(uri=uri)
    said = refusal(gate.developer, altered(pod, {DIGEST_AT: digest}))
    assert f"the annotation {DIGEST_AT[-1]} is {digest or 'absent'}, and the vetted digest is {DIGEST}" in said
    helpful(said, gate)


@pytest.mark.parametrize(
    "image", ["docker.io/kserve/storage-initializer:v0.20.0", "kserve/storage-initializer:v0.17.0"]
)
def test_kserves_own_image_passes_under_its_names(gate: Gate, image: str) -> None:
    assert send(gate.developer, gate.pod({(*INIT, "image"): image}))


def test_a_bucket_that_was_verified_by_its_hosts_name_is_loaded_so(gate: Gate) -> None:
    hosted = gate.pod({(*INIT, "env", -1): {"name": "S3_USER_VIRTUAL_BUCKET", "value": "true"}})
    assert "storage-initializer.env S3_USER_VIRTUAL_BUCKET" in refusal(gate.developer, hosted)
    assert send(gate.developer, gate.pod({(*INIT, "env", -1): {"name": "S3_USER_VIRTUAL_BUCKET", "value": "false"}}))
    try:
        gate.vet(vetted(f"{STAGE}/models", virtual_host=True))
        gate.settle(accepts=hosted)
    finally:
        gate.vet(vetted(f"{STAGE}/models"))
        gate.settle(refuses=hosted)


def test_a_pod_whose_artifact_is_not_cleared_is_refused_with_the_reason(gate: Gate) -> None:
    said = refusal(gate.developer, gate.pod(uri=REFUSED))
    assert f"{REFUSED} (stage {STAGE}): the artifact is not cleared for {STAGE}: {REASON}" in said
    assert "gatehouse explain tampered-1 -n private-ai" in said


@pytest.mark.parametrize("changes", PODS.values(), ids=list(PODS))
def test_a_pod_of_a_service_loads_the_vetted_artifact_and_nothing_else(gate: Gate, changes: Changes) -> None:
    helpful(refusal(gate.developer, gate.pod(changes)), gate)


def test_a_pod_that_runs_is_not_changed_into_another(gate: Gate) -> None:
    pod = gate.pod()
    path = gate.developer.path_of(pod)
    send(gate.developer, pod, query="fieldManager=test")
    try:
        for body, where in (
            ({"spec": {"containers": [{"name": "kserve-container", "image": "evil"}]}}, path),
            ({"spec": {"initContainers": [{"name": "storage-initializer", "image": "evil"}]}}, path),
            ({"metadata": {"labels": {LABEL[-1]: None}}}, path),
            (
                {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "evil"}]}},
                f"{path}/ephemeralcontainers",
            ),
        ):
            with pytest.raises(ApiRefused, match="gatehouse explain"):
                gate.admin.request(
                    "PATCH", f"{where}?dryRun=All", body, content_type="application/strategic-merge-patch+json"
                )
        harmless = {"metadata": {"annotations": {"note": "x"}, "finalizers": ["test.example.com/x"]}}
        assert gate.developer.request(
            "PATCH", f"{path}?dryRun=All", harmless, content_type="application/merge-patch+json"
        )
    finally:
        gate.developer.request("DELETE", path)


# Accelerators


def plain_pod(gate: Gate, changes: Changes | None = None) -> Manifest:
    container = {"name": "main", "image": IMAGE, "args": ["--model=org/evil"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain", "namespace": gate.namespace},
        "spec": {"containers": [container]},
    }
    return altered(pod, changes or {})


def asking(resource: str) -> Changes:
    return {(*SERVER, "resources"): {"limits": {resource: "1"}}}


def annotated(key: str) -> Changes:
    return {("metadata", "annotations"): {key: "0.5"}}


def with_variable(name: str, value: str = "all") -> Changes:
    return {(*SERVER, "env"): [{"name": name, "value": value}]}


CLAIM = {"name": "gpu", "resourceClaimName": "gpu"}
# What asks, and by which name the refusal says so.
ASKING: Mapping[str, tuple[Changes, str]] = {
    **{
        resource: (asking(resource), resource)
        for resource in (
            ACCELERATOR,
            *("nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "amd.com/gpu", "habana.ai/gaudi", "gpu.intel.com/i915"),
            *(
                "aws.amazon.com/neuron",
                "google.com/tpu",
                "example.com/vgpu",
                "huawei.com/Ascend910",
                "volcano.sh/vgpu-memory",
            ),
            *("deviceclass.resource.kubernetes.io/gpu.nvidia.com", "example.com/whatever", "rdma/hca"),
        )
    },
    "an init container": (
        {("spec", "initContainers"): [{"name": "first", "image": "x", "resources": GPU}]},
        ACCELERATOR,
    ),
    "a second container": (
        {("spec", "containers", -1): {"name": "second", "image": "x", "resources": GPU}},
        ACCELERATOR,
    ),
    "a claim": ({("spec", "resourceClaims"): [CLAIM]}, "spec.resourceClaims gpu"),
    "a share, by Run:ai or KAI": (annotated("gpu-fraction"), "the annotation gpu-fraction"),
    "memory, by Run:ai or KAI": (annotated("gpu-memory"), "the annotation gpu-memory"),
    "several, by KAI": (annotated("gpu-fraction-num-devices"), "the annotation gpu-fraction-num-devices"),
    "a device of CDI": (annotated("cdi.k8s.io/x"), "the annotation cdi.k8s.io/x"),
    "HAMi": (annotated("hami.io/vgpu-mode"), "the annotation hami.io/vgpu-mode"),
    "the variable of NVIDIA's runtime": (
        with_variable("NVIDIA_VISIBLE_DEVICES"),
        "the variable NVIDIA_VISIBLE_DEVICES",
    ),
    "the mount of NVIDIA's runtime": (
        {
            ("spec", "volumes"): [{"name": "x", "emptyDir": {}}],
            (*SERVER, "volumeMounts"): [{"name": "x", "mountPath": "/var/run/nvidia-container-devices/all"}],
        },
        "the mount /var/run/nvidia-container-devices/all",
    ),
}


@pytest.mark.parametrize(("changes", "named"), ASKING.values(), ids=list(ASKING))
def test_a_bare_pod_that_asks_for_an_accelerator_is_refused_by_its_name(
    gate: Gate, changes: Changes, named: str
) -> None:
    said = refusal(gate.developer, plain_pod(gate, changes))
    helpful(said, gate)
    assert f"Pod {gate.namespace}/plain requests {named} with " in said
    assert "gatehouse.dev/accelerators=Allow" in said
    assert "spec.serving.allowedResources" in said


BARE: Mapping[str, Changes] = {
    "nothing": {},
    "what every node has": {
        (*SERVER, "resources"): {
            "requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"},
            "limits": {"cpu": "2", "memory": "1Gi", "hugepages-2Mi": "2Mi"},
        }
    },
    "what a registry allows": asking(HARMLESS_RESOURCE),
    "no device at all": with_variable("NVIDIA_VISIBLE_DEVICES", "void"),
    "resources of the Pod": {("spec", "resources"): {"limits": {"cpu": "1", "memory": "1Gi"}}},
}


@pytest.mark.parametrize("changes", BARE.values(), ids=list(BARE))
def test_a_bare_pod_without_an_accelerator_passes(gate: Gate, changes: Changes) -> None:
    assert send(gate.developer, plain_pod(gate, changes))


def workload(gate: Gate, kind: str) -> Manifest:
    """One that runs vLLM on a GPU."""
    spec = plain_pod(gate, {(*SERVER, "resources"): GPU})["spec"]
    labels = {"app": "vllm"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    job = {"template": {"spec": {**spec, "restartPolicy": "Never"}}}
    bodies: Mapping[str, tuple[str, Manifest]] = {
        "Deployment": ("apps/v1", {"selector": {"matchLabels": labels}, "template": template}),
        "StatefulSet": ("apps/v1", {"selector": {"matchLabels": labels}, "serviceName": "x", "template": template}),
        "DaemonSet": ("apps/v1", {"selector": {"matchLabels": labels}, "template": template}),
        "ReplicaSet": ("apps/v1", {"selector": {"matchLabels": labels}, "template": template}),
        "ReplicationController": ("v1", {"template": template}),
        "PodTemplate": ("v1", {}),
        "Job": ("batch/v1", job),
        "CronJob": ("batch/v1", {"schedule": "0 * * * *", "jobTemplate": {"spec": job}}),
    }
    version, body = bodies[kind]
    if kind == "PodTemplate":
        metadata = {"name": "vllm", "namespace": gate.namespace}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, "template": template}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "vllm", "namespace": gate.namespace},
        "spec": body,
    }


KINDS = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "PodTemplate",
    "Job",
    "CronJob",
)


def test_every_kind_of_kubernetes_that_carries_the_template_of_a_pod_is_looked_at(gate: Gate) -> None:
    """From the API server's own schema: a kind that a release adds is named here."""
    templates, found = {"io.k8s.api.core.v1.PodTemplateSpec"}, set[str]()
    schemas: dict[str, Mapping[str, Any]] = {}
    for path in gate.admin.request("GET", "/openapi/v3")["paths"]:
        if path == "api/v1" or (path.startswith("apis/") and ".k8s.io" not in path and "." not in path.split("/")[1]):
            schemas |= gate.admin.request("GET", f"/openapi/v3/{path}")["components"]["schemas"]
    for _ in range(4):
        templates |= {name for name, schema in schemas.items() if carries(schema, templates)}
    for name in templates:
        kinds = schemas[name].get("x-kubernetes-group-version-kind", [])
        found |= {each["kind"] for each in kinds if not each["kind"].endswith("List")}
    assert found == set(KINDS)


def carries(schema: Mapping[str, Any], templates: set[str]) -> bool:
    """Whether a field refers to one of the schemas."""
    said = json.dumps(schema.get("properties", {}))
    return any(f'/{name}"' in said for name in templates)


def who_makes(gate: Gate, kind: str) -> KubeClient:
    """Editors have no right to PodTemplates."""
    return gate.admin if kind == "PodTemplate" else gate.developer


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_workload_with_vllm_on_a_gpu_is_refused(gate: Gate, kind: str) -> None:
    said = refusal(who_makes(gate, kind), workload(gate, kind))
    helpful(said, gate)
    assert f"{kind} {gate.namespace}/vllm requests {ACCELERATOR} with " in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_workload_in_a_namespace_that_may_have_accelerators_passes(gate: Gate, kind: str) -> None:
    with gate.another(stage=STAGE, accelerators="Allow") as allowed:
        allowed.settle(refuses=allowed.service(uri=REFUSED), accepts=workload(allowed, "Deployment"))
        assert send(who_makes(allowed, kind), workload(allowed, kind))


def test_a_workload_from_before_the_gate_may_be_scaled_and_not_changed(gate: Gate) -> None:
    with gate.another(stage=STAGE, gate="Off") as late:
        deployment = workload(late, "Deployment")
        late.settle(accepts=deployment)
        send(late.developer, altered(deployment, {("spec", "replicas"): 0}), query="fieldManager=test")
        late.admin.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": late.namespace, "labels": {"gatehouse.dev/stage": STAGE}},
            }
        )
        late.settle(refuses=altered(deployment, {("metadata", "name"): "other"}))
        path = f"{late.developer.path_of(deployment)}?dryRun=All"

        def patch(spec: Manifest) -> Manifest:
            return late.developer.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")

        assert patch({"replicas": 1})
        with pytest.raises(ApiRefused, match="accelerators there are only for models"):
            patch({"template": {"spec": {"terminationGracePeriodSeconds": 5}}})


# Runtimes


RUNTIMES: Mapping[str, Changes] = {
    "another image": {(*SERVER, "image"): "evil"},
    "another command": {(*SERVER, "command"): ["evil"]},
    "another model": {(*SERVER, "args", -1): "--model=org/evil"},
    "the network for models": {(*SERVER, "env", 1): {"name": "HF_HUB_OFFLINE", "value": "0"}},
    "a plugin": {(*SERVER, "env", -1): {"name": "VLLM_PLUGINS", "value": "evil"}},
    "a template in the environment": {(*SERVER, "env", -1): {"name": "X", "value": "{{index .Labels `x`}}"}},
    "environment by reference": {
        (*SERVER, "env", -1): {"name": "X", "valueFrom": {"secretKeyRef": {"name": "evil", "key": "x"}}}
    },
    "environment from elsewhere": {(*SERVER, "envFrom"): [{"configMapRef": {"name": "evil"}}]},
    "a hook": {(*SERVER, "lifecycle"): {"postStart": {"exec": {"command": ["evil"]}}}},
    "a probe that runs something": {(*SERVER, "livenessProbe"): {"exec": {"command": ["evil"]}}},
    "a probe elsewhere": {(*SERVER, "livenessProbe", "httpGet", "host"): "evil"},
    "a mount": {(*SERVER, "volumeMounts", -1): {"name": "shm", "mountPath": "/mnt/models"}},
    "a volume": {("spec", "volumes", -1): {"name": "evil", "persistentVolumeClaim": {"claimName": "evil"}}},
    "a sidecar": {("spec", "containers", -1): {"name": "sidecar", "image": IMAGE}},
    "another container": {(*SERVER, "name"): "main"},
    "labels of KServe's own": {("spec", "labels"): {"internal.serving.kserve.io/localmodel": "evil"}},
    "annotations of KServe's own": {("spec", "annotations", "internal.serving.kserve.io/localmodel-pvc-name"): "evil"},
    "workers": {("spec", "workerSpec"): {"containers": [{"name": "worker", "image": "evil"}]}},
    "an adapter": {("spec", "builtInAdapter"): {"serverType": "triton", "env": []}},
    "no command": {(*SERVER, "command"): None},
    "no arguments": {(*SERVER, "args"): None},
    "no variable that keeps it off the network": {(*SERVER, "env"): [{"name": "TZ", "value": "UTC"}]},
    "a variable of CUDA that is a library": {(*SERVER, "env", -1): {"name": "CUDA_INJECTION64_PATH", "value": "x"}},
    "a plugin of NCCL": {(*SERVER, "env", -1): {"name": "NCCL_NET_PLUGIN", "value": "x"}},
    "another home": {(*SERVER, "env", -1): {"name": "HOME", "value": "/mnt/models"}},
    "a value that is not of the list": {(*SERVER, "env", -1): {"name": "TZ", "value": "/x"}},
    "a privileged server": {(*SERVER, "securityContext"): {"privileged": True}},
    "a capability": {(*SERVER, "securityContext"): {"capabilities": {"add": ["SYS_ADMIN"]}}},
    "a port of the node": {(*SERVER, "ports", 0, "hostPort"): 8080},
    "the node's names": {("spec", "hostNetwork"): True},
    "an empty folder over code": {(*SERVER, "volumeMounts", -1): {"name": "shm", "mountPath": "/usr/lib/python3"}},
    "the model's folder in another spelling": {
        (*SERVER, "volumeMounts", -1): {"name": "shm", "mountPath": "/mnt//models"}
    },
    "a part of a folder": {(*SERVER, "volumeMounts", 0, "subPath"): "x"},
}


@pytest.mark.parametrize("changes", RUNTIMES.values(), ids=list(RUNTIMES))
def test_a_runtime_is_as_gatehouse_emits_it(gate: Gate, changes: Changes) -> None:
    said = refusal(gate.developer, gate.runtime(changes))
    helpful(said, gate)
    assert "gatehouse template" in said


RUNTIME_USES: Mapping[str, Changes] = {
    "for a registry of images": {("spec", "imagePullSecrets"): [{"name": "x"}]},
    "a read-only root": {
        (*SERVER, "securityContext"): {"readOnlyRootFilesystem": True, "runAsUser": 1000, "runAsNonRoot": True},
        ("spec", "volumes", -1): {"name": "tmp", "emptyDir": {}},
        (*SERVER, "volumeMounts", -1): {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
    },
    "other probes": {(*SERVER, "livenessProbe"): {"tcpSocket": {"port": 8080}, "periodSeconds": 5}},
}


@pytest.mark.parametrize("changes", RUNTIME_USES.values(), ids=list(RUNTIME_USES))
def test_a_runtime_may_have_what_changes_neither_bytes_nor_code(gate: Gate, changes: Changes) -> None:
    assert send(gate.developer, gate.runtime(changes))


def test_a_runtime_that_was_emitted_is_not_edited_in_place(gate: Gate) -> None:
    runtime = gate.runtime()
    path = gate.developer.path_of(runtime)
    send(gate.developer, runtime, query="fieldManager=test")
    try:
        assert send(gate.developer, gate.developer.request("GET", path), method="PUT")
        labels = {"metadata": {"labels": {"team": "x"}}}
        merge = "application/merge-patch+json"
        assert gate.developer.request("PATCH", f"{path}?dryRun=All", labels, content_type=merge)
        env = [*runtime["spec"]["containers"][0]["env"], {"name": "TZ", "value": "UTC"}]
        changed = altered(gate.developer.request("GET", path), {(*SERVER, "env"): env})
        said = refusal(gate.developer, changed, method="PUT")
        helpful(said, gate)
        assert "the name of the runtime is a hash of its content, which never changes" in said
        assert send(gate.admin, changed, method="PUT")
    finally:
        gate.developer.request("DELETE", path)


def test_a_runtime_with_a_version_s_own_environment_passes(gate: Gate) -> None:
    serving = {"env": [{"name": "VLLM_LOGGING_LEVEL", "value": "WARNING"}, {"name": "TEAM_MODE", "value": "fast"}]}
    defaults = ServingDefaults(allowed_environment=list(ADDED_VARIABLES))
    assert send(gate.developer, gate.runtime(serving=serving, defaults=defaults))


def test_a_runtime_of_another_shape_is_applied_by_an_administrator_of_the_stage(gate: Gate) -> None:
    assert send(gate.admin, gate.runtime({(*SERVER, "image"): "quay.io/modh/vllm:rhoai-2.25"}))


# The Secrets that say where models are


def secret(gate: Gate, name: str, *, managed: bool = False) -> Manifest:
    labels = {"opendatahub.io/managed": "true"} if managed else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": gate.namespace, "labels": labels},
        "stringData": {"minio-connection": '{"type": "s3", "endpoint_url": "http://evil"}'},
    }


@pytest.mark.parametrize(("name", "managed"), [("storage-config", False), ("minio-connection", True)])
def test_the_same_uri_is_not_fetched_from_another_server(gate: Gate, name: str, managed: bool) -> None:
    body = secret(gate, name, managed=managed)
    said = refusal(gate.developer, body)
    assert f"Secret {gate.namespace}/{name} (stage {STAGE}) names the server that vetted models are loaded from" in said
    assert "gatehouse-stage-admin" in said
    assert send(gate.admin, body)


def test_a_connection_that_is_there_is_not_pointed_elsewhere(gate: Gate) -> None:
    body = secret(gate, "minio-connection", managed=True)
    path = gate.developer.path_of(body)
    send(gate.admin, body, query="fieldManager=test")
    try:
        for change in ({"stringData": {"AWS_S3_ENDPOINT": "http://evil"}}, {"metadata": {"labels": None}}):
            with pytest.raises(ApiRefused, match="names the server that vetted models are loaded from"):
                gate.developer.request("PATCH", path, change, content_type="application/merge-patch+json")
    finally:
        gate.admin.request("DELETE", path)


def test_other_secrets_are_nobody_s_business(gate: Gate) -> None:
    assert send(gate.developer, secret(gate, "of-the-team"))


# How strict a namespace is


@pytest.mark.parametrize("strictness", ["Off", "Warn"])
def test_a_namespace_that_is_not_held_to_it_lets_in(gate: Gate, strictness: str) -> None:
    with gate.another(stage=STAGE, gate=strictness) as lenient:
        lenient.settle(accepts=lenient.service(uri=REFUSED))
        assert send(lenient.developer, lenient.service(uri=REFUSED))
        assert send(lenient.developer, workload(lenient, "Deployment"))


def test_a_word_that_is_none_of_the_three_is_held_to_it(gate: Gate) -> None:
    with gate.another(stage=STAGE, gate="off") as held:
        held.settle(refuses=held.service(uri=REFUSED))
        assert REASON in refusal(held.developer, held.service(uri=REFUSED))


def test_a_namespace_without_a_stage_is_not_gated(gate: Gate) -> None:
    with gate.another() as free:
        free.settle(accepts=free.service(uri=REFUSED))
        assert send(free.developer, workload(free, "Deployment"))
