"""What people do to an InferenceService every day, and admission admits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cluster.admission.fields import ANNOTATIONS, LABELS, MODEL, PREDICTOR, Changes

KSERVE_IO: Final = "serving.kserve.io"
RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "readOnlyRootFilesystem": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "seLinuxOptions": {"level": "s0:c27,c14"},
}


KEDA: Final = {
    "metrics": [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
        {
            "type": "External",
            "external": {
                "metric": {"backend": "prometheus", "serverAddress": "http://prometheus:9090", "query": "sum(x)"},
                "authenticationRef": {"authModes": "basic", "authenticationRef": {"name": "prometheus"}},
                "target": {"type": "Value", "value": "5"},
            },
        },
    ],
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
}


USES: Final[Mapping[str, Changes]] = {
    "a name, as of a canary that was promoted": {(*PREDICTOR, "name"): "next"},
    "replicas": {(*PREDICTOR, "minReplicas"): 2, (*PREDICTOR, "maxReplicas"): 4},
    "autoscaling by resource": {
        (*PREDICTOR, "scaleMetric"): "cpu",
        (*PREDICTOR, "scaleTarget"): 80,
        (*PREDICTOR, "scaleMetricType"): "Utilization",
        (*ANNOTATIONS, f"{KSERVE_IO}/autoscalerClass"): "hpa",
        (*ANNOTATIONS, f"{KSERVE_IO}/metrics"): "cpu",
        (*ANNOTATIONS, f"{KSERVE_IO}/targetUtilizationPercentage"): "80",
    },
    "autoscaling by KEDA": {
        (*PREDICTOR, "autoScaling"): KEDA,
        (*ANNOTATIONS, f"{KSERVE_IO}/autoscalerClass"): "keda",
    },
    "secrets for images": {(*PREDICTOR, "imagePullSecrets"): [{"name": "registry"}]},
    "another scheduler": {(*PREDICTOR, "schedulerName"): "kai-scheduler"},
    "a runtime class": {(*PREDICTOR, "runtimeClassName"): "nvidia"},
    "priority": {(*PREDICTOR, "priorityClassName"): "inference", (*PREDICTOR, "preemptionPolicy"): "Never"},
    "where it runs": {
        (*PREDICTOR, "nodeSelector"): {"topology.kubernetes.io/zone": "a"},
        (*PREDICTOR, "tolerations"): [{"key": "x", "operator": "Exists"}],
        (*PREDICTOR, "affinity"): {"nodeAffinity": {}},
        (*PREDICTOR, "topologySpreadConstraints"): [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
    "a rolling update": {
        (*PREDICTOR, "deploymentStrategy"): {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        (*PREDICTOR, "terminationGracePeriodSeconds"): 120,
    },
    "probes": {
        (*MODEL, "startupProbe"): {"failureThreshold": 300},
        (*MODEL, "readinessProbe"): {"httpGet": {"path": "/v1/models", "port": 8080}, "periodSeconds": 5},
        (*MODEL, "livenessProbe"): {"httpGet": {"path": "/health", "port": "http1", "scheme": "HTTP"}},
    },
    "harmless variables": {
        (*MODEL, "env"): [{"name": "OMP_NUM_THREADS", "value": "8"}, {"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}]
    },
    "labels and annotations of its Pods": {
        (*PREDICTOR, "labels"): {"kueue.x-k8s.io/queue-name": "team"},
        (*PREDICTOR, "annotations"): {"sidecar.istio.io/inject": "false", "prometheus.io/scrape": "true"},
    },
    "labels and annotations of other parts": {
        (*LABELS, "kueue.x-k8s.io/queue-name"): "team",
        (*ANNOTATIONS, "opendatahub.io/hardware-profile-name"): "l4",
    },
    "prometheus": {
        (*ANNOTATIONS, f"{KSERVE_IO}/enable-prometheus-scraping"): "true",
        (*ANNOTATIONS, f"{KSERVE_IO}/enable-metric-aggregation"): "true",
    },
    "an accelerator of the cloud": {(*ANNOTATIONS, f"{KSERVE_IO}/gke-accelerator"): "nvidia-l4"},
    "another name of the model": {(*MODEL, "args", -1): "--served-model-name=ibm-granite/granite-3.1"},
    "a security context that fits restricted": {
        (*PREDICTOR, "securityContext"): {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "fsGroupChangePolicy": "OnRootMismatch",
            "supplementalGroups": [2000],
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        (*MODEL, "securityContext"): RESTRICTED,
    },
    "no variables of other services": {(*PREDICTOR, "enableServiceLinks"): False},
    "no token": {(*PREDICTOR, "automountServiceAccountToken"): False},
    "more memory": {
        (*MODEL, "resources", "limits", "memory"): "96Gi",
        (*MODEL, "resources", "limits", "ephemeral-storage"): "1Gi",
    },
    "stopped": {(*ANNOTATIONS, f"{KSERVE_IO}/stop"): "true"},
}
