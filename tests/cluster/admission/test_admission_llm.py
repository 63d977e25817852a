"""LLMInferenceServices at the gate: one shape passes, and no way past the gate."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import pytest
import yaml

from cluster.admission.evasions import EVIL
from cluster.admission.fields import Changes
from cluster.admission.llmservices import LLM_USES, LLM_VERSIONS, LLM_WAYS, good_llm_service, llm_pod
from cluster.admission.llmservices import SERVER as LLM_SERVER
from cluster.admission.podways import PODS, VALUES, let_in
from cluster.admission.policy_texts import words as listed
from cluster.gated import DIGEST, IMAGE, KEYS, NO_LIST, REASON, REFUSED, STAGE, Gate, altered, refusal, send, vetted
from cluster.podfields import PLACES, Place, schemas_of
from gatehouse.install.shipped_files import shipped
from gatehouse_local.errors import ApiRefused

PROXY: Final = ("spec", "containers", 1)
SERVER: Final = ("spec", "containers", 0)
_LABELS: Final = ("metadata", "labels")
_NONE_HERE: Final = ("another container", "no label, so that KServe does nothing")
"""Changes that change nothing in these Pods."""


def _of_its_own(changes: Changes) -> Changes:
    """The changes of an InferenceService's Pod, with the name that the shared memory has in these Pods."""
    return {path: json.loads(json.dumps(value).replace('"shm"', '"dshm"')) for path, value in changes.items()}


LLM_POD_WAYS: Final[Mapping[str, Changes]] = {
    **{name: _of_its_own(changes) for name, changes in {**PODS, **VALUES}.items() if name not in _NONE_HERE},
    "the port of an InferenceService": {(*SERVER, "args", 0): "--port=8080"},
    "the name of an InferenceService's server": {(*SERVER, "name"): "kserve-container"},
    "the shell of the preset": {
        (*SERVER, "command"): ["/bin/bash", "-c", 'eval "exec vllm serve /mnt/models $@"', "--"]
    },
    "another pause": {(*SERVER, "lifecycle", "preStop", "exec", "command"): ["/bin/sh", "15"]},
    "a longer pause": {(*SERVER, "lifecycle", "preStop", "exec", "command"): ["/bin/sleep", "15", "evil"]},
    "a pause of another kind": {(*SERVER, "lifecycle", "preStop"): {"httpGet": {"port": 80, "host": "evil"}}},
    "a hook at the start": {(*SERVER, "lifecycle", "postStart"): {"exec": {"command": ["/bin/sleep", "15"]}}},
    "another secret as the certificate": {("spec", "volumes", 3, "secret", "secretName"): "evil"},
    "items of the certificate": {("spec", "volumes", 3, "secret", "items"): [{"key": "x", "path": "y"}]},
    "the certificate at another place": {(*SERVER, "volumeMounts", 3, "mountPath"): "/usr/lib/python3"},
    "the certificate to be written": {(*SERVER, "volumeMounts", 3, "readOnly"): None},
    "another home": {(*SERVER, "env", 1, "value"): "/mnt/models"},
    "another cache of the Hub": {(*SERVER, "env", 3, "value"): "/mnt/models"},
    "more arguments by a variable": {
        (*SERVER, "env", -1): {"name": "VLLM_ADDITIONAL_ARGS", "value": "--model=org/evil"}
    },
    "credentials of a service account": {
        ("spec", "initContainers", 0, "env", -1): {
            "name": "AWS_ACCESS_KEY_ID",
            "valueFrom": {"secretKeyRef": {"name": "evil", "key": "awsAccessKeyID"}},
        }
    },
    "the server of a service account": {
        ("spec", "initContainers", 0, "env", -1): {"name": "AWS_ENDPOINT_URL", "value": "http://evil"}
    },
    "without the label of the kind": {(*_LABELS, "app.kubernetes.io/part-of"): None},
    "without the label of the component": {(*_LABELS, "kserve.io/component"): None},
    "of another component": {(*_LABELS, "kserve.io/component"): "router"},
    "called an InferenceService's": {(*_LABELS, "serving.kserve.io/inferenceservice"): "granite"},
    "a proxy": {("spec", "containers", -1): {"name": "kube-rbac-proxy", "image": "evil"}},
}


@pytest.mark.parametrize("version", LLM_VERSIONS)
def test_the_shape_of_the_docs_passes(gate: Gate, version: str) -> None:
    assert send(gate.admin, good_llm_service(gate.namespace, version=version))


@pytest.mark.parametrize("use", LLM_USES)
def test_what_changes_neither_bytes_nor_code_passes(gate: Gate, use: str) -> None:
    assert send(gate.admin, altered(good_llm_service(gate.namespace), LLM_USES[use]))


@pytest.mark.parametrize("way", LLM_WAYS)
def test_no_way_past_the_gate_leads_through_this_kind(gate: Gate, way: str) -> None:
    said = refusal(gate.admin, altered(good_llm_service(gate.namespace), LLM_WAYS[way]))
    assert "gatehouse-llminferenceservice" in said
    assert f"stage {STAGE}" in said
    assert "gatehouse explain" in said


