"""Stands where a gateway's controller would: it accepts the HTTPRoutes of a namespace whose services are there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cluster.polling import polling
from cluster.status import Manifest
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

__all__ = ["pretend_gateway"]

_NOT_NOW = frozenset({404, 409})


@contextlib.contextmanager
def pretend_gateway(plane: RunningControlPlane, namespace: str) -> Iterator[None]:
    """For as long as the block lasts. Like Traefik it says ResolvedRefs False while a service is missing."""
    where = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes"

    def work(client: KubeClient) -> None:
        for route in client.request("GET", where)["items"]:
            _try(client, route, f"{where}/{route['metadata']['name']}/status")

    with polling(plane, work, name="gateway"):
        yield


def _try(client: KubeClient, route: Manifest, path: str) -> None:
    status = _status(client, route)
    if route.get("status") == status:
        return
    try:
        client.request("PATCH", path, {"status": status}, content_type="application/merge-patch+json")
    except ApiRefused as refused:
        if refused.status not in _NOT_NOW:
            raise


def _status(client: KubeClient, route: Manifest) -> dict[str, Any]:
    metadata = route["metadata"]
    services = f"/apis/serving.kserve.io/v1beta1/namespaces/{metadata['namespace']}/inferenceservices"
    there = {f"{each['metadata']['name']}-predictor" for each in client.request("GET", services)["items"]}
    named = {each["name"] for rule in route["spec"]["rules"] for each in rule["backendRefs"]}
    says = {"Accepted": True, "ResolvedRefs": named <= there}
    conditions = [
        {
            "type": type_,
            "status": "True" if holds else "False",
            "reason": type_ if holds else "BackendNotFound",
            "message": "",
            "observedGeneration": metadata["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for type_, holds in says.items()
    ]
    parents = route["spec"]["parentRefs"]
    return {
        "parents": [
            {"parentRef": parent, "controllerName": "example.com/gateway", "conditions": conditions}
            for parent in parents
        ]
    }
