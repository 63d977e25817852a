"""The serving template: an InferenceService and the ServingRuntime it names, for KServe and OpenShift AI.

Labels and annotations are all there when the InferenceService is made: KServe copies them to the Pods, so that a later
edit restarts vLLM. For the same reason the ServingRuntime is named by its content: a new image or environment is a new
runtime beside the old one, and no running model restarts because of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.api.meta import GROUP
from gatehouse.api.model_registry import ServingDefaults
from gatehouse.api.model_version import Serving
from gatehouse.domain.access import folder_of
from gatehouse.domain.artifact import Problem
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.serving_arguments import check_release, check_serving, normal_arguments
from gatehouse.domain.serving_formats import model_argument
from gatehouse.domain.serving_names import (
    inference_service_name,
    label_value,
    require_namespace,
    require_service_name,
)
from gatehouse.domain.serving_refusals import NothingToServe

__all__ = [
    "ANNOTATION_DIGEST",
    "LABEL_GATE",
    "LABEL_STAGE",
    "UNENFORCED",
    "JsonObject",
    "Served",
    "ServingInput",
    "ServingTemplate",
    "render",
    "retarget",
]

JsonObject = Mapping[str, Any]
"""A JSON object as the Kubernetes API takes it; never changed in place."""

ANNOTATION_VERSION: Final = f"{GROUP}/model-version"
ANNOTATION_DIGEST: Final = f"{GROUP}/artifact-digest"
LABEL_STAGE: Final = f"{GROUP}/stage"
LABEL_GATE: Final = f"{GROUP}/gate"
UNENFORCED: Final = frozenset({"Warn", "Off"})
"""Values of the label of the gate that let through what is not vetted; any other word enforces it."""

_SHARED_MEMORY_GIB: Final = 2
"""For each accelerator: their processes exchange tensors there."""


class Served(NamedTuple):
    """What an InferenceService serves: its storage URI, and the digest in its annotation."""

    uri: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingInput:
    """What a template is made of. ``name`` in ``namespace`` is the ModelVersion, ``digest`` that of its artifact.

    ``model_file`` is the file of the artifact that vLLM is given in place of the folder.
    """

    name: str
    namespace: str
    model: str
    version: str
    display_name: str | None
    description: str | None
    artifact_uri: str
    digest: str
    model_id: int
    version_id: int
    profile_name: str
    profile: HardwareProfileSpec
    fit: Fit
    serving: Serving
    defaults: ServingDefaults
    model_file: str | None = None


@dataclass(frozen=True, slots=True)
class ServingTemplate:
    """The two objects of a template."""

    inference_service: JsonObject
    serving_runtime: JsonObject

    @property
    def digest(self) -> str:
        """``sha256:`` and the hash of both objects as JSON with sorted keys."""
        return f"sha256:{_content_hash([self.inference_service, self.serving_runtime])}"

    @property
    def name(self) -> str:
        """Name of the InferenceService."""
        return str(self.inference_service["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Namespace of both objects."""
        return str(self.inference_service["metadata"]["namespace"])


def render(given: ServingInput) -> ServingTemplate:
    """The template of a version.

    Raises TemplateRefused: ReservedArgument, ArgumentNotKnown, ReservedEnvironment, NameRefused, NothingToServe.
    """
    allowed = given.defaults
    check_serving(given.serving, added=allowed.allowed_arguments, variables=allowed.allowed_environment)
    check_release(given.serving, allowed.vllm_image)
    runtime = _serving_runtime(given)
    return ServingTemplate(
        inference_service=_inference_service(given, runtime=runtime["metadata"]["name"]), serving_runtime=runtime
    )


def retarget(
    template: ServingTemplate, *, name: str | None = None, namespace: str | None = None, stage: str | None = None
) -> ServingTemplate:
    """The template under another name, in another namespace, for a stage.

    Without a name, another namespace derives one that no version of either namespace has. Raises NameRefused.
    """
    metadata = template.inference_service["metadata"]
    target = require_namespace(namespace) if namespace else template.namespace
    if name:
        chosen = require_service_name(name, namespace=target)
    elif target == template.namespace:
        chosen = template.name
    else:
        home, _, version = str(metadata["annotations"][ANNOTATION_VERSION]).partition("/")
        chosen = inference_service_name(version, namespace=target, home=home)
    labels = metadata["labels"] | ({LABEL_STAGE: label_value(stage)} if stage else {})
    changed = metadata | {"name": chosen, "namespace": target, "labels": labels}
    runtime = template.serving_runtime
    return replace(
        template,
        inference_service={**template.inference_service, "metadata": changed},
        serving_runtime={**runtime, "metadata": runtime["metadata"] | {"namespace": target}},
    )


def _inference_service(given: ServingInput, *, runtime: str) -> JsonObject:
    profile = given.profile
    predictor: dict[str, Any] = {
        "minReplicas": 1,
        "maxReplicas": 1,
        "timeout": 600,
        # A rolling update needs a second set of accelerators beside the first.
        "deploymentStrategy": {"type": "Recreate"},
    }
    if profile.node.selector:
        predictor["nodeSelector"] = dict(profile.node.selector)
    if profile.node.tolerations:
        predictor["tolerations"] = [toleration.wire() for toleration in profile.node.tolerations]
    predictor["model"] = {
        "modelFormat": {"name": "vLLM"},
        "runtime": runtime,
        # Without the slash KServe's storage initializer also fetches siblings whose names begin the same.
        "storageUri": folder_of(given.artifact_uri),
        "storage": {"key": given.defaults.connection_secret},
        "args": _arguments(given),
        "resources": _resources(given),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": inference_service_name(given.name, namespace=given.namespace, home=given.namespace),
            "namespace": given.namespace,
            "labels": _labels(given),
            "annotations": _annotations(given),
        },
        "spec": {"predictor": predictor},
    }


