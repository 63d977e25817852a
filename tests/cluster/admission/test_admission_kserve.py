"""KServe at the gate: the Pods that its releases make, what its other parts add to them, and its other kinds."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cluster.gated import ACCELERATOR, DEVELOPER, IMAGE, REFUSED, STAGE, URI, Gate, altered, refusal, send
from cluster.kservepods import KSERVE, OPEN_DATA_HUB, RELEASES, Release
from cluster.rig import until
from cluster.status import Manifest
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

Changes = Mapping[tuple[str | int, ...], Any]

INTERNAL = "internal.serving.kserve.io"
INIT, SERVER, PROXY = ("spec", "initContainers", 0), ("spec", "containers", 0), ("spec", "containers", 1)
EVIL = "s3://models/evil/"


def helpful(said: str, gate: Gate) -> None:
    assert f"stage {STAGE}" in said
    assert gate.namespace in said
    assert "gatehouse explain" in said


# The Pods of its releases


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_the_pod_that_a_release_makes_of_the_template_passes(gate: Gate, release: Release) -> None:
    assert send(gate.developer, gate.pod(release=release))


@pytest.mark.parametrize("release", RELEASES, ids=str)
@pytest.mark.parametrize("uri", [REFUSED, EVIL])
def test_the_pod_that_a_release_makes_of_another_artifact_is_refused(gate: Gate, release: Release, uri: str) -> None:
    said = refusal(gate.developer, gate.pod(uri=uri, release=release))
    helpful(said, gate)
    assert f"with {uri} (stage {STAGE}): the artifact is not cleared for {STAGE}" in said


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_the_pod_of_a_release_that_fetches_another_artifact_than_its_annotation_says_is_refused(
    gate: Gate, release: Release
) -> None:
    said = refusal(gate.developer, gate.pod({(*INIT, "args"): [EVIL, "/mnt/models"]}, release=release))
    helpful(said, gate)
    assert EVIL in said


PROXIES: Mapping[str, Changes] = {
    "another image": {(*PROXY, "image"): "evil"},
    "an image that begins the same": {(*PROXY, "image"): "quay.io/opendatahub/odh-kube-auth-proxy-evil:1"},
    "another server behind it": {(*PROXY, "args", 2): "--upstream=http://evil:8080"},
    "another server at the name's end": {(*PROXY, "args", 2): "--upstream=http://localhost:8080.evil"},
    "another argument": {(*PROXY, "args", -1): "--allow-paths=/v1/*"},
    "a command": {(*PROXY, "command"): ["sh"]},
    "environment": {(*PROXY, "env"): [{"name": "X", "value": "x"}]},
    "a hook": {(*PROXY, "lifecycle"): {"postStart": {"exec": {"command": ["evil"]}}}},
    "a probe that runs something": {(*PROXY, "livenessProbe"): {"exec": {"command": ["evil"]}}},
    "a probe elsewhere": {(*PROXY, "livenessProbe", "httpGet", "host"): "evil"},
    "another place for its configuration": {(*PROXY, "volumeMounts", 1, "mountPath"): "/usr/bin"},
    "another one": {("spec", "containers", -1): {"name": "oauth-proxy", "image": OPEN_DATA_HUB.proxy}},
}


@pytest.mark.parametrize("changes", PROXIES.values(), ids=list(PROXIES))
def test_the_proxy_of_openshift_ai_is_as_it_makes_it(gate: Gate, changes: Changes) -> None:
    helpful(refusal(gate.developer, gate.pod(changes, release=OPEN_DATA_HUB)), gate)


def test_a_proxy_alone_serves_nothing(gate: Gate) -> None:
    pod = gate.pod(release=OPEN_DATA_HUB)
    pod["spec"]["containers"] = pod["spec"]["containers"][1:]
    said = refusal(gate.developer, pod)
    helpful(said, gate)
    assert "kserve-container must be the only container" in said


# What other parts make of its Pods


def container(name: str, image: str, **more: Any) -> Manifest:
    return {"name": name, "image": image, **more}


def modelcar() -> Changes:
    """An artifact in an image, beside the server."""
    folder = {"name": "modelcar", "mountPath": "/mnt"}
    link = ["sh", "-c", "ln -sf /proc/$$$$/root/models /mnt/models && sleep infinity"]
    return {
        ("metadata", "annotations", f"{INTERNAL}/storage-initializer-sourceuri"): "oci://registry/granite:1",
        ("spec", "initContainers"): [container("modelcar-init", "registry/granite:1", args=["sh", "-c", "exit"])],
        ("spec", "containers", -1): container("modelcar", "registry/granite:1", args=link, volumeMounts=[folder]),
        (*SERVER, "env", -1): {"name": "MODEL_INIT_MODE", "value": "async"},
        (*SERVER, "volumeMounts", 2): folder,
        ("spec", "volumes", 2): {"name": "modelcar", "emptyDir": {}},
        ("spec", "shareProcessNamespace"): True,
    }


def native_image() -> Changes:
    return {
        ("metadata", "annotations", f"{INTERNAL}/storage-initializer-sourceuri"): "oci+native://registry/granite:1",
        ("spec", "initContainers"): None,
        ("spec", "volumes", 2): {"name": "modelcar", "image": {"reference": "registry/granite:1"}},
        (*SERVER, "volumeMounts", 2): {"name": "modelcar", "mountPath": "/mnt/models", "subPath": "models"},
    }


def local_model() -> Changes:
    """The cache of models on nodes, by LocalModelCache or LocalModelNamespaceCache."""
    return {
        ("metadata", "labels", f"{INTERNAL}/localmodel"): "granite",
        ("metadata", "annotations", f"{INTERNAL}/localmodel-sourceuri"): URI,
        ("metadata", "annotations", f"{INTERNAL}/localmodel-pvc-name"): "granite-gpus",
        ("spec", "initContainers"): None,
        ("spec", "volumes", 2): {
            "name": "kserve-pvc-source",
            "persistentVolumeClaim": {"claimName": "granite-gpus", "readOnly": False},
        },
        (*SERVER, "volumeMounts", 2): {
            "name": "kserve-pvc-source",
            "mountPath": "/mnt/models",
            "subPath": "models/granite/",
            "readOnly": True,
        },
    }


def puller() -> Changes:
    """The agent that loads TrainedModels."""
    arguments = ["--enable-puller", "--config-dir", "/mnt/configs", "--model-dir", "/mnt/models"]
    mounts = [{"name": "model-dir", "mountPath": "/mnt/models"}, {"name": "model-config", "mountPath": "/mnt/configs"}]
    return {
        ("metadata", "annotations", f"{INTERNAL}/agent"): "true",
        ("spec", "initContainers"): None,
        ("spec", "containers", -1): container("agent", "kserve/agent:v0.20.0", args=arguments, volumeMounts=mounts),
        ("spec", "volumes", -1): {"name": "model-config", "configMap": {"name": "modelconfig-granite-0"}},
        ("spec", "volumes", 2): {"name": "model-dir", "emptyDir": {}},
        (*SERVER, "volumeMounts", 2): {"name": "model-dir", "mountPath": "/mnt/models"},
    }


def with_another_initializer(**changes: Any) -> Changes:
    """What KServe makes of a ClusterStorageContainer for the URI: it is laid over the initializer."""
    return {(*INIT, field): value for field, value in changes.items()}


ADDITIONS: Mapping[str, Changes] = {
    "the agent of a logger": {
        ("spec", "containers", -1): container("agent", "kserve/agent:v0.20.0", args=["--log-url", "http://evil"])
    },
    "the agent of a batcher": {
        ("spec", "containers", -1): container("agent", "kserve/agent:v0.20.0", args=["--enable-batcher"])
    },
    "the agent of TrainedModels": puller(),
    "the proxy of Istio": {
        ("spec", "containers", -1): container("istio-proxy", "docker.io/istio/proxyv2:1.27.1"),
        ("spec", "initContainers", -1): container("istio-init", "docker.io/istio/proxyv2:1.27.1"),
    },
    "the proxy of Istio as an init container that stays": {
        ("spec", "initContainers", -1): container("istio-proxy", "istio/proxyv2:1.27.1", restartPolicy="Always")
    },
    "the proxy of OpenShift AI before 3.0": {
        ("spec", "containers", -1): container("oauth-proxy", "registry.redhat.io/openshift4/ose-oauth-proxy:v4.14")
    },
    "versions for OpenVINO": {
        ("spec", "initContainers", -1): container(
            "ovms-auto-versioning",
            "registry.redhat.io/ubi9/ubi-micro:9.6",
            command=["/bin/sh"],
            volumeMounts=[{"name": "kserve-provision-location", "mountPath": "/mnt/models"}],
        )
    },
    "a transformer beside it": {("spec", "containers", -1): container("transformer-container", "evil")},
    "an artifact in an image": modelcar(),
    "an image as a volume": native_image(),
    "a cache of models": local_model(),
    "a storage container with another image": with_another_initializer(image="evil/storage-initializer:v1"),
    "a storage container with another name": with_another_initializer(name="fetcher"),
    "a storage container with a command": with_another_initializer(command=["sh", "-c", "evil"]),
    "a storage container with arguments": with_another_initializer(args=[EVIL, "/mnt/models"]),
    "a storage container with more arguments": with_another_initializer(args=[URI, "/mnt/models", EVIL, "/mnt/x"]),
    "a storage container with another server": with_another_initializer(
        env=[{"name": "AWS_ENDPOINT_URL", "value": "http://evil"}]
    ),
    "a storage container with code": with_another_initializer(env=[{"name": "PYTHONPATH", "value": "/srv"}]),
    "a storage container with a folder to work in": with_another_initializer(workingDir="/srv"),
    "a storage container with a mount": {
        (*INIT, "volumeMounts", -1): {"name": "kserve-provision-location", "mountPath": "/srv"}
    },
    "kserve-vllmserver of the cluster": {
        (*SERVER, "image"): "vllm/vllm-openai:v0.18.0",
        (*SERVER, "command"): ["python", "-m", "vllm.entrypoints.openai.api_server"],
        (*SERVER, "args"): ["--port=8080", "--served-model-name=granite", "--model=/mnt/models"],
        (*SERVER, "env"): [{"name": "HF_HOME", "value": "/tmp"}],  # noqa: S108 - in the container
    },
    "kserve-huggingfaceserver of the cluster": {
        (*SERVER, "image"): "kserve/huggingfaceserver:v0.20.0-gpu",
        (*SERVER, "command"): None,
        (*SERVER, "args"): ["--model_name=granite", "--model_dir=/mnt/models"],
    },
    "a runtime of the cluster with the vetted image and another model": {
        (*SERVER, "image"): IMAGE,
        (*SERVER, "args"): ["--port=8080", "--served-model-name=granite", "--model=org/evil"],
    },
    "a runtime of the cluster with code from the node": {
        ("spec", "volumes", -1): {"name": "code", "hostPath": {"path": "/srv"}},
        (*SERVER, "volumeMounts", -1): {"name": "code", "mountPath": "/usr/lib/python3/dist-packages"},
    },
    "a runtime of the cluster with the node's processes": {("spec", "hostPID"): True},
}


@pytest.mark.parametrize("changes", ADDITIONS.values(), ids=list(ADDITIONS))
def test_what_other_parts_of_kserve_add_or_replace_is_refused(gate: Gate, changes: Changes) -> None:
    helpful(refusal(gate.developer, gate.pod(changes, release=KSERVE)), gate)


def graph_pod(gate: Gate, changes: Changes | None = None) -> Manifest:
    """The Pod of an InferenceGraph, which copies the graph's own labels and annotations."""
    return altered(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "graph",
                "namespace": gate.namespace,
                "labels": {"app": "isvc.graph", "serving.kserve.io/inferencegraph": "graph"},
                "annotations": {},
            },
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [
                    container("graph", "kserve/router:v0.20.0", args=["--graph-json", '{"nodes":{"root":{}}}'])
                ],
            },
        },
        changes or {},
    )