def test_the_message_names_what_is_found_and_the_way(gate: Gate) -> None:
    good = good_llm_service(gate.namespace)
    for changes, words in (
        (
            {(*LLM_SERVER, "command"): None},
            "command must be python3 -m vllm.entrypoints.openai.api_server: KServe would",
        ),
        ({("spec", "baseRefs"): [{"name": "x"}]}, "spec.baseRefs (write the fields into the LLMInferenceService)"),
        ({(*LLM_SERVER, "image"): "evil"}, "image is evil, which no ModelRegistry names in spec.serving.vllmImage"),
        ({(*LLM_SERVER, "args", -1): "--enable-dbo"}, f"spec.arguments in VettedArtifacts {STAGE}.models"),
        ({("spec", "model", "uri"): REFUSED}, f"the artifact is not cleared for {STAGE}: {REASON}"),
        ({("spec", "model", "uri"): "s3://elsewhere/x/"}, "no artifact in the bucket elsewhere is cleared"),
    ):
        assert words in refusal(gate.admin, altered(good, changes))


def test_without_any_list_nothing_passes(gate: Gate) -> None:
    path = "/apis/gatehouse.dev/v1alpha1/vettedartifacts"
    bodies = gate.operator.request("GET", path)["items"]
    try:
        for body in bodies:
            gate.operator.request("DELETE", f"{path}/{body['metadata']['name']}")
        gate.settle(refuses=llm_pod(gate.namespace))
        assert NO_LIST in refusal(gate.admin, good_llm_service(gate.namespace))
        assert NO_LIST in refusal(gate.admin, llm_pod(gate.namespace))
    finally:
        gate.vet(*(vetted(key) for key in KEYS))
        gate.settle(accepts=llm_pod(gate.namespace))


def test_one_that_is_not_cleared_any_more_is_stopped_and_deleted_and_not_changed(gate: Gate) -> None:
    body = good_llm_service(gate.namespace, name="withdrawn")
    path = gate.admin.path_of(send(gate.admin, body, query="fieldManager=test"))

    def patch(change: Mapping[str, Any]) -> Any:
        return gate.admin.request("PATCH", path, change, content_type="application/merge-patch+json")

    try:
        gate.vet(vetted(artifacts={}))
        gate.settle(refuses=llm_pod(gate.namespace))
        assert patch({"metadata": {"finalizers": ["test.example.com/x"]}})
        with pytest.raises(ApiRefused, match="not cleared"):
            patch({"spec": {"replicas": 2}})
        assert patch({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}})
        with pytest.raises(ApiRefused, match="not cleared"):
            patch({"metadata": {"annotations": {"serving.kserve.io/stop": None}}})
        gate.admin.request("DELETE", path)
        assert patch({"metadata": {"finalizers": None}})
    finally:
        gate.vet(vetted())
        gate.settle(accepts=llm_pod(gate.namespace))


def test_the_docs_have_the_lists() -> None:
    text = shipped("docs/admission.md").read_text()
    section = text.split("## Fields of an LLMInferenceService\n")[1].split("\n## ")[0]
    rows = {row[0]: row[1] for row in re.findall(r"^\| `([^`]+)` \| (.*?) \|", section, re.MULTILINE)}
    policy = "gatehouse-llminferenceservice"
    assert {place: set(re.findall(r"`([^`]+)`", cell)) for place, cell in rows.items()} == {
        "spec": set(listed(policy, "specFields")),
        "spec.model": set(listed(policy, "modelFields")),
        "spec.router": set(listed(policy, "routerFields")),
        "spec.router.route": set(listed(policy, "routeFields")),
        "spec.template": set(listed(policy, "templateFields")),
        "containers[main]": set(listed(policy, "serverFields")),
        "initContainers[storage-initializer]": set(listed(policy, "initializerFields")),
        "*Probe": set(listed(policy, "probeFields")),
        "spec.template.securityContext": set(listed(policy, "podSecurityFields")),
        "containers[main].securityContext": set(listed(policy, "securityFields")),
        "metadata.annotations": set(listed(policy, "kserveAnnotations")),
    }


def test_the_example_of_the_docs_passes(gate: Gate) -> None:
    text = shipped("docs/admission.md").read_text()
    section = text.split("## Fields of an LLMInferenceService\n")[1].split("\n## ")[0]
    body = yaml.safe_load(section.split("```yaml\n")[1].split("```")[0])
    body["metadata"]["namespace"] = gate.namespace
    body["metadata"]["annotations"]["gatehouse.dev/artifact-digest"] = DIGEST
    body["spec"]["annotations"]["gatehouse.dev/artifact-digest"] = DIGEST
    body["spec"]["template"]["containers"][0]["image"] = IMAGE
    assert send(gate.admin, body)


# Its Pods


def test_the_pod_that_kserve_makes_of_it_passes(gate: Gate) -> None:
    assert send(gate.developer, llm_pod(gate.namespace))


def test_the_pod_of_another_artifact_is_refused(gate: Gate) -> None:
    for uri in (REFUSED, EVIL):
        said = refusal(gate.developer, llm_pod(gate.namespace, uri=uri))
        assert f"with {uri} (stage {STAGE})" in said


@pytest.mark.parametrize("way", LLM_POD_WAYS)
def test_a_pod_of_it_loads_the_vetted_artifact_and_nothing_else(gate: Gate, way: str) -> None:
    said = refusal(gate.developer, altered(llm_pod(gate.namespace), LLM_POD_WAYS[way]))
    assert "gatehouse-pod" in said or "gatehouse-accelerators" in said
    assert f"stage {STAGE}" in said
    assert "gatehouse explain" in said


@pytest.mark.parametrize("place", [each for each in PLACES if each.path[:3] != PROXY], ids=str)
def test_every_field_of_its_pods_that_is_not_on_the_list_is_refused(gate: Gate, place: Place) -> None:
    pod = llm_pod(gate.namespace)
    fields = dict(place.refused(schemas_of(gate.admin)))
    assert len(fields) > 0
    assert not {field: said for field, value in fields.items() if (said := let_in(gate, pod, place, field, value))}
