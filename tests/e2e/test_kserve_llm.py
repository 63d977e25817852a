"""The shipped gate against KServe's own controller of LLMInferenceServices, with its presets and webhooks.

No kubelet runs: Pods are set ready. Whatever comes of any way in, the Pods load what was vetted and nothing else.
"""

from __future__ import annotations

import contextlib
import secrets
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

import pytest

from cluster.admission.evasions import EVIL
from cluster.admission.fields import Changes
from cluster.admission.llmservices import LLM_USES, LLM_VERSIONS, LLM_WAYS, good_llm_service
from cluster.admission.policy_texts import words
from cluster.gated import IMAGE, STAGE, URI, Gate, altered, make_gate, send
from cluster.podfields import least_value
from cluster.pretend_kubelet import pretend_kubelet
from cluster.rig import until
from cluster.servers import available
from cluster.status import Manifest
from e2e.kserve_manager import INITIALIZER, KServe, kserve, wait_gone
from e2e.kserve_services import MERGE, PERSIST, furnish, items, ready, said, sent
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

NAME: Final = ("metadata", "name")
POLICY: Final = "gatehouse-llminferenceservice"
SERVICE_ACCOUNT: Final = "default"
GATEWAY_USES: Final = ("KServe's own router", "a gateway", "a group and a weight")
"""Uses of which KServe makes no Pods here: the Gateway API is not installed."""


@pytest.fixture(scope="module")
def manager() -> Iterator[KServe]:
    """KServe and the gate on one control plane."""
    with available(kserve()) as running, pretend_kubelet(running.plane, run_job=lambda _: 0):
        yield running


@pytest.fixture(scope="module")
def gate(manager: KServe) -> Iterator[Gate]:
    """A namespace with a stage and the connection in it."""
    with make_gate(manager.plane) as made:
        furnish(made)
        yield made


def pods(gate: Gate, name: str = "") -> list[Manifest]:
    """Pods of LLMInferenceServices in the namespace, or of one of them."""
    selector = "app.kubernetes.io/part-of%3Dllminferenceservice"
    of_one = f",app.kubernetes.io/name%3D{name}" if name else ""
    return items(gate, f"/api/v1/namespaces/{gate.namespace}/pods?labelSelector={selector}{of_one}")


def deploy(gate: Gate, changes: Changes | None = None, *, version: str = "v1alpha2") -> tuple[str, str]:
    """The good service under a name of its own, changed: its name and its path."""
    name = f"m-{secrets.token_hex(4)}"
    body = altered(good_llm_service(gate.namespace, name=name, version=version), changes or {})
    return name, gate.admin.path_of(send(gate.admin, body, query=PERSIST))


def strange(pod: Manifest) -> list[str]:
    """What a Pod may load or run beside the vetted bytes. This knows nothing of the policies."""
    spec = pod["spec"]
    [server] = spec["containers"]
    [initializer] = spec["initContainers"]
    reference = {"secretKeyRef": {"name": "storage-config", "key": "minio-connection"}}
    wanted = {
        "initializer": (initializer["image"], initializer["args"]) == (INITIALIZER, [URI, "/mnt/models"]),
        "credentials": initializer["env"] == [{"name": "STORAGE_CONFIG", "valueFrom": reference}],
        "image": server["image"] == IMAGE,
        "command": server["command"] == ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "model": [each for each in server["args"] if "model=" in each] == ["--model=/mnt/models"],
        "offline": {"name": "HF_HUB_OFFLINE", "value": "1"} in server["env"],
        "hooks": server.get("lifecycle") == {"preStop": {"exec": {"command": ["/bin/sleep", "15"]}}},
        "variables": not server.get("envFrom") and not any("valueFrom" in each for each in server["env"]),
        "volumes": all("emptyDir" in each or each["name"] == "tls-certs" for each in spec["volumes"]),
        "network": not any(
            spec.get(name) for name in ("hostAliases", "hostNetwork", "hostPID", "hostIPC", "dnsConfig")
        ),
    }
    return [f"{what}: {spec}" for what, good in wanted.items() if not good]


def settled(gate: Gate) -> None:
    """Until KServe and the controllers of Deployments have done what they do about everything that is there."""
    name, path = deploy(gate)
    until(lambda: bool(pods(gate, name)), what=lambda: said(gate, path))
    base = f"/apis/apps/v1/namespaces/{gate.namespace}"

    def done() -> bool:
        return all(
            each["status"].get("replicas", 0) == each["spec"]["replicas"]
            or any(condition["type"] == "ReplicaFailure" for condition in each["status"].get("conditions", ()))
            for each in items(gate, f"{base}/replicasets")
        )

    until(done, what="Deployments are not done")
    gate.admin.request("DELETE", path)
    wait_gone(gate.admin, path)