def _labels(given: ServingInput) -> dict[str, str]:
    prefix = given.defaults.label_prefix
    return {
        "opendatahub.io/dashboard": "true",
        "opendatahub.io/genai-asset": "true",
        f"{GROUP}/hardware-profile": label_value(given.profile_name),
        f"{GROUP}/model": label_value(given.model),
        f"{GROUP}/runtime": "vLLM",
        f"{GROUP}/version": label_value(given.version),
        f"{prefix}/registered-model-id": str(given.model_id),
        f"{prefix}/model-version-id": str(given.version_id),
    }


def _annotations(given: ServingInput) -> dict[str, str]:
    described = {"openshift.io/description": given.description} if given.description else {}
    return {
        "serving.kserve.io/deploymentMode": "RawDeployment",
        "serving.kserve.io/autoscalerClass": "none",
        # KServe's cache of models on nodes would put other bytes in the place of what its initializer fetches.
        "serving.kserve.io/disable-localmodel": "true",
        "openshift.io/display-name": f"{given.display_name or given.model} {given.version}",
        **described,
        f"{GROUP}/hardware-profile": given.profile_name,
        "opendatahub.io/model-type": "generative",
        ANNOTATION_DIGEST: given.digest,
        f"{GROUP}/fit": given.fit.verdict,
        ANNOTATION_VERSION: f"{given.namespace}/{given.name}",
    }


def _arguments(given: ServingInput) -> list[str]:
    fit = given.fit
    if fit.verdict == "DoesNotFit":
        remedy = fit.remedy or "choose another hardware profile"
        raise NothingToServe(Problem(rule=fit.reason, found=fit.found, wanted=fit.wanted, remedy=remedy))
    how = given.profile.serving
    # After --model=/mnt/models of the runtime: the last counts.
    arguments = [] if given.model_file is None else [model_argument(given.model_file)]
    # Where nothing says a length vLLM takes its own: it would refuse a guess that is too long.
    arguments += [] if fit.max_model_len is None else [f"--max-model-len={fit.max_model_len}"]
    arguments.append(f"--gpu-memory-utilization={how.gpu_memory_utilization}")
    if fit.tensor_parallel_size > 1:
        arguments.append(f"--tensor-parallel-size={fit.tensor_parallel_size}")
    if fit.max_num_seqs is not None:
        arguments.append(f"--max-num-seqs={fit.max_num_seqs}")
    if how.kv_cache_dtype != "auto":
        arguments.append(f"--kv-cache-dtype={how.kv_cache_dtype}")
    if fit.dtype != "auto":
        arguments.append(f"--dtype={fit.dtype}")
    return arguments + normal_arguments(given.serving.extra_args)


def _resources(given: ServingInput) -> JsonObject:
    accelerators = {given.profile.accelerator.resource_name: str(given.fit.tensor_parallel_size)}
    asked = given.profile.resources
    return {"requests": {**asked.requests, **accelerators}, "limits": {**asked.limits, **accelerators}}


def _serving_runtime(given: ServingInput) -> JsonObject:
    accelerators = [given.profile.accelerator.resource_name]
    runtime: dict[str, Any] = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {
            "labels": {"opendatahub.io/dashboard": "true", f"{GROUP}/runtime": "vLLM"},
            "annotations": {
                "openshift.io/display-name": "vLLM (Gatehouse)",
                "opendatahub.io/template-display-name": "vLLM (Gatehouse)",
                "opendatahub.io/recommended-accelerators": orjson.dumps(accelerators).decode(),
                "opendatahub.io/apiProtocol": "REST",
            },
        },
        "spec": {
            "multiModel": False,
            "annotations": {
                "prometheus.io/port": "8080",
                "prometheus.io/path": "/metrics",
                "opendatahub.io/kserve-runtime": "vllm",
            },
            "supportedModelFormats": [{"name": "vLLM", "autoSelect": True}],
            "containers": [_container(given)],
            "volumes": [
                {
                    "name": "shm",
                    "emptyDir": {
                        "medium": "Memory",
                        "sizeLimit": f"{_SHARED_MEMORY_GIB * given.fit.tensor_parallel_size}Gi",
                    },
                }
            ],
        },
    }
    named = {"name": f"gatehouse-vllm-{_content_hash(runtime)[:10]}", "namespace": given.namespace}
    return {**runtime, "metadata": named | runtime["metadata"]}


def _container(given: ServingInput) -> JsonObject:
    return {
        "name": "kserve-container",
        "image": given.defaults.vllm_image,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        # KServe fills in {{.Name}}: the name of the InferenceService.
        "args": ["--port=8080", "--model=/mnt/models", "--served-model-name={{.Name}}"],
        "env": [
            {"name": "HF_HOME", "value": "/tmp/hf_home"},  # noqa: S108 - in vLLM's container
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            # For a user whom the image does not know: caches go below HOME, and PyTorch asks for a name.
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - in vLLM's container
            {"name": "USER", "value": "vllm"},
            *({"name": variable.name, "value": variable.value} for variable in given.serving.env),
        ],
        "ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http1"}],
        "securityContext": _security_context(given.defaults),
        **{kind: {"httpGet": {"path": "/health", "port": 8080}, **times} for kind, times in _PROBES.items()},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - in vLLM's container
    }


def _security_context(defaults: ServingDefaults) -> JsonObject:
    """What the Pod Security Standard restricted and OpenShift's restricted-v2 ask of a container."""
    user = {"runAsUser": defaults.run_as_user} if defaults.run_as_user else {}
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        **user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


_PROBES: Final = MappingProxyType(
    {
        "startupProbe": {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {"periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 5},
    }
)


def _content_hash(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
