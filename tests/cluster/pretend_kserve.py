"""Stands where KServe's controller would: Deployments come of InferenceServices, and their statuses go back.

The Deployments, ReplicaSets and Pods are real and pass the real admission; a pretend kubelet makes the Pods ready.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cluster.kservepods import kserve_pod
from cluster.polling import polling
from cluster.pretend_kubelet import pretend_kubelet
from cluster.status import Manifest
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

__all__ = ["pretend_kserve"]

_NOT_NOW = frozenset({404, 409, 422})
_SERVICES = "/apis/serving.kserve.io/v1beta1/inferenceservices"
_KEPT_OUT = ("name", "generateName", "namespace")


@contextlib.contextmanager
def pretend_kserve(
    plane: RunningControlPlane, namespace: str, *, starts: Callable[[Mapping[str, Any]], bool] = lambda _: True
) -> Iterator[None]:
    """For as long as the block lasts, in one namespace. A Pod of which ``starts`` is false stays Pending."""

    def work(client: KubeClient) -> None:
        for service in client.request("GET", _SERVICES)["items"]:
            if service["metadata"]["namespace"] == namespace:
                _try(client, service)

    with pretend_kubelet(plane, run_job=lambda _: 0, starts=starts), polling(plane, work, name="kserve"):
        yield


def _try(client: KubeClient, service: Manifest) -> None:
    try:
        _reconcile(client, service)
    except ApiRefused as refused:
        if refused.status not in _NOT_NOW:
            raise


def _reconcile(client: KubeClient, service: Manifest) -> None:
    metadata = service["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    where = f"namespaces/{metadata['namespace']}"
    runtime = client.request(
        "GET",
        f"/apis/serving.kserve.io/v1alpha1/{where}/servingruntimes/{service['spec']['predictor']['model']['runtime']}",
    )
    client.apply(_deployment(service, runtime))
    found = client.request("GET", f"/apis/apps/v1/{where}/deployments/{metadata['name']}-predictor")
    status = _status(found)
    if service.get("status", {}) != status:
        path = f"/apis/serving.kserve.io/v1beta1/{where}/inferenceservices/{metadata['name']}/status"
        client.request("PATCH", path, {"status": status}, content_type="application/merge-patch+json")


def _deployment(service: Manifest, runtime: Manifest) -> Manifest:
    pod = kserve_pod(copy.deepcopy(service), runtime)
    metadata, name = service["metadata"], service["metadata"]["name"]
    labels = {key: value for key, value in pod["metadata"]["labels"].items() if key != "pod-template-hash"}
    template = {**pod, "metadata": {**pod["metadata"], "labels": labels}}
    for field in _KEPT_OUT:
        template["metadata"].pop(field, None)
    for field in ("apiVersion", "kind"):
        template.pop(field)
    owner = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "name": name,
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-predictor", "namespace": metadata["namespace"], "ownerReferences": [owner]},
        "spec": {
            "replicas": service["spec"]["predictor"]["minReplicas"],
            "selector": {"matchLabels": {"app": f"isvc.{name}-predictor"}},
            "strategy": {"type": "Recreate"},
            "template": template,
        },
    }


def _status(deployment: Manifest) -> Manifest:
    """As KServe writes it. The conditions of a Deployment are those of its last handled generation."""
    counts = deployment.get("status", {})
    conditions = {each["type"]: each for each in counts.get("conditions", ())}
    available = conditions.get("Available", {"status": "False", "reason": "MinimumReplicasUnavailable"})
    reason = conditions.get("Progressing", {}).get("reason", "")
    up = available["status"] == "True"
    return {
        "conditions": [
            {"type": "PredictorReady", "status": available["status"], "reason": reason if up else available["reason"]},
            {"type": "Ready", "status": available["status"], **({} if up else {"reason": available["reason"]})},
        ],
        "modelStatus": {
            "transitionStatus": "UpToDate" if up else "InProgress",
            "states": {"activeModelState": "Loaded" if up else "", "targetModelState": "Loaded" if up else "Loading"},
            "copies": {"totalCopies": counts.get("readyReplicas", 0), "failedCopies": 0},
        },
        "observedGeneration": counts.get("observedGeneration", 0),
    }
