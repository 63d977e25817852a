"""The Pods that KServe makes of a template, as its releases make them, with what the API server adds before admission.

Written after the sources of kserve/kserve v0.13.1 to v0.20.0 (the Deployment's reconciler and the webhook of Pods)
and of opendatahub-io/kserve of August 2026: no KServe runs here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.status import Manifest

__all__ = ["KSERVE", "OPEN_DATA_HUB", "RELEASES", "Release", "add_service_account", "kserve_pod", "mutated_by_kserve"]

INTERNAL: Final = "internal.serving.kserve.io"
MODELS: Final = "/mnt/models"
PROVISION: Final = "kserve-provision-location"
CA_BUNDLE: Final = "odh-kserve-custom-ca-bundle"
CA_FOLDER: Final = "/etc/ssl/custom-certs"
ACCESS: Final = "kube-api-access-x7x7x"
NOT_COPIED: Final = ("modelFormat", "kubectl.kubernetes.io/last-applied-configuration")
"""Annotations of an InferenceService that its Pods do not have."""
POD_FIELDS: Final = (
    "affinity",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "imagePullSecrets",
    "nodeSelector",
    "preemptionPolicy",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
)
"""Fields of the predictor that its Pods have too."""
CONTAINER_FIELDS: Final = ("startupProbe", "readinessProbe", "livenessProbe", "securityContext")
"""Fields of the model that are laid over the runtime's container."""
GKE_ACCELERATOR: Final = "serving.kserve.io/gke-accelerator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What differs between releases and distributions.

    ``tuned``: the initializer has variables of Hugging Face. ``pulls``: it has a pull policy. ``tells``: the server has
    its service's name as a variable. ``ca``: the connection names a ConfigMap with certificates, as OpenShift AI's do.
    ``proxy`` is the image of OpenShift AI's proxy before the server.
    """

    name: str
    initializer: str
    mode: str = "Standard"
    tuned: bool = True
    tells: bool = True
    pulls: bool = True
    hardened: bool = False
    ca: bool = False
    proxy: str = ""

    def __str__(self) -> str:
        return self.name


KSERVE = Release(name="kserve-0.20", initializer="kserve/storage-initializer:v0.20.0")
OPEN_DATA_HUB = Release(
    name="open-data-hub-3.5",
    initializer=f"quay.io/opendatahub/kserve-storage-initializer@sha256:{'a' * 64}",
    hardened=True,
    ca=True,
    proxy=f"quay.io/opendatahub/odh-kube-auth-proxy@sha256:{'b' * 64}",
)
RELEASES = (
    Release(
        name="kserve-0.13",
        initializer="kserve/storage-initializer:v0.13.1",
        mode="RawDeployment",
        tuned=False,
        tells=False,
        pulls=False,
    ),
    Release(
        name="open-data-hub-0.15",
        initializer="quay.io/opendatahub/kserve-storage-initializer:v0.15-latest",
        mode="RawDeployment",
        tuned=False,
        tells=False,
        pulls=False,
        hardened=True,
        ca=True,
    ),
    Release(name="kserve-0.16", initializer="kserve/storage-initializer:v0.16.0", tells=False, pulls=False),
    Release(name="kserve-0.17", initializer="kserve/storage-initializer:v0.17.1"),
    Release(name="kserve-0.20-helm", initializer="docker.io/kserve/storage-initializer:v0.20.0", hardened=True),
    KSERVE,
    OPEN_DATA_HUB,
)


def mutated_by_kserve(service: Manifest, *, mode: str = "Standard") -> Manifest:
    """The InferenceService after KServe's own webhook."""
    changed = copy.deepcopy(service)
    changed["metadata"]["annotations"] |= {"modelFormat": "vLLM", "serving.kserve.io/deploymentMode": mode}
    changed["spec"]["predictor"]["model"] |= {"protocolVersion": "v2", "name": ""}
    return changed


def kserve_pod(service: Manifest, runtime: Manifest, *, release: Release = KSERVE) -> Manifest:
    """The Pod of the service."""
    service = mutated_by_kserve(service, mode=release.mode)
    pod = _of_the_deployment(service, runtime["spec"], release=release)
    add_service_account(pod["spec"], release=release)
    _storage_initializer(pod, release=release)
    return pod


