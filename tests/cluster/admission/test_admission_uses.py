"""What a deployer may set beside the template, what KServe's own webhook adds, and what a refusal says to write.

Whatever an InferenceService may have its Pods may have too, and docs/admission.md has the whole list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from cluster.admission.fields import ANNOTATIONS, LABELS, MODEL, PREDICTOR, Changes
from cluster.admission.policy_texts import words
from cluster.admission.uses import KSERVE_IO, USES
from cluster.gated import DIGEST, STAGE, URI, Gate, accepted, altered, good_runtime, refusal, send
from cluster.kservepods import KSERVE, RELEASES, Release, kserve_pod, mutated_by_kserve
from gatehouse.install.shipped_files import shipped
from gatehouse_local.errors import ApiRefused

INTERNAL: Final = "internal.serving.kserve.io"
SHAPE: Final = "gatehouse-inferenceservice-shape"
MERGE: Final = "application/merge-patch+json"


KSERVE_HARDENED: Final = replace(KSERVE, hardened=True)


@pytest.fixture(scope="module", autouse=True)
def classes(gate: Gate) -> None:
    """The classes that the uses name: the API server looks them up."""
    for version, kind, name, spec in (
        ("scheduling.k8s.io/v1", "PriorityClass", "inference", {"value": 1000, "preemptionPolicy": "Never"}),
        ("node.k8s.io/v1", "RuntimeClass", "nvidia", {"handler": "nvidia"}),
    ):
        gate.admin.apply({"apiVersion": version, "kind": kind, "metadata": {"name": name}, **spec})


@pytest.mark.parametrize("changes", USES.values(), ids=list(USES))
def test_what_changes_neither_bytes_nor_code_passes_and_its_pods_too(gate: Gate, changes: Changes) -> None:
    service = gate.service(changes)
    assert send(gate.developer, service)
    assert send(gate.developer, mutated_by_kserve(service))
    assert send(gate.developer, kserve_pod(service, good_runtime(gate.namespace)))


def test_every_field_of_the_list_is_used() -> None:
    """The table above grows with the lists of the policy."""
    template = {"model", "containerConcurrency", "timeout"}
    used = {path[2] for changes in USES.values() for path in changes if path[:2] == PREDICTOR}
    assert set(words(SHAPE, "predictorFields")) <= used | template
    of_model = {path[3] for changes in USES.values() for path in changes if path[:3] == MODEL}
    emitted = {"modelFormat", "name", "protocolVersion", "runtime", "storage", "storageUri"}
    assert set(words(SHAPE, "modelFields")) <= of_model | emitted


def test_the_docs_have_the_list() -> None:
    text = shipped("docs/admission.md").read_text()
    section = text.split("## Fields of an InferenceService\n")[1].split("\n## ")[0]
    rows = {row[0]: row[1] for row in re.findall(r"^\| `([^`]+)` \| (.*?) \|", section, re.MULTILINE)}
    listed = {place: set(re.findall(r"`([^`]+)`", cell)) for place, cell in rows.items()}
    assert listed == {
        "spec.predictor": set(words(SHAPE, "predictorFields")),
        "spec.predictor.model": set(words(SHAPE, "modelFields")),
        "spec.predictor.model.*Probe": set(words(SHAPE, "probeFields")),
        "spec.predictor.securityContext": set(words(SHAPE, "podSecurityFields")),
        "spec.predictor.model.securityContext": set(words(SHAPE, "securityFields")),
        "metadata.annotations": set(words(SHAPE, "kserveAnnotations")),
    }


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_pods_of_a_template_fit_the_pod_security_standard_restricted(gate: Gate, release: Release) -> None:
    """The server by what the template has, the initializer by what KServe's chart or OpenShift gives it."""
    with gate.another(stage=STAGE) as hardened:
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        hardened.admin.request("PATCH", f"/api/v1/namespaces/{hardened.namespace}", label, content_type=MERGE)
        plain = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "plain", "namespace": hardened.namespace},
            "spec": {"containers": [{"name": "plain", "image": "x"}]},
        }
        hardened.settle(refuses=plain)
        pod = hardened.pod(release=KSERVE_HARDENED if not release.hardened else release)
        if release.proxy:
            # OpenShift itself gives the proxy its context.
            pod["spec"]["containers"][1]["securityContext"] = pod["spec"]["initContainers"][0]["securityContext"]
        assert send(hardened.developer, pod)
        if not release.hardened:
            said = refusal(hardened.developer, hardened.pod(release=release))
            assert "storage-initializer" in said
            assert "kserve-container" not in said.split("violates PodSecurity")[1]


# What KServe's own webhook adds


@pytest.mark.parametrize("release", RELEASES, ids=str)
@pytest.mark.parametrize("mounts", [True, False], ids=["token", "no-token"])
def test_what_the_webhook_of_a_release_writes_is_nobodys_fault(gate: Gate, release: Release, mounts: bool) -> None:
    service = mutated_by_kserve(gate.service(), mode=release.mode)
    if not mounts:
        service = altered(service, {(*PREDICTOR, "automountServiceAccountToken"): False})
    assert send(gate.developer, service)
    pod = kserve_pod(service, good_runtime(gate.namespace), release=release)
    assert send(gate.developer, pod)


