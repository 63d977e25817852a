"""One Pod for each field that the API server knows: from its own OpenAPI, so that the next release's fields are there.

A value is made from the field's schema; where the API server wants a particular one, an example says it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.gated import altered
from cluster.status import Manifest
from gatehouse_local.kube import KubeClient

__all__ = ["PLACES", "Place", "Schemas", "least_value", "schemas_of"]

Path = tuple[str | int, ...]
Schemas = Mapping[str, Mapping[str, Any]]

INIT: Final[Path] = ("spec", "initContainers", 0)
SERVER: Final[Path] = ("spec", "containers", 0)
PROXY: Final[Path] = ("spec", "containers", 1)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTAINER_FIELDS: Final = _words("""
    name image args env resources resizePolicy volumeMounts terminationMessagePath terminationMessagePolicy
    imagePullPolicy securityContext
""")
SERVER_FIELDS: Final = CONTAINER_FIELDS | {"command", "ports", "startupProbe", "readinessProbe", "livenessProbe"}
SECURITY_FIELDS: Final = _words("""
    allowPrivilegeEscalation capabilities privileged procMount readOnlyRootFilesystem runAsGroup runAsNonRoot
    runAsUser seccompProfile seLinuxOptions appArmorProfile
""")
POD_FIELDS: Final = _words("""
    volumes initContainers containers restartPolicy terminationGracePeriodSeconds dnsPolicy nodeSelector
    serviceAccountName serviceAccount automountServiceAccountToken nodeName securityContext imagePullSecrets
    affinity schedulerName tolerations priorityClassName priority enableServiceLinks preemptionPolicy
    topologySpreadConstraints runtimeClassName overhead schedulingGates readinessGates activeDeadlineSeconds
    hostUsers os resources
""")
POD_SECURITY_FIELDS: Final = _words("""
    fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seccompProfile seLinuxOptions
    seLinuxChangePolicy supplementalGroups supplementalGroupsPolicy appArmorProfile
""")
PROBE_FIELDS: Final = _words("""
    httpGet tcpSocket grpc initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold
    terminationGracePeriodSeconds
""")
VOLUMES: Final = frozenset(["emptyDir", "configMap", "secret", "projected"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a good Pod, the schema of what is there, and the fields that a Pod of a model may have there.

    ``instead``: what is taken out, as there may be one of them only.
    """

    path: Path
    schema: str
    allowed: frozenset[str]
    instead: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return ".".join(str(each) for each in self.path)

    def refused(self, schemas: Schemas) -> Iterator[tuple[str, Any]]:
        """Each field that is not allowed, with a value."""
        for field, schema in sorted(schemas[self.schema]["properties"].items()):
            if field not in self.allowed:
                example = EXAMPLES.get((self.schema.rpartition(".")[2], field))
                yield field, copy.deepcopy(example) if example is not None else least_value(schema, schemas)

    def put(self, pod: Manifest, field: str, value: Any) -> Manifest:
        """The Pod with the field."""
        key = self.schema.rpartition(".")[2], field
        changed = altered(pod, ELSEWHERE.get(key, {}))
        node = self._at(changed)
        node |= BESIDE.get(key, {})
        for other in self.instead:
            node.pop(other, None)
        node[field] = value
        return changed

    def has(self, pod: Manifest, field: str) -> bool:
        """Whether the API server kept the field: one of a feature that is off it drops."""
        return field in self._at(pod)

    def _at(self, pod: Manifest) -> Any:
        node: Any = pod
        for key in self.path:
            node = node[key] if isinstance(key, int) else node.setdefault(key, {})
        return node


_CORE: Final = "io.k8s.api.core.v1."
PLACES: Final = (
    Place(path=("spec",), schema=f"{_CORE}PodSpec", allowed=POD_FIELDS),
    Place(path=("spec", "securityContext"), schema=f"{_CORE}PodSecurityContext", allowed=POD_SECURITY_FIELDS),
    Place(path=INIT, schema=f"{_CORE}Container", allowed=CONTAINER_FIELDS),
    Place(path=SERVER, schema=f"{_CORE}Container", allowed=SERVER_FIELDS),
    Place(
        path=PROXY,
        schema=f"{_CORE}Container",
        allowed=CONTAINER_FIELDS - {"env"} | {"ports", "readinessProbe", "livenessProbe"},
    ),
    *(
        Place(path=(*container, "securityContext"), schema=f"{_CORE}SecurityContext", allowed=SECURITY_FIELDS)
        for container in (INIT, SERVER, PROXY)
    ),
    *(
        Place(
            path=(*container, "resources"),
            schema=f"{_CORE}ResourceRequirements",
            allowed=frozenset(["requests", "limits"]),
        )
        for container in (INIT, SERVER, PROXY)
    ),
    *(
        Place(
            path=(*container, "volumeMounts", 0),
            schema=f"{_CORE}VolumeMount",
            allowed=frozenset(["name", "mountPath", "readOnly"]),
        )
        for container in (INIT, SERVER, PROXY)
    ),
    *(
        Place(path=(*container, probe), schema=f"{_CORE}Probe", allowed=PROBE_FIELDS, instead=frozenset(["httpGet"]))
        for container, probe in (
            (SERVER, "startupProbe"),
            (SERVER, "readinessProbe"),
            (SERVER, "livenessProbe"),
            (PROXY, "readinessProbe"),
            (PROXY, "livenessProbe"),
        )
    ),
    *(
        Place(
            path=(*container, "readinessProbe", "httpGet"),
            schema=f"{_CORE}HTTPGetAction",
            allowed=frozenset(["path", "port", "scheme"]),
        )
        for container in (SERVER, PROXY)
    ),
    *(
        Place(
            path=(*container, "ports", 0),
            schema=f"{_CORE}ContainerPort",
            allowed=frozenset(["name", "containerPort", "protocol"]),
        )
        for container in (SERVER, PROXY)
    ),
    Place(
        path=(*SERVER, "env", 0),
        schema=f"{_CORE}EnvVar",
        allowed=frozenset(["name", "value"]),
        instead=frozenset(["value"]),
    ),
    # Every kind of volume, in place of the one that is for the model, and of one that is for the server.
    Place(
        path=("spec", "volumes", 0), schema=f"{_CORE}Volume", allowed=frozenset(["name", "emptyDir"]), instead=VOLUMES
    ),
    Place(
        path=("spec", "volumes", -1), schema=f"{_CORE}Volume", allowed=frozenset(["name", "emptyDir"]), instead=VOLUMES
    ),
)