def _of_the_deployment(service: Manifest, runtime: Mapping[str, Any], *, release: Release) -> Manifest:
    metadata, predictor = service["metadata"], service["spec"]["predictor"]
    name, model = metadata["name"], predictor["model"]
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-predictor-6d5f7c9b8-x2x2x",
            "generateName": f"{name}-predictor-6d5f7c9b8-",
            "namespace": metadata["namespace"],
            "labels": {
                **metadata["labels"],
                **predictor.get("labels", {}),
                "app": f"isvc.{name}-predictor",
                "component": "predictor",
                "pod-template-hash": "6d5f7c9b8",
                "serving.kserve.io/inferenceservice": name,
            },
            "annotations": {
                **runtime["annotations"],
                **{key: value for key, value in metadata["annotations"].items() if key not in NOT_COPIED},
                f"{INTERNAL}/storage-initializer-sourceuri": model["storageUri"],
                f"{INTERNAL}/storage-spec": "true",
                f"{INTERNAL}/storage-spec-key": model["storage"]["key"],
                **predictor.get("annotations", {}),
            },
        },
        "spec": {
            "containers": [_server(name, model, runtime["containers"][0], release=release)],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": True,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": copy.deepcopy(predictor.get("securityContext", {})),
            "terminationGracePeriodSeconds": 30,
            "volumes": copy.deepcopy(runtime["volumes"]),
            **{field: copy.deepcopy(predictor[field]) for field in POD_FIELDS if field in predictor},
        },
    }
    annotations = pod["metadata"]["annotations"]
    for watched in ("enable-metric-aggregation", "enable-prometheus-scraping"):
        annotations.setdefault(f"serving.kserve.io/{watched}", "false")
    if GKE_ACCELERATOR in annotations:
        selected = {"cloud.google.com/gke-accelerator": annotations[GKE_ACCELERATOR]}
        pod["spec"]["nodeSelector"] = pod["spec"].get("nodeSelector", {}) | selected
    if release.proxy:
        _proxy(pod, name, release=release)
    if release.hardened and release.ca:
        pod["spec"]["securityContext"] |= {
            "fsGroup": 1000750000,
            "seLinuxOptions": {"level": "s0:c27,c14"},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    return pod


def _server(name: str, model: Mapping[str, Any], container: Mapping[str, Any], *, release: Release) -> Manifest:
    found: Manifest = copy.deepcopy(dict(container))
    found["args"] = [argument.replace("{{.Name}}", name) for argument in container["args"]] + model["args"]
    found["resources"] = copy.deepcopy(model["resources"])
    for field in CONTAINER_FIELDS:
        if field in model:
            found[field] = found.get(field, {}) | copy.deepcopy(model[field])
    own = {variable["name"]: variable for variable in copy.deepcopy(model.get("env", []))}
    found["env"] = [own.pop(each["name"], each) for each in found["env"]] + list(own.values())
    if release.tells:
        found["env"].append({"name": "INFERENCE_SERVICE_NAME", "value": name})
    found |= {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
    return found | {"imagePullPolicy": "IfNotPresent"}


def _proxy(pod: Manifest, name: str, *, release: Release) -> None:
    """OpenShift AI has it before every server, whether authentication is on or not."""
    probe = {"httpGet": {"path": "/healthz", "port": 8643, "scheme": "HTTPS"}, "periodSeconds": 5}
    tls = {"name": "proxy-tls", "mountPath": "/etc/tls/private"}
    sar = "kube-rbac-proxy-sar-config"
    spec = pod["spec"]
    certificate = f"{name}-predictor-serving-cert"
    pod["metadata"]["annotations"]["service.beta.openshift.io/serving-cert-secret-name"] = certificate
    spec["automountServiceAccountToken"] = True
    spec["containers"][0]["volumeMounts"].append(tls)
    spec["containers"].append(
        {
            "name": "kube-rbac-proxy",
            "image": release.proxy,
            "args": [
                "--secure-listen-address=:8443",
                "--proxy-endpoints-port=8643",
                "--upstream=http://localhost:8080",
                "--auth-header-fields-enabled=true",
                "--tls-cert-file=/etc/tls/private/tls.crt",
                "--tls-private-key-file=/etc/tls/private/tls.key",
                "--config-file=/etc/kube-rbac-proxy/config-file.yaml",
                "--v=4",
                "--upstream-timeout=600s",
            ],
            "ports": [{"containerPort": 8443, "name": "https"}, {"containerPort": 8643, "name": "proxy"}],
            "livenessProbe": {**copy.deepcopy(probe), "initialDelaySeconds": 30},
            "readinessProbe": {**copy.deepcopy(probe), "initialDelaySeconds": 5},
            "resources": {
                "limits": {"cpu": "200m", "memory": "128Mi"},
                "requests": {"cpu": "100m", "memory": "64Mi"},
            },
            "volumeMounts": [dict(tls), {"name": sar, "mountPath": "/etc/kube-rbac-proxy", "readOnly": True}],
        }
    )
    spec["volumes"] += [
        {"name": "proxy-tls", "secret": {"secretName": certificate, "defaultMode": 420}},
        {"name": sar, "configMap": {"name": f"{name}-{sar}", "defaultMode": 420}},
    ]


def add_service_account(spec: Manifest, *, release: Release) -> None:
    """What the API server's own admission adds before webhooks are asked."""
    certificates = ["kube-root-ca.crt", *(["openshift-service-ca.crt"] if release.ca else [])]
    spec["serviceAccountName"] = "default"
    spec["volumes"].append(
        {
            "name": ACCESS,
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    *(
                        {"configMap": {"name": name, "items": [{"key": "ca.crt", "path": name}]}}
                        for name in certificates
                    ),
                    {
                        "downwardAPI": {
                            "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                        }
                    },
                ],
            },
        }
    )
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        container["volumeMounts"].append(_access())


def _access() -> Manifest:
    return {"name": ACCESS, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}


def _storage_initializer(pod: Manifest, *, release: Release) -> None:
    spec, annotations = pod["spec"], pod["metadata"]["annotations"]
    key = annotations[f"{INTERNAL}/storage-spec-key"]
    named = [{"name": "AWS_CA_BUNDLE_CONFIGMAP", "value": CA_BUNDLE}] if release.ca else []
    env: list[Manifest] = [
        *named,
        {"name": "STORAGE_CONFIG", "valueFrom": {"secretKeyRef": {"name": "storage-config", "key": key}}},
    ]
    mounts: list[Manifest] = [{"name": PROVISION, "mountPath": MODELS}]
    spec["containers"][0]["volumeMounts"].append({"name": PROVISION, "mountPath": MODELS, "readOnly": True})
    spec["volumes"].append({"name": PROVISION, "emptyDir": {}})
    if release.ca:
        env += [
            {"name": "CA_BUNDLE_CONFIGMAP_NAME", "value": CA_BUNDLE},
            {"name": "CA_BUNDLE_VOLUME_MOUNT_POINT", "value": CA_FOLDER},
        ]
        mounts.append({"name": "cabundle-cert", "mountPath": CA_FOLDER, "readOnly": True})
        spec["volumes"].append({"name": "cabundle-cert", "configMap": {"name": CA_BUNDLE, "defaultMode": 420}})
    if release.tuned:
        env += [
            {"name": "HF_HUB_ENABLE_HF_TRANSFER", "value": "1"},
            {"name": "HF_XET_HIGH_PERFORMANCE", "value": "1"},
            {"name": "HF_XET_NUM_CONCURRENT_RANGE_GETS", "value": "8"},
        ]
    initializer: Manifest = {
        "name": "storage-initializer",
        "image": release.initializer,
        "args": [annotations[f"{INTERNAL}/storage-initializer-sourceuri"], MODELS],
        "env": env,
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "100Mi"}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # The API server's admission looks again after a webhook has changed something.
        "volumeMounts": [*mounts, _access()],
    }
    if release.pulls:
        initializer["imagePullPolicy"] = "IfNotPresent"
    if release.hardened:
        initializer["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    spec["initContainers"] = [initializer]