CACHED: Final[Changes] = {
    (*LABELS, f"{INTERNAL}/localmodel"): "granite",
    (*LABELS, f"{INTERNAL}/localmodel-namespace"): "x",
    (*ANNOTATIONS, f"{INTERNAL}/localmodel-pvc-name"): "granite-gpus",
    (*ANNOTATIONS, f"{INTERNAL}/localmodel-sourceuri"): URI,
}


def test_a_cache_of_models_is_refused_with_the_way_out(gate: Gate) -> None:
    said = refusal(gate.developer, gate.service(CACHED))
    assert "the cluster has a LocalModelCache for this URI" in said
    assert "set the annotation serving.kserve.io/disable-localmodel to true, as in the template" in said
    assert "must not be set" not in said


def test_the_template_has_the_way_out(gate: Gate) -> None:
    assert gate.service()["metadata"]["annotations"][f"{KSERVE_IO}/disable-localmodel"] == "true"


def test_a_service_is_stopped_though_a_cache_came_after_it(gate: Gate) -> None:
    service = gate.service({("metadata", "name"): "cached"})
    path = gate.developer.path_of(send(gate.developer, service, query="fieldManager=test"))
    labels = {key[-1]: value for key, value in CACHED.items() if key[:2] == LABELS}
    annotations = {key[-1]: value for key, value in CACHED.items() if key[:2] == ANNOTATIONS}
    try:

        def patch(more: Mapping[str, str | None], spec: Any = None) -> Any:
            body = {"metadata": {"labels": labels, "annotations": {**annotations, **more}}}
            change = body if spec is None else {**body, "spec": spec}
            return gate.developer.request("PATCH", f"{path}?dryRun=All", change, content_type=MERGE)

        with pytest.raises(ApiRefused, match="LocalModelCache"):
            patch({})
        assert patch({f"{KSERVE_IO}/stop": "true"})
        with pytest.raises(ApiRefused, match="hostNetwork"):
            patch({f"{KSERVE_IO}/stop": "true"}, {"predictor": {"hostNetwork": True}})
    finally:
        gate.developer.request("DELETE", path)


# What a refusal says


SAID: Final[Mapping[str, tuple[Changes, tuple[str, ...]]]] = {
    "a field": (
        {(*PREDICTOR, "hostNetwork"): True},
        ("spec.predictor.hostNetwork must not be set: only fields that cannot change the model",),
    ),
    "a field with something instead": (
        {(*MODEL, "image"): "x"},
        ("spec.predictor.model.image (the ServingRuntime has it, as spec.serving.vllmImage of the",),
    ),
    # Either of the two policies may be the one whose words the API server shows.
    "a path in the storage": (
        {(*MODEL, "storageUri"): None, (*MODEL, "storage", "path"): "granite/"},
        ("spec.predictor.model.storage.path", "spec.predictor.model.storageUri"),
    ),
    "no runtime": (
        {(*MODEL, "runtime"): None},
        ("spec.predictor.model.runtime is empty and must name the ServingRuntime that gatehouse template prints",),
    ),
    "another runtime": (
        {(*MODEL, "runtime"): "mine"},
        ("the runtime mine is not written by Gatehouse",),
    ),
    "a flag and its value in two": (
        {(*MODEL, "args", -1): "64"},
        (
            "spec.predictor.model.args has 64, and each must be --flag or --flag=value in one string",
            "--max-num-seqs=64",
        ),
    ),
    "a variable": (
        {(*MODEL, "env"): [{"name": "LD_PRELOAD", "value": "x.so"}]},
        (
            "spec.predictor.model.env has LD_PRELOAD, and each must be a variable of spec.environment in",
            f"VettedArtifacts {STAGE}.models",
            "spec.serving.allowedEnvironment",
        ),
    ),
    "another connection": (
        {(*MODEL, "storage", "key"): "mine"},
        ("spec.predictor.model.storage.key is mine, and the artifact was verified with minio-connection or models",),
    ),
    "privileges": (
        {(*MODEL, "securityContext"): {"privileged": True}},
        ("spec.predictor.model.securityContext must fit the Pod Security Standard restricted",),
    ),
    "metadata": (
        {(*ANNOTATIONS, f"{KSERVE_IO}/storageSecretName"): "x"},
        ("serving.kserve.io/storageSecretName must not be set: KServe acts on them, and the list does not allow them",),
    ),
    "another bucket": (
        {(*MODEL, "storageUri"): "s3://elsewhere/granite/"},
        (f"no artifact in the bucket elsewhere is cleared for {STAGE}",),
    ),
    "no artifact of a bucket": (
        {(*MODEL, "storageUri"): "hf://ibm-granite/granite"},
        ("spec.predictor.model.storageUri must be",),
    ),
}


@pytest.mark.parametrize(("changes", "expected"), SAID.values(), ids=list(SAID))
def test_a_refusal_names_the_field_and_what_to_write(gate: Gate, changes: Changes, expected: tuple[str, ...]) -> None:
    said = refusal(gate.developer, gate.service(changes))
    assert all(each in said for each in expected), said
    assert "may bring another model" not in said


def test_a_digest_alone_is_no_clearance(gate: Gate) -> None:
    assert not accepted(gate.developer, gate.service(uri="s3://models/other/", digest=DIGEST))
