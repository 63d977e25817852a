"""Ways past the gate in a Pod of a model, and values of the variables that it may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from cluster.admission.evasions import EVIL
from cluster.admission.fields import Changes
from cluster.gated import IMAGE, URI, Gate, by_gate, send
from cluster.podfields import Place
from cluster.status import Manifest
from gatehouse.domain.runtimes.environment import HARMLESS_ENVIRONMENT, RESERVED_ENVIRONMENT
from gatehouse_local.errors import ApiRefused
from unit.domain.runtimes.ways_in import WAYS_IN

__all__ = ["PODS", "SERVICE", "SHM", "TZ", "VALUES", "let_in", "sample"]

INIT: Final = ("spec", "initContainers", 0)
SERVER: Final = ("spec", "containers", 0)
LABEL: Final = ("metadata", "labels", "serving.kserve.io/inferenceservice")
SERVICE: Final = "granite-3-1-8b-instruct-fp8-0c1cf10e2f"
TZ: Final = {"name": "TZ", "value": "Europe/Berlin"}
SHM: Final = {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108 - in the container
SAMPLES = (
    *("1", "0", "INFO", "info", "true", "random", "IB", "C", "FATAL", "LAZY", "PCI_BUS_ID", "NHD", "spawn", "auto"),
    *("3", "opencv", "NONE", "cores", "ACTIVE", "AF_INET", "DEBUG", "max_split_size_mb:512", "UTC"),
)
PODS: Mapping[str, Changes] = {
    "another URI": {(*INIT, "args"): [EVIL, "/mnt/models"]},
    "a second URI": {(*INIT, "args"): [URI, "/mnt/models", EVIL, "/mnt/models"]},
    "another folder": {(*INIT, "args"): [URI, "/srv"]},
    "no initializer, as in a namespace that KServe passes by": {("spec", "initContainers"): None},
    "a second init container": {("spec", "initContainers", -1): {"name": "evil", "image": "evil"}},
    "an initializer of one's own": {(*INIT, "image"): "evil/storage-initializer:v0.20.0"},
    "an image that begins the same": {(*INIT, "image"): "kserve/storage-initializer-evil:v1"},
    "a command for the initializer": {(*INIT, "command"): ["sh", "-c", "evil"]},
    "another endpoint for the initializer": {
        (*INIT, "env", -1): {"name": "STORAGE_OVERRIDE_CONFIG", "value": '{"endpoint_url": "http://evil"}'}
    },
    "another secret for the initializer": {
        (*INIT, "env", 0): {
            "name": "STORAGE_CONFIG",
            "valueFrom": {"secretKeyRef": {"name": "evil", "key": "x"}},
        }
    },
    "a configuration in the clear": {(*INIT, "env", 0): {"name": "STORAGE_CONFIG", "value": "{}"}},
    "a proxy for the initializer": {(*INIT, "env", -1): {"name": "HTTP_PROXY", "value": "http://evil"}},
    "the bucket in the name of another host": {(*INIT, "env", -1): {"name": "S3_USER_VIRTUAL_BUCKET", "value": "true"}},
    "another word for the bucket in the name of a host": {
        (*INIT, "env", -1): {"name": "S3_USER_VIRTUAL_BUCKET", "value": "True"}
    },
    "environment from elsewhere for the initializer": {(*INIT, "envFrom"): [{"configMapRef": {"name": "evil"}}]},
    "an initializer that stays": {(*INIT, "restartPolicy"): "Always"},
    "a volume claim in place of the model's folder": {
        ("spec", "volumes", 2): {"name": "kserve-provision-location", "persistentVolumeClaim": {"claimName": "evil"}}
    },
    "an image in place of the model's folder": {
        ("spec", "volumes", 2): {"name": "kserve-provision-location", "image": {"reference": "evil"}}
    },
    "a host path": {("spec", "volumes", -1): {"name": "evil", "hostPath": {"path": "/models"}}},
    "a config map": {("spec", "volumes", -1): {"name": "evil", "configMap": {"name": "evil"}}},
    "a volume claim": {("spec", "volumes", -1): {"name": "evil", "persistentVolumeClaim": {"claimName": "evil"}}},
    "a secret in the projection": {
        ("spec", "volumes", 1, "projected", "sources", -1): {"secret": {"name": "evil"}},
    },
    "what somebody writes into an annotation, as a file": {
        ("spec", "volumes", 1, "projected", "sources", -1): {
            "downwardAPI": {"items": [{"path": "x.py", "fieldRef": {"fieldPath": "metadata.annotations['x']"}}]}
        }
    },
    "the access to the API over code": {(*SERVER, "volumeMounts", 1, "mountPath"): "/usr/lib/python3/dist-packages"},
    "a config map over the initializer's code": {
        ("spec", "volumes", -1): {"name": "cabundle-cert", "configMap": {"name": "evil"}},
        (*INIT, "volumeMounts", -1): {"name": "cabundle-cert", "mountPath": "/storage-initializer/scripts"},
    },
    "a config map over the server's code": {
        ("spec", "volumes", -1): {"name": "cabundle-cert", "configMap": {"name": "evil"}},
        (*SERVER, "volumeMounts", -1): {"name": "cabundle-cert", "mountPath": "/etc/ssl/../../usr/lib/python3"},
    },
    "a secret over the server's code": {
        ("spec", "volumes", -1): {"name": "proxy-tls", "secret": {"secretName": "evil-serving-cert"}},
        (*SERVER, "volumeMounts", -1): {"name": "proxy-tls", "mountPath": "/usr/lib/python3/dist-packages"},
    },
    "another secret": {
        ("spec", "volumes", -1): {"name": "proxy-tls", "secret": {"secretName": "evil"}},
        (*SERVER, "volumeMounts", -1): {"name": "proxy-tls", "mountPath": "/etc/tls/private"},
    },
    "another volume at the model's folder": {
        ("spec", "containers", 0, "volumeMounts"): [{"name": "shm", "mountPath": "/mnt/models"}]
    },
    "a volume over a file of the model": {
        (*SERVER, "volumeMounts", -1): {"name": "shm", "mountPath": "/mnt/models/config.json"}
    },
    "a part of the volume": {(*SERVER, "volumeMounts", -1): {"name": "shm", "mountPath": "/srv/x", "subPath": "x"}},
    "a sidecar": {("spec", "containers", -1): {"name": "sidecar", "image": IMAGE}},
    "another container": {(*SERVER, "name"): "main"},
    "an image with the model baked in": {(*SERVER, "image"): "evil"},
    "another tag": {(*SERVER, "image"): "vllm/vllm-openai:latest"},
    "another command": {(*SERVER, "command"): ["vllm", "serve", "org/evil"]},
    "another model": {(*SERVER, "args", -1): "--model=org/evil"},
    "another model by its beginning": {(*SERVER, "args", -1): "--mod=org/evil"},
    "a model by its place": {(*SERVER, "args", -1): "org/evil"},
    "an adapter": {(*SERVER, "args", -1): "--lora-modules=x=/tmp/x"},
    "an argument that is on no list": {(*SERVER, "args", -1): "--enable-dbo"},
    "a value that is not allowed": {(*SERVER, "args", -1): "--load-format=npcache"},
    "an empty argument": {(*SERVER, "args", -1): ""},
    "code of the model": {(*SERVER, "args", -1): "--trust-remote-code"},
    "the network for models": {(*SERVER, "env", -1): {"name": "HF_HUB_OFFLINE", "value": "0"}},
    "another hub": {(*SERVER, "env", -1): {"name": "HF_ENDPOINT", "value": "http://evil"}},
    "a plugin": {(*SERVER, "env", -1): {"name": "VLLM_PLUGINS", "value": "evil"}},
    "code by the environment": {(*SERVER, "env", -1): {"name": "PYTHONPATH", "value": "/srv"}},
    "environment by reference": {
        (*SERVER, "env", -1): {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    },
    "environment from elsewhere": {(*SERVER, "envFrom"): [{"configMapRef": {"name": "evil"}}]},
    "a hook": {(*SERVER, "lifecycle"): {"postStart": {"exec": {"command": ["evil"]}}}},
    "a probe that runs something": {(*SERVER, "livenessProbe"): {"exec": {"command": ["evil"]}}},
    "another server by name": {("spec", "hostAliases"): [{"ip": "10.0.0.9", "hostnames": ["minio.minio"]}]},
    "another name server": {
        ("spec", "dnsConfig"): {"nameservers": ["10.0.0.9"]},
        ("spec", "dnsPolicy"): "None",
    },
    "the node's network": {("spec", "hostNetwork"): True},
    "the node's processes": {("spec", "hostPID"): True},
    "a shared process namespace": {("spec", "shareProcessNamespace"): True},
    "a claim of a device": {("spec", "resourceClaims"): [{"name": "gpu", "resourceClaimName": "gpu"}]},
    "no label, so that KServe does nothing": {LABEL: None},
}


VALUES: Mapping[str, Changes] = {
    "privileged": {(*SERVER, "securityContext"): {"privileged": True}},
    "a privileged initializer": {(*INIT, "securityContext"): {"privileged": True}},
    "escalation": {(*SERVER, "securityContext"): {"allowPrivilegeEscalation": True}},
    "a capability": {(*SERVER, "securityContext"): {"capabilities": {"add": ["SYS_ADMIN"]}}},
    "all of /proc": {
        ("spec", "hostUsers"): False,
        (*SERVER, "securityContext"): {"procMount": "Unmasked"},
    },
    "no seccomp": {(*SERVER, "securityContext"): {"seccompProfile": {"type": "Unconfined"}}},
    "no seccomp for all": {("spec", "securityContext"): {"seccompProfile": {"type": "Unconfined"}}},
    "no AppArmor": {(*SERVER, "securityContext"): {"appArmorProfile": {"type": "Unconfined"}}},
    "no AppArmor for all": {("spec", "securityContext"): {"appArmorProfile": {"type": "Unconfined"}}},
    "another type of SELinux": {(*SERVER, "securityContext"): {"seLinuxOptions": {"type": "spc_t"}}},
    "another user of SELinux": {("spec", "securityContext"): {"seLinuxOptions": {"user": "system_u"}}},
    "a port of the node": {(*SERVER, "ports", 0, "hostPort"): 8080},
    "a message over code": {(*SERVER, "terminationMessagePath"): "/usr/lib/python3/dist-packages/x.py"},
    "a message over the model": {(*SERVER, "terminationMessagePath"): "/mnt/models/config.json"},
    "the node's names": {("spec", "dnsPolicy"): "Default"},
    "a Pod that ends": {("spec", "restartPolicy"): "Never"},
    "a TCP probe elsewhere": {(*SERVER, "livenessProbe"): {"tcpSocket": {"host": "evil", "port": 80}}},
    "a probe with headers": {
        (*SERVER, "livenessProbe"): {"httpGet": {"port": 8080, "httpHeaders": [{"name": "Host", "value": "evil"}]}}
    },
    "the model's folder in another spelling": {(*SERVER, "volumeMounts", -1): {**SHM, "mountPath": "/mnt//models"}},
    "and in another": {(*SERVER, "volumeMounts", -1): {**SHM, "mountPath": "/mnt/./models"}},
    "and in a third": {(*SERVER, "volumeMounts", -1): {**SHM, "mountPath": "/mnt/x/../models"}},
    "the model writable": {(*SERVER, "volumeMounts", 2, "readOnly"): None},
    "an empty folder over code": {(*SERVER, "volumeMounts", -1): {**SHM, "mountPath": "/usr/lib/python3"}},
    "certificates in the server": {
        ("spec", "volumes", -1): {"name": "cabundle-cert", "configMap": {"name": "x"}},
        (*SERVER, "volumeMounts", -1): {"name": "cabundle-cert", "mountPath": "/etc/ssl/custom-certs"},
    },
    "a secret without the proxy": {
        ("spec", "volumes", -1): {"name": "proxy-tls", "secret": {"secretName": f"{SERVICE}-serving-cert"}},
        (*SERVER, "volumeMounts", -1): {"name": "proxy-tls", "mountPath": "/etc/tls/private"},
    },
    "a newer initializer than any release": {(*INIT, "image"): "kserve/storage-initializer:latest"},
    "a digest in the initializer's repository": {(*INIT, "image"): f"kserve/storage-initializer@sha256:{'a' * 64}"},
    "a tag with another digest": {(*INIT, "image"): f"kserve/storage-initializer:v0.20.0@sha256:{'a' * 64}"},
    "the label of the Service alone": {
        ("metadata", "labels"): {"app": f"isvc.{SERVICE}-predictor"},
        ("metadata", "annotations"): None,
    },
    "another server for the initializer, by a value": {
        (*INIT, "env", -1): {"name": "CA_BUNDLE_VOLUME_MOUNT_POINT", "value": "/mnt/models"}
    },
    **{
        f"the variable {name}": {(*SERVER, "env", -1): {"name": name, "value": "1"}}
        for name in sorted({*WAYS_IN, *RESERVED_ENVIRONMENT})
    },
    "a value that is not of the list": {(*SERVER, "env", -1): {"name": "TZ", "value": "/mnt/models/zone"}},
    "a value that Kubernetes expands": {(*SERVER, "env", -1): {"name": "LANG", "value": "$(HOSTNAME)"}},
    "another home of the Hub": {(*SERVER, "env", -1): {"name": "HF_HOME", "value": "/mnt/models"}},
    "another value than the registry's": {(*SERVER, "env", -1): {"name": "TEAM_MODE", "value": "slow"}},
}


def let_in(gate: Gate, pod: Manifest, place: Place, field: str, value: Any) -> str:
    """Nothing when the gate refuses the field, or the API server drops it; otherwise what happened."""
    try:
        answer = send(gate.admin, place.put(pod, field, value))
    except ApiRefused as refused:
        said = str(refused)
        named = field in said or isinstance(place.path[-1], int)
        return "" if by_gate(refused) and "gatehouse-pod" in said and named else said
    return f"passes with {value}" if place.has(answer, field) else ""


def sample(name: str) -> str:
    return next(each for each in SAMPLES if re.fullmatch(HARMLESS_ENVIRONMENT[name], each))