@pytest.mark.parametrize("version", LLM_VERSIONS)
def test_the_shape_of_the_docs_is_served_scaled_stopped_started_and_deleted(gate: Gate, version: str) -> None:
    name, path = deploy(gate, version=version)
    until(lambda: ready(gate, path), what=lambda: said(gate, path))
    [pod] = pods(gate, name)
    assert not strange(pod)

    def patch(body: Manifest) -> None:
        gate.admin.request("PATCH", path, body, content_type=MERGE)

    patch({"spec": {"replicas": 2}})
    until(lambda: len(pods(gate, name)) == 2, what="it is not scaled")
    patch({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}})
    until(lambda: not pods(gate, name), what="it is not stopped")
    patch({"metadata": {"annotations": {"serving.kserve.io/stop": None}}})
    until(lambda: len(pods(gate, name)) == 2, what="it is not started again")
    assert not [each for pod in pods(gate, name) for each in strange(pod)]
    gate.admin.request("DELETE", path)
    wait_gone(gate.admin, path)


@pytest.mark.parametrize("use", LLM_USES)
def test_what_may_be_set_passes_kserve_and_the_gate(gate: Gate, use: str) -> None:
    name, path = deploy(gate, LLM_USES[use])
    try:
        if use not in (*GATEWAY_USES, "stopped"):
            until(lambda: bool(pods(gate, name)), what=lambda: said(gate, path))
            assert not [each for pod in pods(gate, name) for each in strange(pod)]
    finally:
        gate.admin.request("DELETE", path)
        wait_gone(gate.admin, path)


@pytest.mark.parametrize("version", LLM_VERSIONS)
def test_no_way_leads_to_a_pod_that_loads_anything_but_what_was_vetted(gate: Gate, version: str) -> None:
    let_in = {}
    for number, (way, changes) in enumerate(LLM_WAYS.items()):
        body = altered(good_llm_service(gate.namespace, name=f"way-{number}", version=version), changes)
        if sent(gate.admin, body):
            let_in[way] = gate.admin.path_of(body)
    good = send(gate.admin, good_llm_service(gate.namespace, version=version))
    different = {way: found for way, path in let_in.items() if (found := _different(gate.admin, path, good))}
    settled(gate)
    found = {pod["metadata"]["name"]: strange(pod) for pod in pods(gate)}
    for path in let_in.values():
        gate.admin.request("DELETE", path)
    assert not {name: each for name, each in found.items() if each}
    # The API server prunes fields that the kind does not have, and KServe's webhook writes S3:// as s3://.
    assert not different


def _different(client: KubeClient, path: str, good: Manifest) -> list[Any]:
    """What an object has that the good one has not, as it is stored."""
    there = client.request("GET", path)
    return [
        there[part][name]
        for part, name in (("metadata", "labels"), ("metadata", "annotations"))
        if name in there[part] and there[part][name] != good[part].get(name)
    ] + ([there["spec"]] if there["spec"] != good["spec"] else [])


def test_secrets_of_the_service_account_hold_up_its_pods(gate: Gate) -> None:
    """KServe would give the initializer their server and their credentials."""
    with gate.another(stage=STAGE) as other:
        account = f"/api/v1/namespaces/{other.namespace}/serviceaccounts/{SERVICE_ACCOUNT}"
        until(lambda: sent_get(other.admin, account), what="no service account")
        other.admin.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": "evil",
                    "namespace": other.namespace,
                    "annotations": {"serving.kserve.io/s3-endpoint": "evil:9000"},
                },
                "data": {
                    key: b64encode(b"x").decode()
                    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "awsAccessKeyID", "awsSecretAccessKey")
                },
            }
        )
        other.admin.request("PATCH", account, {"secrets": [{"name": "evil"}]}, content_type=MERGE)
        until(lambda: "not cleared" not in refusal_of(other), what="the namespace is not known")
        name, _ = deploy(other)
        assert "storage-initializer.env AWS_ACCESS_KEY_ID" in until(lambda: failure(other, name), what="nothing failed")
        assert not pods(other, name)


