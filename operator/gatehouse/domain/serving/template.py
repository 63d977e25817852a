"""The serving template: an InferenceService and the ServingRuntime it names, as objects, as YAML and in a ConfigMap.

The template sets all labels and annotations when the InferenceService is created: KServe copies them to the Pods, so a
later edit restarts vLLM. For the same reason the ServingRuntime's name depends on its content: a new image or
environment is a new runtime beside the old one, and no running model restarts because of another.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Final

import orjson
import yaml

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.api.meta import GROUP, VERSION, ObjectMeta
from gatehouse.api.model_registry import ServingDefaults
from gatehouse.api.model_version import Serving
from gatehouse.domain.common import bounded_yaml
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import folder_of
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.runtimes.arguments import check_release, check_serving, normal_arguments
from gatehouse.domain.runtimes.formats import model_argument
from gatehouse.domain.runtimes.refusals import NothingToServe
from gatehouse.domain.serving.names import (
    config_map_name,
    inference_service_name,
    label_value,
    require_namespace,
    require_service_name,
)

__all__ = [
    "ANNOTATION_DIGEST",
    "ANNOTATION_TEMPLATE_DIGEST",
    "ANNOTATION_VERSION",
    "INFERENCE_SERVICE_KEY",
    "LABEL_GATE",
    "LABEL_STAGE",
    "MANAGED_BY",
    "SERVING_RUNTIME_KEY",
    "UNENFORCED",
    "JsonObject",
    "ServingInput",
    "ServingTemplate",
    "TemplateWriter",
    "read_template",
    "render",
    "retarget",
    "to_yaml",
]

JsonObject = Mapping[str, Any]
"""A JSON object as the Kubernetes API takes it; never changed in place."""

ANNOTATION_VERSION: Final = f"{GROUP}/model-version"
ANNOTATION_DIGEST: Final = f"{GROUP}/artifact-digest"
LABEL_STAGE: Final = f"{GROUP}/stage"
LABEL_GATE: Final = f"{GROUP}/gate"
UNENFORCED: Final = frozenset({"Warn", "Off"})
"""Values of the gate's label with which the gate admits artifacts that are not vetted; any other value enforces the
gate."""

_SHARED_MEMORY_GIB: Final = 2
"""For each accelerator: the processes of the accelerators exchange tensors in shared memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingInput:
    """The input of a template. ``name`` in ``namespace`` is the ModelVersion, ``digest`` that of its artifact.

    ``model_file`` is the file of the artifact that vLLM loads in place of the folder.
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

    For another namespace without a name, the function derives a name that no version of either namespace has. Raises
    NameRefused.
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
        # Without the slash KServe's storage initializer also fetches siblings whose names begin with the same text.
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
        # The InferenceService controllers of Kubeflow and OpenShift AI write this label where it is missing, which
        # restarts the model. No service has an id before it exists, so the registry answers the id of the version.
        f"{prefix}/inference-service-id": str(given.version_id),
        **_registry_labels(given.defaults),
    }


def _registry_labels(defaults: ServingDefaults) -> dict[str, str]:
    """Where these controllers find the registry. Without the labels they look for the only Service of a registry."""
    service, prefix = defaults.registry_service, defaults.label_prefix
    if service is None:
        return {}
    return {f"{prefix}/name": service.name, f"{prefix}/namespace": service.namespace}


def _annotations(given: ServingInput) -> dict[str, str]:
    described = {"openshift.io/description": given.description} if given.description else {}
    return {
        "serving.kserve.io/deploymentMode": "RawDeployment",
        "serving.kserve.io/autoscalerClass": "none",
        # KServe's cache of models on nodes would replace the bytes that its initializer fetches.
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
        remedy = fit.finding.remedy or "choose another hardware profile"
        raise NothingToServe(
            Finding(reason=fit.finding.reason, found=fit.finding.found, expected=fit.finding.expected, remedy=remedy)
        )
    how = given.profile.serving
    # After --model=/mnt/models of the runtime: the last argument counts.
    arguments = [] if given.model_file is None else [model_argument(given.model_file)]
    # Where no source has a length, vLLM takes its own: vLLM would refuse a guess that is too long.
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
            # For a user unknown to the image: caches lie below HOME, and PyTorch asks for a user name.
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
    """The fields that the Pod Security Standard restricted and OpenShift's restricted-v2 require of a container."""
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


