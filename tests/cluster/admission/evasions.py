"""Fields of an InferenceService that would load other bytes, and URIs that are written in other ways."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.admission.fields import ANNOTATIONS, LABELS, MODEL, PREDICTOR, Changes
from cluster.gated import (
    URI,
)

INTERNAL = "internal.serving.kserve.io"
EVIL = "s3://models/evil/"
SIDECAR = {"name": "sidecar", "image": "evil"}
URIS = {
    "another": EVIL,
    "other case": URI.replace("granite", "Granite"),
    "scheme in capitals": URI.replace("s3:", "S3:"),
    "bucket in capitals": URI.replace("models", "Models"),
    "no slash at the end": URI.rstrip("/"),
    "slash doubled at the end": f"{URI}/",
    "slash doubled within": URI.replace("models/", "models//"),
    "two dots": f"{URI}../evil/",
    "two dots around": f"s3://models/evil/../{URI.removeprefix('s3://models/')}",
    "one dot": f"{URI}./",
    "question mark": f"s3://models/evil?/{URI.removeprefix('s3://models/')}",
    "hash": f"s3://models/evil/#/{URI.removeprefix('s3://models/')}",
    "percent": URI.replace("granite", "gr%61nite"),
    "sibling prefix": URI.replace("dynamic/", "dynamic"),
    "sibling": f"{URI.rstrip('/')}-v2/",
    "below": f"{URI}checkpoint/",
    "above": "s3://models/",
    "another bucket of the stage": URI.replace("models", "weights"),
    "a bucket that nobody knows": URI.replace("models", "elsewhere"),
    "space": f"{URI} ",
    "line break": f"{URI}\n",
    "hugging face": "hf://ibm-granite/granite-3.1-8b-instruct",
    "volume": "pvc://models/granite",
    "image": "oci://registry/granite:1",
    "native image": "oci+native://registry/granite:1",
    "https": "https://example.com/granite.zip",
    "google": URI.replace("s3:", "gs:"),
    "file": "file:///mnt/models",
    "path": "/mnt/models",
    "empty": "",
    "not a string": 7,
}


OVERRIDES: Mapping[str, Changes] = {
    # (a) the approved URI stays visible and another model is loaded
    "local model by labels of the predictor": {
        (*PREDICTOR, "labels", f"{INTERNAL}/localmodel"): "evil",
        (*PREDICTOR, "annotations", f"{INTERNAL}/localmodel-pvc-name"): "evil",
    },
    "local model by labels": {(*LABELS, f"{INTERNAL}/localmodel"): "evil"},
    "local model by annotations": {(*ANNOTATIONS, f"{INTERNAL}/localmodel-pvc-name"): "evil"},
    "another storage initializer": {(*PREDICTOR, "initContainers"): [{"name": "storage-initializer", "image": "evil"}]},
    "another init container": {(*PREDICTOR, "initContainers"): [SIDECAR]},
    "a volume in place of the model's": {
        (*PREDICTOR, "volumes"): [{"name": "kserve-provision-location", "persistentVolumeClaim": {"claimName": "evil"}}]
    },
    "parameters of the storage": {(*MODEL, "storage", "parameters"): {"endpoint_url": "http://evil"}},
    "parameters by annotation": {(*ANNOTATIONS, f"{INTERNAL}/storage-spec-param"): '{"endpoint_url": "http://evil"}'},
    "another key by annotation": {(*ANNOTATIONS, f"{INTERNAL}/storage-spec-key"): "evil"},
    "another secret": {(*ANNOTATIONS, "serving.kserve.io/storageSecretName"): "evil"},
    "annotations of the predictor": {(*PREDICTOR, "annotations", "serving.kserve.io/storageSecretName"): "evil"},
    "another server by name": {(*PREDICTOR, "hostAliases"): [{"ip": "10.0.0.9", "hostnames": ["minio.minio"]}]},
    "another name server": {
        (*PREDICTOR, "dnsConfig"): {"nameservers": ["10.0.0.9"]},
        (*PREDICTOR, "dnsPolicy"): "None",
    },
    "the node's network": {(*PREDICTOR, "hostNetwork"): True},
    "another service account": {(*PREDICTOR, "serviceAccountName"): "evil"},
    "another command": {(*MODEL, "command"): ["python3", "-c", "evil"]},
    "another image": {(*MODEL, "image"): "evil"},
    "environment": {(*MODEL, "env"): [{"name": "HF_HUB_OFFLINE", "value": "0"}]},
    "environment from elsewhere": {(*MODEL, "envFrom"): [{"configMapRef": {"name": "evil"}}]},
    "a hook": {(*MODEL, "lifecycle"): {"postStart": {"exec": {"command": ["evil"]}}}},
    "a probe that runs something": {(*MODEL, "livenessProbe"): {"exec": {"command": ["evil"]}}},
    "another folder to work in": {(*MODEL, "workingDir"): "/evil"},
    "a mount": {(*MODEL, "volumeMounts"): [{"name": "evil", "mountPath": "/mnt/models"}]},
    "a sidecar": {(*PREDICTOR, "containers"): [SIDECAR]},
    **{
        f"argument {argument}": {(*MODEL, "args", -1): argument}
        for argument in (
            "--model=org/evil",
            "org/evil",
            "--mod=org/evil",
            "--lora-modules=evil=/tmp/evil",
            '--speculative-config={"model":"evil"}',
            "--tokenizer=org/evil",
            "--config=/tmp/evil.yaml",
            "--hf-config-path=org/evil",
            "--load-format=runai_streamer",
            "--download-dir=/tmp",
            "--chat-template=/tmp/evil",
            "--trust-remote-code",
            "--trust_remote_code",
            "--served-model-name={{index .Labels `x`}}",
            "--served-model-name=x\n",
            "--served-model-name=x\n--model=org/evil",
            "--served-model-name=x --model=org/evil",
            "--served-model-name=x,y",
            "--served-model-name=--model",
            "--served-model-name=/x",
            "--served-model-name=",
            "--served-model-name",
            "--served_model_name=x",
            "--served-model-nam=x",
            "--served-model-name=a/\u0430",
            f"--served-model-name={'x' * 129}",
            "--seed={{index .Labels `x`}}",
            "--max-model-len=1 --model=org/evil",
            '--limit-mm-per-prompt={"image":2}',
            "--max-cudagraph-capture-size=9",
            "--load-format=npcache",
            "--enable-dbo",
            "--seed=1\n",
            "",
        )
    },
    # (b) other fields that name a source
    **{
        f"framework {name}": {(*PREDICTOR, name): {"storageUri": EVIL}}
        for name in (
            "sklearn",
            "xgboost",
            "tensorflow",
            "pytorch",
            "triton",
            "onnx",
            "huggingface",
            "pmml",
            "lightgbm",
            "paddle",
        )
    },
    "more URIs": {(*PREDICTOR, "storageUris"): [{"uri": EVIL, "mountPath": "/mnt/models"}]},
    "a path in the storage": {(*MODEL, "storage", "path"): "evil/"},
    "a schema in the storage": {(*MODEL, "storage", "schemaPath"): "evil/"},
    "no key in the storage": {(*MODEL, "storage"): {}},
    "no storage": {(*MODEL, "storage"): None},
    "a container of one's own with the model baked in": {
        (*PREDICTOR, "containers"): [{"name": "kserve-container", "image": "evil"}],
        MODEL: None,
    },
    "a container that names the source": {
        (*PREDICTOR, "containers"): [{"name": "x", "image": "x", "env": [{"name": "STORAGE_URI", "value": EVIL}]}]
    },
    "another storage container": {(*PREDICTOR, "storageContainerName"): "evil"},
    "workers": {(*PREDICTOR, "workerSpec"): {"pipelineParallelSize": 2}},
    "a canary": {("spec", "canary"): [{"name": "x", "predictor": {"model": {"storageUri": EVIL}}}]},
    "a transformer": {("spec", "transformer"): {"containers": [SIDECAR]}},
    "an explainer": {("spec", "explainer"): {"art": {"storageUri": EVIL}}},
    "another runtime": {(*MODEL, "runtime"): "evil"},
    "a runtime of KServe's choice": {(*MODEL, "runtime"): None},
    "another version of the runtime": {(*MODEL, "runtimeVersion"): "evil"},
    "another format": {(*MODEL, "modelFormat", "name"): "huggingface"},
    "confidential": {(*MODEL, "confidential"): {"enabled": True}},
    "a claim of a device": {(*MODEL, "resources", "claims"): [{"name": "gpu"}]},
    "claims of devices": {(*PREDICTOR, "resourceClaims"): [{"name": "gpu", "resourceClaimName": "x"}]},
    "another connection": {(*MODEL, "storage", "key"): "evil"},
    "environment from a secret": {
        (*MODEL, "env"): [{"name": "OMP_NUM_THREADS", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]
    },
    "environment that KServe expands": {
        (*MODEL, "env"): [{"name": "OMP_NUM_THREADS", "value": "{{index .Annotations `x`}}"}]
    },
    "a name of a resource that KServe expands": {(*MODEL, "resources", "limits", "{{index .Annotations `x`}}"): "1"},
    "a probe that KServe expands": {
        (*MODEL, "livenessProbe"): {"httpGet": {"path": "/{{index .Annotations `x`}}", "port": 8080}}
    },
    "a probe of another host": {(*MODEL, "livenessProbe"): {"httpGet": {"path": "/", "port": 80, "host": "evil"}}},
    "a probe with headers": {
        (*MODEL, "livenessProbe"): {"httpGet": {"path": "/", "port": 80, "httpHeaders": [{"name": "x", "value": "y"}]}}
    },
    "privileges": {(*MODEL, "securityContext"): {"privileged": True}},
    "more privileges": {(*MODEL, "securityContext"): {"allowPrivilegeEscalation": True}},
    "capabilities": {(*MODEL, "securityContext"): {"capabilities": {"add": ["SYS_ADMIN"]}}},
    "root": {(*MODEL, "securityContext"): {"runAsUser": 0}},
    "maybe root": {(*PREDICTOR, "securityContext"): {"runAsNonRoot": False}},
    "any system call": {(*PREDICTOR, "securityContext"): {"seccompProfile": {"type": "Unconfined"}}},
    "kernel settings": {
        (*PREDICTOR, "securityContext"): {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}
    },
    "another type for SELinux": {(*MODEL, "securityContext"): {"seLinuxOptions": {"type": "spc_t"}}},
    "variables of other services": {(*PREDICTOR, "enableServiceLinks"): True},
    "a collector beside the server": {
        (*PREDICTOR, "autoScaling"): {"metrics": [{"type": "PodMetric", "podmetric": {"metric": {"backend": "x"}}}]}
    },
    "a canary by share": {(*PREDICTOR, "canaryTrafficPercent"): 10},
    "no updates": {(*ANNOTATIONS, "serving.kserve.io/disable-auto-update"): "true"},
    "a digest for its Pods only": {(*PREDICTOR, "annotations", "gatehouse.dev/artifact-digest"): "x"},
    "a label of KServe's for its Pods": {(*PREDICTOR, "labels", "serving.kserve.io/inferenceservice"): "evil"},
    "another source for its Pods": {
        (*PREDICTOR, "annotations", f"{INTERNAL}/storage-initializer-sourceuri"): EVIL,
    },
    "a shared process namespace": {(*PREDICTOR, "shareProcessNamespace"): True},
    "a logger": {(*PREDICTOR, "logger"): {"url": "http://evil"}},
    "serverless": {(*ANNOTATIONS, "serving.kserve.io/deploymentMode"): "Serverless"},
    # the digest
    "another digest": {(*ANNOTATIONS, "gatehouse.dev/artifact-digest"): f"sha256:{'e' * 64}"},
    "no digest": {(*ANNOTATIONS, "gatehouse.dev/artifact-digest"): None},
}
