"""The InferenceServices of deployments, as the cache keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.domain.common.readable import member
from gatehouse.domain.deployment.facts import DeployedService
from gatehouse.domain.deployment.revision import ANNOTATION_REVISION, controlling_deployment
from gatehouse.domain.serving.template import ANNOTATION_DIGEST
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.refs import Body, ObjectKey

__all__ = ["deployed_part", "deployed_service", "deploying", "kept_of_deployed", "owner_of", "status_of"]

DEPLOYMENTS: Final = ModelDeployment.info.plural
_KEPT: Final = "deployed"
"""The member of a kept body with what follows. Only services of deployments have it."""


def kept_of_deployed(body: Body) -> Mapping[str, Any]:
    """What is kept of a service that a deployment controls, beside what is kept of every service."""
    controller = controlling_deployment(body)
    owner, deployment = _text(member(controller, "uid")), _text(member(controller, "name"))
    if owner is None:
        return {}
    predictor = member(body, "spec", "predictor")
    model = member(body, "status", "modelStatus")
    return {
        _KEPT: {
            "owner": owner,
            "deployment": deployment,
            "generation": member(body, "metadata", "generation"),
            "revision": member(body, "metadata", "annotations", ANNOTATION_REVISION),
            "replicas": [member(predictor, "minReplicas"), member(predictor, "maxReplicas")],
            "status": {
                "conditions": member(body, "status", "conditions") or [],
                "modelStatus": model if isinstance(model, dict) else {},
            },
        }
    }


def deployed_service(body: Mapping[str, Any], deployment: ModelDeployment) -> DeployedService:
    """A service as a deployment sees it."""
    kept, metadata = body.get(_KEPT) or {}, body["metadata"]
    least, most = kept.get("replicas") or (None, None)
    return DeployedService(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=kept.get("generation") or 0,
        owned=kept.get("owner") == deployment.metadata.uid,
        revision=_text(kept.get("revision")),
        digest=_text(member(metadata, "annotations", ANNOTATION_DIGEST)),
        replicas=(least if isinstance(least, int) else None, most if isinstance(most, int) else None),
    )


def status_of(body: Mapping[str, Any] | None) -> object:
    """The status that KServe wrote, as far as it is kept."""
    return member(body, _KEPT, "status")


def owner_of(service: Mapping[str, Any]) -> Iterable[str]:
    """The one value of ``BY_OWNER``: namespace and name of the deployment that controls a service, or nothing."""
    name = member(service, _KEPT, "deployment")
    if isinstance(name, str):
        yield f"{service['metadata']['namespace']}/{name}"


def deployed_part(service: Mapping[str, Any]) -> object:
    """What a deployment depends on in its services, and in the service of its name."""
    return [service["metadata"].get("uid"), service.get(_KEPT), member(service, "metadata", "annotations")]


def deploying(service: Mapping[str, Any], caches: Caches) -> Iterable[ObjectKey]:
    """The deployment of a service's name, and the one that controls the service."""
    namespace = service["metadata"]["namespace"]
    owner = member(service, _KEPT, "deployment")
    for name in {service["metadata"]["name"], *([owner] if isinstance(owner, str) else [])}:
        if caches[DEPLOYMENTS].get(namespace, name) is not None:
            yield ObjectKey(DEPLOYMENTS, namespace, name)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