def test_a_preset_of_the_namespace_from_before_the_gate_changes_no_pod(gate: Gate) -> None:
    """KServe takes a configuration of the namespace before its own of the same name."""
    with gate.another(stage=STAGE, gate="Off") as late:
        evil: dict[str, Any] = {
            "apiVersion": "serving.kserve.io/v1alpha2",
            "kind": "LLMInferenceServiceConfig",
            "metadata": {"name": "kserve-config-llm-template", "namespace": late.namespace},
            "spec": {
                "model": {"uri": EVIL},
                "template": {
                    "containers": [{"name": "main", "env": [{"name": "HF_ENDPOINT", "value": "http://evil"}]}],
                    "initContainers": [{"name": "evil", "image": "evil"}],
                },
            },
        }
        until(lambda: sent(late.admin, evil), what="the gate is not off")
        label = {"metadata": {"labels": {"gatehouse.dev/gate": None}}}
        late.admin.request("PATCH", f"/api/v1/namespaces/{late.namespace}", label, content_type=MERGE)
        until(lambda: "InferenceServices only" in refusal_of(late, altered(evil, {NAME: "x"})), what="the gate is off")
        name, _ = deploy(late)
        assert "gatehouse-pod" in until(lambda: failure(late, name), what="nothing failed")
        assert not pods(late, name)


def sent_get(client: KubeClient, path: str) -> bool:
    with contextlib.suppress(ApiRefused):
        client.request("GET", path)
        return True
    return False


def refusal_of(gate: Gate, body: Manifest | None = None) -> str:
    """What the API server says against an object; the good service without one."""
    try:
        send(gate.admin, body or good_llm_service(gate.namespace))
    except ApiRefused as refused:
        return str(refused)
    return ""


def failure(gate: Gate, name: str) -> str:
    """Why no Pod of a service is made."""
    for each in items(gate, f"/apis/apps/v1/namespaces/{gate.namespace}/replicasets"):
        if each["metadata"]["labels"]["app.kubernetes.io/name"] == name:
            for condition in each["status"].get("conditions", ()):
                if condition["type"] == "ReplicaFailure":
                    return str(condition["message"])
    return ""


LLM_PLACES: Final[dict[tuple[str | int, ...], frozenset[str]]] = {
    ("spec",): frozenset(words(POLICY, "specFields")),
    ("spec", "model"): frozenset(words(POLICY, "modelFields")),
    ("spec", "router"): frozenset(words(POLICY, "routerFields")),
    ("spec", "router", "route"): frozenset(words(POLICY, "routeFields")),
    ("spec", "router", "scheduler"): frozenset(),
    ("spec", "template"): frozenset(words(POLICY, "templateFields")),
    ("spec", "template", "containers", 0): frozenset(words(POLICY, "serverFields")),
    ("spec", "template", "initContainers", 0): frozenset(words(POLICY, "initializerFields")),
    ("spec", "template", "securityContext"): frozenset(words(POLICY, "podSecurityFields")),
    ("spec", "template", "containers", 0, "securityContext"): frozenset(words(POLICY, "securityFields")),
}
LLM_EXAMPLES: Final[dict[str, Any]] = {
    "baseRefs": [{"name": "x"}],
    "prefill": {"replicas": 1},
    "scaling": {"maxReplicas": 2},
    "windowsOptions": {"runAsUserName": "x"},
}


@pytest.mark.parametrize("version", LLM_VERSIONS)
@pytest.mark.parametrize("place", LLM_PLACES, ids=lambda place: ".".join(map(str, place)))
def test_every_field_of_kserve_s_schema_is_on_the_list_or_refused(
    gate: Gate, place: tuple[str | int, ...], version: str
) -> None:
    kind = "customresourcedefinitions/llminferenceservices.serving.kserve.io"
    body = gate.admin.request("GET", f"/apis/apiextensions.k8s.io/v1/{kind}")
    [found] = [each for each in body["spec"]["versions"] if each["name"] == version]
    schema = found["schema"]["openAPIV3Schema"]
    for name in place:
        schema = schema["items"] if isinstance(name, int) else schema["properties"][name]
    good = good_llm_service(gate.namespace, version=version)
    fields = sorted(schema["properties"].keys() - LLM_PLACES[place])
    assert fields or place == ("spec", "router", "route")
    passed = []
    for field in fields:
        value = LLM_EXAMPLES.get(field, least_value(schema["properties"][field], {}))
        refused = refusal_of(gate, altered(good, {(*place, field): value}))
        if "admission webhook" not in refused and f"{field}" not in refused:
            passed.append((field, refused))
    assert not passed
