"""A Pod of a model has no field that is not on the list, whatever the API server's release knows; and lacks none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cluster.admission.podways import SHM, TZ, VALUES, let_in, sample
from cluster.gated import STAGE, Gate, refusal, send, vetted
from cluster.kservepods import OPEN_DATA_HUB
from cluster.podfields import PLACES, Place, schemas_of
from cluster.status import Manifest
from gatehouse.domain.runtimes.environment import HARMLESS_ENVIRONMENT

Changes = Mapping[tuple[str | int, ...], Any]
INIT, SERVER = ("spec", "initContainers", 0), ("spec", "containers", 0)


# The last volume of OpenShift AI's Pod is the one with certificates, which may be a ConfigMap.
KNOWN = {("spec.volumes.-1", "configMap")}


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_every_field_that_is_not_on_the_list_is_refused_by_its_name(gate: Gate, place: Place) -> None:
    pod = gate.pod(release=OPEN_DATA_HUB)
    fields = dict(place.refused(schemas_of(gate.admin)))
    assert len(fields) > 0
    wrong = {field: said for field, value in fields.items() if (said := let_in(gate, pod, place, field, value))}
    assert wrong == {field: said for field, said in wrong.items() if (str(place), field) in KNOWN}


MISSING: Mapping[str, tuple[Changes, str]] = {
    "arguments of the server": ({(*SERVER, "args"): None}, "kserve-container.args --model=/mnt/models"),
    "the model": (
        {(*SERVER, "args"): ["--port=8080", "--served-model-name=x"]},
        "kserve-container.args --model=/mnt/models",
    ),
    "the port": (
        {(*SERVER, "args"): ["--model=/mnt/models", "--served-model-name=x"]},
        "kserve-container.args --port=8080",
    ),
    "the name": (
        {(*SERVER, "args"): ["--model=/mnt/models", "--port=8080"]},
        "kserve-container.args --served-model-name=",
    ),
    "the command": ({(*SERVER, "command"): None}, "kserve-container.command python3 -m vllm"),
    "variables of the server": ({(*SERVER, "env"): None}, "kserve-container.env HF_HUB_OFFLINE=1"),
    "the variable that keeps it off the network": ({(*SERVER, "env", 1): TZ}, "kserve-container.env HF_HUB_OFFLINE=1"),
    "the mount of the model": ({(*SERVER, "volumeMounts"): [SHM]}, "mounted at /mnt/models in kserve-container"),
    "mounts of the server": ({(*SERVER, "volumeMounts"): None}, "mounted at /mnt/models in kserve-container"),
    "mounts of the initializer": ({(*INIT, "volumeMounts"): None}, "mounted at /mnt/models in storage-initializer"),
    "variables of the initializer": ({(*INIT, "env"): None}, "must have STORAGE_CONFIG once"),
    "arguments of the initializer": ({(*INIT, "args"): None}, "with the arguments URI /mnt/models"),
    "the initializer": ({("spec", "initContainers"): None}, "found: none"),
    "labels": ({("metadata", "labels"): None}, "lacks the label serving.kserve.io/inferenceservice"),
}


@pytest.mark.parametrize(("changes", "said"), MISSING.values(), ids=list(MISSING))
def test_a_pod_without_what_it_needs_is_refused_and_told_what(gate: Gate, changes: Changes, said: str) -> None:
    for client in (gate.developer, gate.admin):
        found = refusal(client, gate.pod(changes))
        # A Pod without labels is a bare Pod that asks for a GPU, too: one of the two policies speaks.
        assert said in found or ("labels" in str(changes) and "requests nvidia.com/gpu with" in found)


VERIFIED_BY = vetted()["spec"]["connections"]
STORAGE = {"name": "storage-config", "key": "minio-connection"}


def from_secret(**changes: Any) -> Manifest:
    return {"name": "STORAGE_CONFIG", "valueFrom": {"secretKeyRef": {**STORAGE, **changes}}}


CONNECTIONS: Mapping[str, tuple[Changes, str]] = {
    "another connection of the namespace": (
        {(*INIT, "env", 0): from_secret(key="team-data")},
        "storage-config/team-data",
    ),
    "an optional key": ({(*INIT, "env", 0): from_secret(optional=True)}, "storage-config/minio-connection (optional)"),
    "another Secret": ({(*INIT, "env", 0): from_secret(name="evil")}, "evil/minio-connection"),
    "a second one, which is the one that counts": (
        {(*INIT, "env", -1): from_secret(key="team-data")},
        "storage-config/minio-connection, storage-config/team-data",
    ),
    "one in the clear": ({(*INIT, "env", 0): {"name": "STORAGE_CONFIG", "value": "{}"}}, "no Secret/no key"),
}


@pytest.mark.parametrize(("changes", "found"), CONNECTIONS.values(), ids=list(CONNECTIONS))
def test_a_model_is_loaded_by_the_connection_that_it_was_verified_by(gate: Gate, changes: Changes, found: str) -> None:
    said = refusal(gate.developer, gate.pod(changes))
    assert f"with a key that verified the artifact ({', '.join(VERIFIED_BY)}); found: {found}." in said
    assert "spec.predictor.model.storage.key" in said


@pytest.mark.parametrize("changes", VALUES.values(), ids=list(VALUES))
def test_a_value_that_is_not_on_the_list_is_refused(gate: Gate, changes: Changes) -> None:
    said = refusal(gate.admin, gate.pod(changes))
    assert f"stage {STAGE}" in said
    assert "gatehouse explain" in said


RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
USES: Mapping[str, Changes] = {
    "what Pod Security restricted wants": {
        (*SERVER, "securityContext"): RESTRICTED,
        (*INIT, "securityContext"): RESTRICTED,
        ("spec", "securityContext"): {"runAsNonRoot": True, "fsGroup": 1000, "supplementalGroups": [1000]},
    },
    "folders of its own": {
        ("spec", "volumes", -1): {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        (*SERVER, "volumeMounts", -1): {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
    },
    "certificates for the initializer": {
        ("spec", "volumes", -1): {"name": "cabundle-cert", "configMap": {"name": "x"}},
        (*INIT, "volumeMounts", -1): {"name": "cabundle-cert", "mountPath": "/etc/ssl/custom-certs"},
    },
    "a user namespace": {("spec", "hostUsers"): False},
    "pull secrets, a scheduler and readiness of others": {
        ("spec", "imagePullSecrets"): [{"name": "x"}],
        ("spec", "schedulerName"): "kai-scheduler",
        ("spec", "readinessGates"): [{"conditionType": "example.com/x"}],
        ("spec", "enableServiceLinks"): False,
    },
    "probes of other kinds": {
        (*SERVER, "readinessProbe"): {"tcpSocket": {"port": 8080}},
        (*SERVER, "livenessProbe"): {"grpc": {"port": 8080}},
    },
    "a name of its own": {(*SERVER, "args", 2): "--served-model-name=chat_1.5"},
    "variables of the list": {
        (*SERVER, "env", -1): {"name": "NCCL_DEBUG", "value": "INFO"},
        (*SERVER, "env", 0): TZ,
    },
    "variables of a registry": {
        (*SERVER, "env", -1): {"name": "TEAM_LEVEL", "value": "a,b:c"},
        (*SERVER, "env", 0): {"name": "TEAM_MODE", "value": "fast"},
    },
}


@pytest.mark.parametrize("changes", USES.values(), ids=list(USES))
def test_what_changes_neither_bytes_nor_code_passes(gate: Gate, changes: Changes) -> None:
    assert send(gate.developer, gate.pod(changes))


def test_variables_that_a_version_may_set_pass_the_gate_together(gate: Gate) -> None:
    variables = [{"name": name, "value": sample(name)} for name in HARMLESS_ENVIRONMENT]
    pod = gate.pod()
    pod["spec"]["containers"][0]["env"] += variables
    assert send(gate.developer, pod)


@pytest.mark.parametrize("more", ["/", "\n", "$(HOSTNAME)"])
def test_a_value_that_is_none_of_a_variable_s_is_refused_and_shown(gate: Gate, more: str) -> None:
    for name in list(HARMLESS_ENVIRONMENT)[:: 1 if more == "/" else 10]:
        variable = {"name": name, "value": sample(name) + more}
        said = refusal(gate.developer, gate.pod({(*SERVER, "env", -1): variable}))
        assert f"kserve-container.env {name}={variable['value']}".replace("\n", " ") in said
