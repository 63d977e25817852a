"""A good LLMInferenceService, and the ways past the gate that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cluster.admission.evasions import EVIL, INTERNAL, OVERRIDES, SIDECAR, URIS
from cluster.admission.fields import PREDICTOR, Changes
from cluster.gated import DIGEST, IMAGE, URI
from cluster.kservepods import KSERVE, add_service_account
from cluster.status import Manifest

__all__ = ["INITIALIZER", "LLM_USES", "LLM_VERSIONS", "LLM_WAYS", "SERVER", "TEMPLATE", "good_llm_service", "llm_pod"]

LLM_VERSIONS: Final = ("v1alpha1", "v1alpha2")
TEMPLATE: Final = ("spec", "template")
SERVER: Final = (*TEMPLATE, "containers", 0)
INITIALIZER: Final = (*TEMPLATE, "initContainers", 0)
SOURCE: Final = ("spec", "model", "uri")
_ANNOTATIONS: Final = ("metadata", "annotations")
_PLACES: Final = {"model": SERVER, "labels": ("spec", "labels"), "annotations": ("spec", "annotations")}


def good_llm_service(namespace: str, *, name: str = "granite", uri: str = URI, version: str = "v1alpha2") -> Manifest:
    """What admission admits of the kind."""
    key = {"secretKeyRef": {"name": "storage-config", "key": "minio-connection"}}
    return {
        "apiVersion": f"serving.kserve.io/{version}",
        "kind": "LLMInferenceService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {"gatehouse.dev/artifact-digest": DIGEST, "serving.kserve.io/disable-localmodel": "true"},
        },
        "spec": {
            "model": {"uri": uri, "name": "granite"},
            "replicas": 1,
            "annotations": {"gatehouse.dev/artifact-digest": DIGEST},
            "template": {
                "initContainers": [
                    {"name": "storage-initializer", "env": [{"name": "STORAGE_CONFIG", "valueFrom": key}]}
                ],
                "containers": [
                    {
                        "name": "main",
                        "image": IMAGE,
                        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
                        "args": ["--port=8000", "--model=/mnt/models", "--served-model-name=granite"],
                        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
                        "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "60Gi"}},
                    }
                ],
            },
        },
    }


def _moved(changes: Changes) -> dict[tuple[str | int, ...], Any] | None:
    """The changes of a predictor in the template of an LLMInferenceService; None without one."""
    found: dict[tuple[str | int, ...], Any] = {}
    for path, value in changes.items():
        rest = path[len(PREDICTOR) :]
        if path[:2] != PREDICTOR:
            found[path] = value
        elif rest[0] == "model" and len(rest) == 1:
            found[SERVER] = value
        elif rest[0] == "model":
            found[(*SERVER, *rest[1:])] = value
        elif rest[0] in _PLACES:
            found[(*_PLACES[str(rest[0])], *rest[1:])] = value
        else:
            found[(*TEMPLATE, *rest)] = value
    return None if SERVER in found else found


_OVERRIDES: Final = {name: moved for name, changes in OVERRIDES.items() if (moved := _moved(changes)) is not None}
# Of these an LLMInferenceService has no counterpart: the field would not be there.
_ABSENT: Final = ("no storage", "a runtime of KServe's choice", "no digest")
LLM_WAYS: Final[Mapping[str, Changes]] = {
    **{name: changes for name, changes in _OVERRIDES.items() if name not in _ABSENT},
    **{f"URI {name}": {SOURCE: uri} for name, uri in URIS.items()},
    # Ways in of this kind alone.
    "adapters": {("spec", "model", "lora"): {"adapters": [{"uri": EVIL, "name": "evil"}]}},
    "adapters of the Hub": {("spec", "model", "lora"): {"adapters": [{"uri": "hf://org/evil", "name": "evil"}]}},
    "another configuration": {("spec", "baseRefs"): [{"name": "evil"}]},
    "the model of another configuration": {("spec", "baseRefs"): [{"name": "evil"}], SOURCE: None},
    "no initializer": {("spec", "storageInitializer"): {"enabled": False}},
    "an initializer by its field": {("spec", "storageInitializer"): {"enabled": True}},
    "another image of the initializer": {(*INITIALIZER, "image"): "evil"},
    "arguments of the initializer": {(*INITIALIZER, "args"): [EVIL, "/mnt/models"]},
    "a command of the initializer": {(*INITIALIZER, "command"): ["sh", "-c", "evil"]},
    "another server of the initializer": {
        (*INITIALIZER, "env", -1): {"name": "AWS_ENDPOINT_URL", "value": "http://evil"}
    },
    "code of the initializer": {(*INITIALIZER, "env", -1): {"name": "PYTHONPATH", "value": "/srv"}},
    "variables of the initializer from elsewhere": {(*INITIALIZER, "envFrom"): [{"configMapRef": {"name": "evil"}}]},
    "a mount of the initializer": {(*INITIALIZER, "volumeMounts"): [{"name": "home", "mountPath": "/srv"}]},
    "a hook of the initializer": {(*INITIALIZER, "lifecycle"): {"postStart": {"exec": {"command": ["evil"]}}}},
    "another name of the initializer": {(*INITIALIZER, "name"): "fetcher"},
    "a second init container": {(*TEMPLATE, "initContainers", -1): SIDECAR},
    "the routing sidecar": {
        (*TEMPLATE, "initContainers", -1): {"name": "llm-d-routing-sidecar", "image": "evil", "restartPolicy": "Always"}
    },
    "no connection": {(*TEMPLATE, "initContainers"): None},
    "another connection": {(*INITIALIZER, "env", 0, "valueFrom", "secretKeyRef", "key"): "evil"},
    "the connection of another secret": {(*INITIALIZER, "env", 0, "valueFrom", "secretKeyRef", "name"): "evil"},
    "a connection that may be absent": {(*INITIALIZER, "env", 0, "valueFrom", "secretKeyRef", "optional"): True},
    "a connection in plain words": {
        (*INITIALIZER, "env", 0): {"name": "STORAGE_CONFIG", "value": '{"type": "s3", "endpoint_url": "http://evil"}'}
    },
    "parameters beside the connection": {
        (*INITIALIZER, "env", -1): {"name": "STORAGE_OVERRIDE_CONFIG", "value": '{"endpoint_url": "http://evil"}'}
    },
    "more arguments by a variable": {
        (*SERVER, "env", -1): {"name": "VLLM_ADDITIONAL_ARGS", "value": "--model=org/evil"}
    },
    "online": {(*SERVER, "env", 0): {"name": "HF_HUB_OFFLINE", "value": "0"}},
    "no word about the Hub": {(*SERVER, "env"): None},
    "the shell of the preset": {(*SERVER, "command"): None},
    "arguments for the shell of the preset": {(*SERVER, "command"): None, (*SERVER, "args", -1): "$(evil)"},
    "no arguments": {(*SERVER, "args"): None},
    "no model in the arguments": {(*SERVER, "args", 1): "--max-num-seqs=8"},
    "another port": {(*SERVER, "args", 0): "--port=8080"},
    "no template": {TEMPLATE: None},
    "a sidecar": {(*TEMPLATE, "containers", -1): SIDECAR},
    "another name of the server": {(*SERVER, "name"): "kserve-container"},
    "workers": {("spec", "worker"): {"containers": [{"name": "main", "image": "evil"}]}},
    "prefill": {("spec", "prefill"): {"template": {"containers": [{"name": "main", "image": "evil"}]}}},
    "a scheduler of one's own": {("spec", "router", "scheduler"): {"template": {"containers": [SIDECAR]}}},
    "settings of the scheduler": {("spec", "router", "scheduler"): {"config": {"ref": {"name": "evil"}}}},
    "a pool of one's own": {("spec", "router", "scheduler"): {"pool": {"ref": {"name": "evil"}}}},
    "a route of one's own": {("spec", "router", "route"): {"http": {"spec": {"rules": []}}}},
    "an ingress": {("spec", "router", "ingress"): {"refs": [{"name": "evil"}]}},
    "a group in capitals": {("spec", "router", "route"): {"group": "Granite"}},
    "a weight below 0": {("spec", "router", "route"): {"weight": -1}},
    "a weight in words": {("spec", "router", "route"): {"weight": "ten"}},
    "tracing": {("spec", "tracing"): {"exporterEndpoint": "http://evil"}},
    "a cache on a volume": {
        ("spec", "kvCacheOffloading"): {
            "cpu": "1Gi",
            "secondary": [{"fileSystem": {"pvc": {"ref": {"name": "evil", "path": "x"}}}}],
        }
    },
    "scaling": {("spec", "scaling"): {"maxReplicas": 2}},
    "parallelism": {("spec", "parallelism"): {"tensor": 2}},
    "confidential": {("spec", "model", "confidential"): {"enabled": True, "resourceId": "evil"}},
    "criticality": {("spec", "model", "criticality"): "Critical"},
    "a name of the model that KServe expands": {("spec", "model", "name"): "{{ .Spec.Model.URI }}"},
    "labels of the cache": {("metadata", "labels"): {f"{INTERNAL}/localmodel": "evil"}},
    "annotations of the cache": {(*_ANNOTATIONS, f"{INTERNAL}/localmodel-pvc-name"): "evil"},
    "another secret by annotation": {(*_ANNOTATIONS, "serving.kserve.io/storageSecretName"): "evil"},
    "labels of other Pods": {("spec", "labels"): {"app.kubernetes.io/name": "other"}},
    "a label of another component": {("spec", "labels"): {"kserve.io/component": "router"}},
    "a label of an InferenceService": {("spec", "labels"): {"serving.kserve.io/inferenceservice": "granite"}},
    "another digest": {(*_ANNOTATIONS, "gatehouse.dev/artifact-digest"): f"sha256:{'e' * 64}"},
    "no digest": {(*_ANNOTATIONS, "gatehouse.dev/artifact-digest"): None},
    "another digest for its Pods": {("spec", "annotations"): {"gatehouse.dev/artifact-digest": f"sha256:{'e' * 64}"}},
}
LLM_USES: Final[Mapping[str, Changes]] = {
    "replicas": {("spec", "replicas"): 2},
    "a group and a weight": {("spec", "router"): {"route": {"group": "granite", "weight": 10}}},
    "KServe's own router": {("spec", "router"): {"route": {"http": {}}, "gateway": {}, "scheduler": {}}},
    "a gateway": {("spec", "router"): {"gateway": {"refs": [{"name": "ai", "namespace": "gateways"}]}}},
    "where it runs": {
        (*TEMPLATE, "nodeSelector"): {"nvidia.com/gpu.product": "NVIDIA-L4"},
        (*TEMPLATE, "tolerations"): [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        (*TEMPLATE, "priorityClassName"): "inference",
    },
    "arguments of the list": {(*SERVER, "args", -1): "--max-num-seqs=64"},
    "variables of the list": {(*SERVER, "env", -1): {"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}},
    "more time to start": {(*SERVER, "startupProbe"): {"failureThreshold": 600}},
    "a user": {(*SERVER, "securityContext"): {"runAsUser": 1000, "runAsNonRoot": True}},
    "a queue": {("spec", "labels"): {"kueue.x-k8s.io/queue-name": "team"}},
    "stopped": {(*_ANNOTATIONS, "serving.kserve.io/stop"): "true"},
}


def llm_pod(namespace: str, *, uri: str = URI) -> Manifest:
    """The Pod that KServe 0.20 makes of the good LLMInferenceService with its own preset."""
    service = good_llm_service(namespace, uri=uri)
    [given] = service["spec"]["template"]["containers"]
    [initializer] = service["spec"]["template"]["initContainers"]
    health = {"httpGet": {"path": "/health", "port": 8000, "scheme": "HTTP"}, "periodSeconds": 10}
    folders = {"home": "/home", "model-cache": "/models", "tmp-dir": "/tmp"}  # noqa: S108 - in the container
    server: Manifest = {
        **given,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            *given["env"],
            {"name": "HOME", "value": "/home"},
            {"name": "VLLM_LOGGING_LEVEL", "value": "INFO"},
            {"name": "HF_HUB_CACHE", "value": "/models"},
        ],
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", "15"]}}},
        **{f"{probe}Probe": health for probe in ("startup", "readiness", "liveness")},
        "ports": [{"containerPort": 8000, "protocol": "TCP"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": False,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "dshm", "mountPath": "/dev/shm"}],  # noqa: S108 - in the container
    }
    loader = {
        **initializer,
        "image": KSERVE.initializer,
        "imagePullPolicy": "IfNotPresent",
        "args": [uri, "/mnt/models"],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "kserve-provision-location", "mountPath": "/mnt/models"}],
    }
    spec: Manifest = {
        "initContainers": [loader],
        "containers": [server],
        "terminationGracePeriodSeconds": 60,
        "volumes": [{"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
    }
    add_service_account(spec, release=KSERVE)
    server["volumeMounts"] += [
        {"name": "kserve-provision-location", "mountPath": "/mnt/models", "readOnly": True},
        {"name": "tls-certs", "mountPath": "/var/run/kserve/tls", "readOnly": True},
        *({"name": name, "mountPath": path} for name, path in folders.items()),
    ]
    spec["volumes"] += [
        {"name": "kserve-provision-location", "emptyDir": {}},
        {"name": "tls-certs", "secret": {"secretName": "granite-kserve-self-signed-certs"}},
        *({"name": name, "emptyDir": {}} for name in folders),
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "granite-kserve-5d8f9-x7k2p",
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/component": "llminferenceservice-workload",
                "app.kubernetes.io/name": "granite",
                "app.kubernetes.io/part-of": "llminferenceservice",
                "kserve.io/component": "workload",
                "llm-d.ai/role": "both",
            },
            "annotations": {"gatehouse.dev/artifact-digest": DIGEST},
        },
        "spec": spec,
    }