_CLAIM: Final = {"name": "x", "resourceClaimName": "x"}
_EXEC: Final = {"exec": {"command": ["x"]}}
EXAMPLES: Final[Mapping[tuple[str, str], Any]] = {
    ("PodSpec", "dnsConfig"): {"nameservers": ["10.0.0.9"]},
    ("PodSpec", "ephemeralContainers"): [],
    ("PodSpec", "hostAliases"): [{"ip": "10.0.0.9", "hostnames": ["x"]}],
    ("PodSpec", "resourceClaims"): [_CLAIM],
    ("PodSecurityContext", "sysctls"): [{"name": "kernel.shm_rmid_forced", "value": "1"}],
    ("PodSecurityContext", "windowsOptions"): {"runAsUserName": "x"},
    ("SecurityContext", "windowsOptions"): {"runAsUserName": "x"},
    ("Container", "envFrom"): [{"configMapRef": {"name": "x"}}],
    ("Container", "lifecycle"): {"postStart": _EXEC},
    ("Container", "livenessProbe"): _EXEC,
    ("Container", "readinessProbe"): _EXEC,
    ("Container", "startupProbe"): _EXEC,
    ("Container", "ports"): [{"containerPort": 80}],
    ("Container", "restartPolicy"): "Always",
    ("Container", "restartPolicyRules"): [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
    ("Container", "volumeDevices"): [{"name": "device", "devicePath": "/dev/x"}],
    ("Container", "workingDir"): "/srv",
    ("ContainerPort", "hostIP"): "127.0.0.1",
    ("EnvVar", "valueFrom"): {"fieldRef": {"fieldPath": "metadata.name"}},
    ("Probe", "exec"): {"command": ["x"]},
    ("Volume", "azureDisk"): {"diskName": "x", "diskURI": "https://x.blob.core.windows.net/x/x.vhd"},
    ("Volume", "configMap"): {"name": "x"},
    ("Volume", "ephemeral"): {
        "volumeClaimTemplate": {
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        }
    },
    ("Volume", "fc"): {"targetWWNs": ["x"], "lun": 0},
    ("Volume", "flocker"): {"datasetName": "x"},
    ("Volume", "image"): {"reference": "x"},
    ("Volume", "iscsi"): {"targetPortal": "10.0.0.9:3260", "iqn": "iqn.2001-04.com.example:x", "lun": 0},
    ("Volume", "nfs"): {"server": "x", "path": "/x"},
    ("Volume", "projected"): {"sources": [{"secret": {"name": "x"}}]},
    ("Volume", "quobyte"): {"registry": "x:1", "volume": "x"},
    ("Volume", "scaleIO"): {"gateway": "x", "system": "x", "volumeName": "x", "secretRef": {"name": "x"}},
    ("Volume", "secret"): {"secretName": "x"},
    ("Volume", "storageos"): {"volumeName": "x"},
    ("VolumeMount", "mountPropagation"): "HostToContainer",
    ("VolumeMount", "recursiveReadOnly"): "Disabled",
}
_BLOCK: Final = {"name": "device", "persistentVolumeClaim": {"claimName": "x"}}
ELSEWHERE: Final[Mapping[tuple[str, str], Mapping[Path, Any]]] = {
    ("Container", "volumeDevices"): {("spec", "volumes", -1): _BLOCK},
    ("ResourceRequirements", "claims"): {("spec", "resourceClaims"): [_CLAIM]},
}
"""What the API server wants elsewhere in the Pod, if it is to have a field."""
_STAYS: Final = {"restartPolicy": "Always"}
BESIDE: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    **{
        ("Container", field): _STAYS
        for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "restartPolicyRules")
    },
}
"""What it wants beside a field."""


def schemas_of(client: KubeClient) -> Schemas:
    """What the API server knows about Pods."""
    found: Schemas = client.request("GET", "/openapi/v3/api/v1")["components"]["schemas"]
    return found


def least_value(schema: Mapping[str, Any], schemas: Schemas) -> Any:
    """The least value of a schema."""
    if "allOf" in schema:
        return least_value(schema["allOf"][0], schemas)
    if "$ref" in schema:
        return least_value(schemas[str(schema["$ref"]).rpartition("/")[2]], schemas)
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema:
        return least_value(schema["oneOf"][0], schemas)
    match schema.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            return 1
        case "array":
            return [least_value(schema["items"], schemas)]
        case "object":
            properties = schema.get("properties", {})
            return {name: least_value(properties[name], schemas) for name in schema.get("required", ())}
        case _:
            return "x"
