"""A stand-in for the InferenceService controller of Kubeflow, which OpenShift AI's odh-model-controller runs as well.

Written from what `pkg/inferenceservice-controller/controller.go` of kubeflow/model-registry does in one reconcile,
call by call. The stand-in counts the label edits of the live object: KServe copies labels to the Pods, so each one
restarts the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from unit.server.kubeflow.served import Served

__all__ = ["PREFIX", "LiveService", "ReconcileFailed", "reconcile"]

PREFIX = "modelregistry.opendatahub.io"


class ReconcileFailed(Exception):
    """The controller tries again later, and leaves its finalizer on the object."""


@dataclass
class LiveService:
    """An InferenceService of the cluster."""

    name: str
    namespace: str
    uid: str
    labels: dict[str, str]
    runtime: str = "gatehouse-vllm-0123456789"
    url: str | None = None
    deleting: bool = False
    finalizers: set[str] = field(default_factory=set)
    label_edits: int = 0


async def reconcile(service: LiveService, door: Served) -> None:
    """One reconcile. Raises ReconcileFailed."""
    id_ = service.labels.get(f"{PREFIX}/inference-service-id")
    model = service.labels.get(f"{PREFIX}/registered-model-id")
    if id_ is None and model is None:
        return
    if not service.deleting:
        service.finalizers.add(f"{PREFIX}/finalizer")
    environment = await _first(
        door,
        ("GET", f"/serving_environment?name={service.namespace}", None),
        ("POST", "/serving_environments", {"name": service.namespace}),
    )
    if id_ is not None:
        found = await _first(door, ("GET", f"/inference_services/{id_}", None))
        known = found.get("customProperties", {}).get("url", {}).get("string_value", "")
        if known != (service.url or ""):
            url = {"metadataType": "MetadataStringValue", "string_value": service.url or ""}
            properties = found.get("customProperties", {}) | {"url": url}
            await _first(door, ("PATCH", f"/inference_services/{found['id']}", {"customProperties": properties}))
    else:
        found = await _created(service, door, environment)
    if service.deleting:
        if found.get("desiredState") not in {None, "UNDEPLOYED"}:
            await _first(door, ("PATCH", f"/inference_services/{found['id']}", {"desiredState": "UNDEPLOYED"}))
        service.finalizers.discard(f"{PREFIX}/finalizer")
        return
    if service.labels.get(f"{PREFIX}/inference-service-id") != found["id"]:
        service.labels[f"{PREFIX}/inference-service-id"] = found["id"]
        service.label_edits += 1


async def _created(service: LiveService, door: Served, environment: dict[str, Any]) -> dict[str, Any]:
    name = f"{service.name}/{service.uid}"
    body = {
        "desiredState": "DEPLOYED",
        "name": name,
        "registeredModelId": service.labels[f"{PREFIX}/registered-model-id"],
        "runtime": service.runtime,
        "servingEnvironmentId": environment["id"],
    }
    if version := service.labels.get(f"{PREFIX}/model-version-id"):
        body["modelVersionId"] = version
    if service.url is not None:
        body["customProperties"] = {"url": {"metadataType": "MetadataStringValue", "string_value": service.url}}
    query = f"name={quote(name, safe='')}&parentResourceId={environment['id']}"
    return await _first(door, ("GET", f"/inference_service?{query}", None), ("POST", "/inference_services", body))


async def _first(door: Served, *calls: tuple[str, str, object]) -> dict[str, Any]:
    """The answer of the first call that succeeds."""
    said = ""
    for method, path, body in calls:
        answer = await door.call(method, path, body)
        if answer.status in {200, 201}:
            entry: dict[str, Any] = answer.json()
            return entry
        said = f"{method} {path}: {answer.status} {answer.content!r}"
    raise ReconcileFailed(said)