MANAGED_BY: Final = ("app.kubernetes.io/managed-by", "gatehouse")
"""Label that every template carries."""
INFERENCE_SERVICE_KEY: Final = "inferenceservice.yaml"
SERVING_RUNTIME_KEY: Final = "servingruntime.yaml"
ANNOTATION_TEMPLATE_DIGEST: Final = f"{GROUP}/template-digest"
_LARGEST_TEXT: Final = 262_144
_NOT_TEXT_TO_KUBECTL = re.compile(r"[-+]?\.?[0-9][0-9a-fA-FxXoObB_.:+-]*|[yYnN]", re.ASCII)
"""Texts that Go's YAML reads as a number or a truth value and PyYAML does not, such as 1e3 and y; and more."""


def _text(dumper: yaml.representer.BaseRepresenter, text: str) -> yaml.Node:
    style = "'" if _NOT_TEXT_TO_KUBECTL.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


class _Dumper(yaml.CSafeDumper):
    """Writes repeated values out, because anchors are hard to read for people."""

    yaml_representers: ClassVar = {**yaml.CSafeDumper.yaml_representers, str: _text}

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def to_yaml(value: JsonObject) -> str:
    """A JSON object as block YAML with its keys in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000))


class TemplateWriter:
    """Writes templates. The texts of the last few runtimes are cached, as most versions of a namespace share one."""

    def __init__(self, *, kept: int = 256) -> None:
        self._kept = kept
        self._runtimes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def config_map(self, template: ServingTemplate, *, owner: ObjectMeta) -> dict[str, Any]:
        """The ConfigMap of the ModelVersion ``owner``; Kubernetes deletes the ConfigMap with its owner."""
        metadata = template.inference_service["metadata"]
        shared = (f"{GROUP}/model", f"{GROUP}/version", f"{GROUP}/hardware-profile", f"{GROUP}/runtime")
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": config_map_name(owner.name),
                "namespace": owner.namespace,
                "labels": {
                    MANAGED_BY[0]: MANAGED_BY[1],
                    f"{GROUP}/model-version": label_value(owner.name),
                    **{label: metadata["labels"][label] for label in shared},
                },
                "annotations": {
                    ANNOTATION_TEMPLATE_DIGEST: template.digest,
                    f"{GROUP}/artifact-digest": metadata["annotations"][f"{GROUP}/artifact-digest"],
                },
                "ownerReferences": [
                    {
                        "apiVersion": f"{GROUP}/{VERSION}",
                        "kind": "ModelVersion",
                        "name": owner.name,
                        "uid": owner.uid,
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "data": {
                INFERENCE_SERVICE_KEY: to_yaml(template.inference_service),
                SERVING_RUNTIME_KEY: self._runtime(template),
            },
        }

    def _runtime(self, template: ServingTemplate) -> str:
        # The name of a runtime is a hash of its content.
        key = (template.namespace, str(template.serving_runtime["metadata"]["name"]))
        text = self._runtimes.pop(key, None) or to_yaml(template.serving_runtime)
        self._runtimes[key] = text
        if len(self._runtimes) > self._kept:
            self._runtimes.popitem(last=False)
        return text


def read_template(config_map: Mapping[str, Any]) -> ServingTemplate:
    """The template in a ConfigMap that :class:`TemplateWriter` made.

    Raises ValueError when the ConfigMap has no template, or one that differs from the digest in its annotations.
    """
    data = config_map.get("data") or {}
    service, runtime = (_plain_object(data.get(key), key) for key in (INFERENCE_SERVICE_KEY, SERVING_RUNTIME_KEY))
    template = ServingTemplate(inference_service=service, serving_runtime=runtime)
    recorded = ((config_map.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION_TEMPLATE_DIGEST)
    if template.digest != recorded:
        raise ValueError(f"the template is {template.digest}, but {ANNOTATION_TEMPLATE_DIGEST} says {recorded}")
    return template


def _plain_object(text: object, key: str) -> JsonObject:
    what = f"{key} of the ConfigMap"
    if not isinstance(text, str):
        raise ValueError(f"{what} is absent")  # noqa: TRY004 - a value from outside
    match bounded_yaml.load_documents(text.encode("utf-8", "surrogatepass"), what=what, max_bytes=_LARGEST_TEXT):
        case [dict(value)]:
            return value
        case _:
            raise ValueError(f"{what} is not one object")
