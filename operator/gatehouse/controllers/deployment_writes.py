"""What a step of a deployment writes: its services, its route, and the deletion of what has no purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.api.model_deployment import ModelDeployment, RouteStatus, ServiceStatus
from gatehouse.controllers.ports import EventRecorder, RouteWriter, ServingCluster
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.deployment.facts import DeploymentFacts
from gatehouse.domain.deployment.plan import DeploymentDecision, written
from gatehouse.domain.deployment.revision import runtime_object, service_object
from gatehouse.domain.deployment.route import deployed_route, route_object
from gatehouse.domain.serving.template import ServingTemplate

__all__ = ["DeploymentWriter"]


class DeploymentWriter:
    """Applies a decision. Each method raises the errors of the ports."""

    def __init__(self, *, serving: ServingCluster, routes: RouteWriter, events: EventRecorder) -> None:
        self._serving = serving
        self._routes = routes
        self._events = events

    async def put_service(
        self, facts: DeploymentFacts, decision: DeploymentDecision, template: ServingTemplate, body: Mapping[str, Any]
    ) -> ServiceStatus | None:
        """Writes the target to the service of the decision."""
        deployment, target = facts.deployment, decision.target
        if target is None:
            return None
        namespace, existing = deployment.metadata.namespace, facts.own.get(decision.service)
        if decision.write == "Apply":
            await self._serving.put_runtime(namespace, runtime_object(template, namespace=namespace))
        service = service_object(
            target,
            template,
            deployment,
            name=decision.service,
            stage=facts.place.stage or "",
            uid=existing.uid if existing else None,
        )
        answer = await self._serving.put_service(namespace, service)
        metadata = answer["metadata"]
        generation = metadata.get("generation") or 0
        changed = existing is None or existing.generation != generation
        _tell(self._events, facts, decision, body, changed=changed)
        return ServiceStatus(
            name=metadata["name"], uid=metadata["uid"], generation=generation, written_at=timestamp(facts.now)
        )

    async def put_route(self, facts: DeploymentFacts, decision: DeploymentDecision) -> RouteStatus | None:
        """Writes the weights of the decision."""
        routing, weights = facts.routing, decision.weights
        if routing is None or weights is None:
            return None
        deployment, route = facts.deployment, routing.route
        body = route_object(deployment, weights, routing.means, uid=None if route is None else route.uid)
        answer = await self._routes.put_route(deployment.metadata.namespace, body)
        kept = deployed_route(answer, deployment, routing.means)
        altered = kept is None or not kept.exact or dict(kept.weights) != dict(weights)
        return RouteStatus(weights=dict(weights), written_at=timestamp(facts.now), altered=altered)

    async def delete(self, facts: DeploymentFacts, decision: DeploymentDecision) -> None:
        """Deletes services, routes and revisions without a purpose."""
        metadata = facts.deployment.metadata
        for service in decision.delete:
            await self._serving.delete_service(metadata.namespace, service.name, uid=service.uid)
        for method, uid in decision.stale.items():
            await self._routes.delete_route(metadata.namespace, metadata.name, method=method, uid=uid)
        for name in decision.prune:
            await self._serving.forget_revision(metadata.namespace, name, owner_uid=metadata.uid)


def _tell(
    events: EventRecorder,
    facts: DeploymentFacts,
    decision: DeploymentDecision,
    body: Mapping[str, Any],
    *,
    changed: bool,
) -> None:
    """Reports an edit of the service that was put back. Without a record of an own write it may be no edit."""
    last, metadata = written(facts, decision.service), facts.deployment.metadata
    name = f"InferenceService {metadata.namespace}/{decision.service}"
    service = facts.own.get(decision.service)
    if last is None:
        return
    if service is None:
        message = f"{name} was deleted by another writer, and is made again"
    elif decision.write == "PutBack" and changed and (last.uid, last.generation) != (service.uid, service.generation):
        message = f"{name} was changed by another writer, and has the fields of its revision again"
    else:
        return
    events.record(ModelDeployment.info.kind, body, type_="Warning", reason="ServicePutBack", message=message)