SOURCE = ("metadata", "annotations", f"{INTERNAL}/storage-initializer-sourceuri")
LABEL = ("metadata", "labels", "serving.kserve.io/inferenceservice")
GRAPHS: Mapping[str, Changes] = {
    "with an accelerator": {("spec", "containers", 0, "resources"): {"limits": {ACCELERATOR: "1"}}},
    "with an artifact by annotation": {SOURCE: URI},
    "called an InferenceService's": {LABEL: "granite"},
    "called an InferenceService's, with an artifact and an accelerator": {
        LABEL: "granite",
        SOURCE: URI,
        ("spec", "containers", 0, "resources"): {"limits": {ACCELERATOR: "1"}},
    },
}


@pytest.mark.parametrize("changes", GRAPHS.values(), ids=list(GRAPHS))
def test_the_pod_of_an_inference_graph_loads_no_model(gate: Gate, changes: Changes) -> None:
    helpful(refusal(gate.developer, graph_pod(gate, changes)), gate)


def test_the_pod_of_an_inference_graph_that_passes_requests_on_passes(gate: Gate) -> None:
    assert send(gate.developer, graph_pod(gate))


# Its other kinds


@pytest.fixture(scope="module")
def tenant(gate: Gate) -> Iterator[KubeClient]:
    """The developer with every right to KServe's namespaced kinds, as some distributions give to tenants."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "test-kserve-edit", "namespace": gate.namespace},
        "rules": [{"apiGroups": ["serving.kserve.io"], "resources": ["*"], "verbs": ["*"]}],
    }
    binding = {
        "apiVersion": role["apiVersion"],
        "kind": "RoleBinding",
        "metadata": copy.deepcopy(role["metadata"]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "test-kserve-edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": DEVELOPER}],
    }
    gate.admin.apply(role)
    gate.admin.apply(binding)
    path = f"/apis/serving.kserve.io/v1alpha1/namespaces/{gate.namespace}/trainedmodels"
    until(lambda: listed(gate.developer, path), what="the tenant has no rights")
    yield gate.developer
    for body in (binding, role):
        gate.admin.request("DELETE", gate.admin.path_of(body))


def listed(client: KubeClient, path: str) -> bool:
    with contextlib.suppress(ApiRefused):
        client.request("GET", path)
        return True
    return False


OTHER_KINDS: Mapping[str, Manifest] = {
    "LLMInferenceServiceConfig": {"model": {"uri": EVIL, "name": "granite"}},
    "TrainedModel": {
        "inferenceService": "granite",
        "model": {"storageUri": EVIL, "framework": "pytorch", "memory": "1Gi"},
    },
    "LocalModelNamespaceCache": {"sourceModelUri": EVIL, "modelSize": "10Gi", "nodeGroups": ["gpus"]},
}


def of_another_kind(kind: str, gate: Gate) -> Manifest:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "other", "namespace": gate.namespace},
        "spec": copy.deepcopy(OTHER_KINDS[kind]),
    }


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_kind_that_loads_models_unvetted_is_refused_with_the_way(gate: Gate, tenant: KubeClient, kind: str) -> None:
    for client in (tenant, gate.admin):
        said = refusal(client, of_another_kind(kind, gate))
        helpful(said, gate)
        assert f"{kind} {gate.namespace}/other with {EVIL} (stage {STAGE})" in said
        assert "InferenceServices only" in said


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_one_from_before_the_gate_is_finalized_and_deleted_and_not_changed(gate: Gate, kind: str) -> None:
    with gate.another(stage=STAGE, gate="Off") as late:
        body = of_another_kind(kind, late)
        until(lambda: passes(late.admin, body), what="the gate is not off")
        send(late.admin, body, query="fieldManager=test")
        path = late.admin.path_of(body)
        labels = {"metadata": {"labels": {"gatehouse.dev/gate": None}}}
        merge = "application/merge-patch+json"
        late.admin.request("PATCH", f"/api/v1/namespaces/{late.namespace}", labels, content_type=merge)
        other = altered(body, {("metadata", "name"): "another"})
        until(lambda: not passes(late.admin, other), what="the gate is still off")
        for finalizers in (["test.example.com/x"], None):
            assert late.admin.request("PATCH", path, {"metadata": {"finalizers": finalizers}}, content_type=merge)
        with pytest.raises(ApiRefused, match="InferenceServices only"):
            late.admin.request("PATCH", path, {"spec": {"x": "y"}}, content_type=merge)
        late.admin.request("DELETE", path)


def passes(client: KubeClient, body: Manifest) -> bool:
    with contextlib.suppress(ApiRefused):
        send(client, body)
        return True
    return False


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_pass_where_there_is_no_stage(gate: Gate, kind: str) -> None:
    with gate.another() as free:
        assert send(free.admin, of_another_kind(kind, free))
