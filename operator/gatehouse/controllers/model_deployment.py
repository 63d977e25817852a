"""ModelDeployment: gather the facts, decide, apply the difference.

A step writes a ControllerRevision, the ServingRuntime and the InferenceService, each where it is needed, then the audit
trail, then (in the reconciler) the status. The service says which revision it has, so an operator that is stopped
between two writes continues where it was. The spec belongs to people, and is never written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import structlog

from gatehouse.api.model_deployment import (
    ANNOTATION_RESUME,
    ANNOTATION_RETRY,
    ANNOTATION_ROLLBACK_REASON,
    ANNOTATION_ROLLBACK_REQUESTED_AT,
    ANNOTATION_ROLLBACK_TO,
    ModelDeployment,
    ModelDeploymentStatus,
)
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.api.wire import WireDeployment, WireObject, WireVersion
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.declaration import Declaration, Right, Trigger, resource_of
from gatehouse.controllers.dependencies import Dependencies
from gatehouse.controllers.deployed_services import deployed_part, deployed_service, deploying, status_of
from gatehouse.controllers.deployment_writes import DeploymentWriter
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.indexes import (
    BY_HOSTNAME,
    BY_NAMESPACE,
    BY_OWNER,
    BY_VERSION,
    labels_part,
    namespace_of,
    version_key,
)
from gatehouse.controllers.inference_services import INFERENCE_SERVICES
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.observed import NAMESPACES
from gatehouse.controllers.ports import ObjectName, ServingCluster, UtcClock
from gatehouse.controllers.reconciler import Result
from gatehouse.controllers.routes import (
    ROUTE_KINDS,
    Routes,
    every_deployment,
    hostname_of,
    hostname_part,
    route_part,
    routing,
    sharing_hostname,
)
from gatehouse.controllers.step_measures import StepMeasures
from gatehouse.domain.common.errors import ReconcileError, Stalled
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.deployment.decision import decide, decide_refused
from gatehouse.domain.deployment.facts import DeploymentFacts, key_of
from gatehouse.domain.deployment.plan import DeploymentDecision, soonest
from gatehouse.domain.deployment.revision import (
    RevisionKey,
    candidate,
    check_template,
    name_finding,
    read_revision,
    revision_object,
    slot_names,
)
from gatehouse.domain.deployment.rollout import RevisionRollout, deployment_of, rollout_of, service_says
from gatehouse.domain.deployment.standing import ADMISSION_REFUSED, DeploymentPlace
from gatehouse.domain.deployment.status import deployment_status
from gatehouse.domain.deployment.trail import owed_facts, recorded
from gatehouse.domain.serving.template import LABEL_STAGE, ServingTemplate, read_template
from gatehouse.domain.version.outcome import Requeue
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.controller import Reconcile
from gatehouse.runtime.refs import ObjectKey

__all__ = ["DECLARATION", "ModelDeploymentController"]

DEPLOYMENTS: Final = ModelDeployment.info.plural
VERSIONS: Final = ModelVersion.info.plural
SERVICES: Final = INFERENCE_SERVICES.plural
WORKERS: Final = 4
RECORD_AGAIN: Final = timedelta(seconds=30)
"""How often a fact that the audit trail does not have is offered again."""

_log = structlog.get_logger(__name__)


class ModelDeploymentController:
    """Reconciles ModelDeployments."""

    kind = ModelDeployment

    def __init__(
        self,
        *,
        objects: Objects,
        faults: Faults,
        connections: Connections,
        serving: ServingCluster,
        routes: Routes,
        writer: DeploymentWriter,
        measures: StepMeasures,
        clock: UtcClock,
    ) -> None:
        self._objects = objects
        self._faults = faults
        self._connections = connections
        self._serving = serving
        self._routes = routes
        self._writer = writer
        self._measures = measures
        self._clock = clock

    async def reconcile(self, resource: ModelDeployment, body: Mapping[str, Any]) -> Result:
        """Raises the errors of the API server. A refusal of admission is a fact, and the audit trail may be owed."""
        facts = await self._gather(resource)
        if (facts.services is None or facts.routing is None) and resource.status.phase is not None:
            # Nothing is known to have changed: a restart writes nothing.
            return Result(status=resource.status, requeue=_requeue(timedelta(seconds=5)))
        facts, decision, template = await self._resolve(facts)
        service = None
        if decision.target is not None and template is not None:
            try:
                service = await self._writer.put_service(facts, decision, template, body)
            except Stalled as error:
                if error.reason != ADMISSION_REFUSED:
                    raise
                refusal = error.finding(expected="an InferenceService that admission accepts")
                facts, decision = decide_refused(facts, decision.target, refusal)
        route = await self._writer.put_route(facts, decision)
        await self._writer.delete(facts, decision)
        made = deployment_status(facts, decision, service=service, route=route)
        status = await self._record(resource, made)
        owed = next(owed_facts(resource, status, now=facts.now), None) is not None
        return Result(status=status, requeue=_requeue(soonest(decision.again, RECORD_AGAIN if owed else None)))

    async def gone(self, namespace: str, name: str) -> None:
        """Kubernetes deletes the services, the route and the revisions with their owner."""
        self._measures.forget(ObjectName(namespace, name))

    def outage(self, resource: ModelDeployment) -> ModelDeploymentStatus:
        """The last known status."""
        return resource.status

    def grace(self, resource: ModelDeployment) -> timedelta:
        """The grace of the model's registry."""
        registry = self._registry_of(resource)
        return timedelta(0) if registry is None else duration(registry.spec.verification.grace)

    def _registry_of(self, deployment: ModelDeployment) -> ModelRegistry | None:
        """The registry of the deployment's model."""
        home = deployment.spec.model_ref.namespace or deployment.metadata.namespace
        model = self._objects.get(RegisteredModel, home, deployment.spec.model_ref.name)
        registry = None if model is None else self._objects.registry_of(model)
        return registry if isinstance(registry, ModelRegistry) else None

    async def _resolve(
        self, facts: DeploymentFacts
    ) -> tuple[DeploymentFacts, DeploymentDecision, ServingTemplate | None]:
        """Decides, until the decision writes nothing or its revision has a template. Each try rules a revision out."""
        decision = decide(facts)
        while decision.write is not None and decision.target is not None:
            found = await self._template(facts, decision.target)
            if not isinstance(found, Finding):
                return facts, decision, found
            facts = replace(facts, lost={**facts.lost, decision.target.name: found})
            decision = decide(facts)
        return facts, decision, None

    # gather

    async def _gather(self, deployment: ModelDeployment) -> DeploymentFacts:
        namespace = deployment.metadata.namespace
        reader = self._objects.reader
        place = DeploymentPlace(
            namespace=namespace,
            stage=self._stage(namespace),
            home=deployment.spec.model_ref.namespace or namespace,
        )
        bodies = self._bodies(deployment) if reader.complete(SERVICES) else None
        facts = DeploymentFacts(
            now=self._clock.now(),
            deployment=deployment,
            place=place,
            name_refused=name_finding(deployment),
            versions=dict(self._versions(deployment, place)),
            services=None
            if bodies is None
            else {name: deployed_service(body, deployment) for name, body in bodies.items()},
            routing=self._routes.of(deployment),
        )
        facts = replace(facts, rollouts=await self._rollouts(facts, bodies or {}))
        if bodies is None or deployment.spec.strategy.type == "Recreate":
            return facts
        return replace(facts, measured=self._measures.measured(facts), unmeasurable=self._measures.unmeasurable(facts))

    def _bodies(self, deployment: ModelDeployment) -> dict[str, dict[str, Any]]:
        """The services that say that the deployment controls them, and those of the names that it may need."""
        reader, metadata = self._objects.reader, deployment.metadata
        owned = reader.select(SERVICES, BY_OWNER, f"{metadata.namespace}/{metadata.name}")
        names = {metadata.name, *(found.name for found in owned)}
        if deployment.spec.strategy.type != "Recreate":
            names.update(self._slots(deployment))
        found = {name: reader.get(SERVICES, metadata.namespace, name) for name in sorted(names)}
        return {name: body for name, body in found.items() if body is not None}

    def _slots(self, deployment: ModelDeployment) -> Iterable[str]:
        """The names that the services of the known revisions may have."""
        home = deployment.spec.model_ref.namespace or deployment.metadata.namespace
        version = self._objects.find(ModelVersion, home, deployment.spec.version_ref.name)
        newest = candidate(deployment, version) if isinstance(version, ModelVersion) else None
        keys = [key_of(entry, deployment) for entry in deployment.status.history]
        for key in (*keys, *([newest] if newest else [])):
            yield from slot_names(key)

    def _stage(self, namespace: str) -> str | None:
        labels = (self._objects.reader.get(NAMESPACES.kind, "", namespace) or {"metadata": {}})["metadata"]
        stage: str | None = (labels.get("labels") or {}).get(LABEL_STAGE)
        return stage or None

    def _versions(
        self, deployment: ModelDeployment, place: DeploymentPlace
    ) -> Iterable[tuple[str, ModelVersion | Unreadable]]:
        """The versions that the spec and the history name. One whose status is outdated counts as unreadable."""
        outdated = self._faults.silenced(VERSIONS)
        for name in {deployment.spec.version_ref.name, *(entry.version for entry in deployment.status.history)}:
            version = self._objects.find(ModelVersion, place.home, name)
            if version is not None and ObjectName(place.home, name) in outdated:
                problem = "its status could not be written, and is outdated"
                version = Unreadable(kind=ModelVersion.info.kind, namespace=place.home, name=name, problem=problem)
            if version is not None:
                yield name, version

    async def _rollouts(self, facts: DeploymentFacts, bodies: Mapping[str, Any]) -> dict[str, RevisionRollout]:
        """The rollouts of the services that have a revision."""
        rollouts: dict[str, RevisionRollout] = {}
        for name, service in facts.own.items():
            if service.revision is not None:
                status = status_of(bodies[name])
                rollouts[name] = await self._rollout(facts, name, status, revision=service.revision)
        return rollouts

    async def _rollout(self, facts: DeploymentFacts, name: str, status: object, *, revision: str) -> RevisionRollout:
        """The rollout of a service. Its Deployment is read only where the service says that all is well."""
        said = service_says(status)
        if said.state != "Available":
            return said
        rolled = await self._serving.rollout(facts.deployment.metadata.namespace, deployment_of(name))
        return rollout_of(status, rolled, revision=revision)

    async def _template(self, facts: DeploymentFacts, key: RevisionKey) -> ServingTemplate | Finding:
        """The template of a revision: of its ControllerRevision, or of its version where there is none yet."""
        namespace = facts.deployment.metadata.namespace
        kept = await self._serving.revision(namespace, key.name)
        if kept is not None:
            return read_revision(kept, key)
        version = facts.versions.get(key.version)
        emitted = version.status.template if isinstance(version, ModelVersion) else None
        if emitted is None or emitted.digest != key.template_digest:
            return _gone(key, "and its version has another template now")
        config_map = await self._serving.template(facts.place.home, emitted.name)
        try:
            template = read_template(config_map or {})
        except ValueError as error:
            return _gone(key, f"and its version's template cannot be read: {error}")
        checked = check_template(template, template.digest, key)
        if isinstance(checked, ServingTemplate):
            body = revision_object(key, checked, owner=facts.deployment.metadata, number=len(facts.status.history) + 1)
            await self._serving.keep_revision(namespace, body)
        return checked

    async def _record(self, deployment: ModelDeployment, status: ModelDeploymentStatus) -> ModelDeploymentStatus:
        """Records in the audit trail of the model's registry; the status with what the trail has now.

        A rollback must not wait for a database: what is not recorded is owed.
        """
        facts = list(owed_facts(deployment, status, now=self._clock.now()))
        registry = self._registry_of(deployment)
        if not facts or registry is None:
            return status
        try:
            await (await self._connections.rows(registry)).audit.append(facts)
        except ReconcileError as error:
            _log.warning("deployment not recorded yet", reason=error.reason, message=error.message)
            return status
        return recorded(status)


def _gone(key: RevisionKey, why: str) -> Finding:
    return Finding(
        reason="RevisionGone",
        found=f"the ControllerRevision {key.name} does not exist, {why}",
        expected=f"the template {key.template_digest}",
        remedy="name another revision, or deploy the version again",
    )


def _requeue(again: timedelta | None) -> Requeue:
    return Requeue() if again is None else Requeue(after=max(again.total_seconds(), 0.05))


# What the operator declares for the kind


def _home(body: WireDeployment) -> str:
    return body["spec"]["modelRef"].get("namespace") or body["metadata"]["namespace"]


def _index_versions(body: WireDeployment) -> Iterable[str]:
    """The versions that a deployment names: what shall run, and what ran."""
    home = _home(body)
    names = {body["spec"]["versionRef"]["name"]}
    names.update(entry["version"] for entry in (body.get("status") or {}).get("history") or ())
    yield from (version_key(home, name) for name in sorted(names))


def _gates_part(version: WireVersion) -> object:
    """What decides whether a version may run."""
    status: Mapping[str, Any] = version.get("status") or {}
    metadata: Mapping[str, Any] = version["metadata"]
    names = ("observedGeneration", "phase", "clearedFor", "recordedDigest", "servedDigest", "template")
    return [
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        version["spec"]["modelRef"]["name"],
        (status.get("artifact") or {}).get("digest"),
        *(status.get(name) for name in names),
    ]


def _running(version: WireVersion, caches: Caches) -> Iterable[ObjectKey]:
    metadata = version["metadata"]
    return caches.select(DEPLOYMENTS, BY_VERSION, version_key(metadata["namespace"], metadata["name"]))


def _in_namespace(namespace: WireObject, caches: Caches) -> Iterable[ObjectKey]:
    return caches.select(DEPLOYMENTS, BY_NAMESPACE, namespace["metadata"]["name"])


_ASKS: Final = (
    ANNOTATION_ROLLBACK_TO,
    ANNOTATION_ROLLBACK_REASON,
    ANNOTATION_ROLLBACK_REQUESTED_AT,
    ANNOTATION_RETRY,
    ANNOTATION_RESUME,
)


def _asked_part(body: WireObject) -> object:
    """What people ask by annotations, which change no generation."""
    annotations = body["metadata"].get("annotations") or {}
    return [annotations.get(name) for name in _ASKS]


def _itself(body: WireObject, _caches: Caches) -> Iterable[ObjectKey]:
    yield ObjectKey(DEPLOYMENTS, body["metadata"]["namespace"], body["metadata"]["name"])


def _build(shared: Dependencies) -> Reconcile:
    adapters = shared.adapters
    return shared.runner(
        ModelDeploymentController(
            objects=shared.objects,
            faults=shared.faults,
            connections=shared.connections,
            serving=adapters.serving,
            routes=shared.routes,
            measures=StepMeasures(shared.questions, clock=adapters.clock, ended=adapters.step_ended),
            writer=DeploymentWriter(serving=adapters.serving, routes=adapters.routes, events=adapters.events),
            clock=adapters.clock,
        )
    )


DECLARATION: Final = Declaration(
    resource=resource_of(ModelDeployment),
    build=_build,
    indexes={BY_VERSION: _index_versions, BY_NAMESPACE: namespace_of, BY_HOSTNAME: hostname_of},
    triggers=(
        Trigger(kind=NAMESPACES.kind, relevant=labels_part, dependents=_in_namespace),
        Trigger(kind=VERSIONS, relevant=_gates_part, dependents=_running),
        Trigger(kind=SERVICES, relevant=deployed_part, dependents=deploying, listed=every_deployment),
        Trigger(kind=DEPLOYMENTS, relevant=_asked_part, dependents=_itself),
        Trigger(kind=DEPLOYMENTS, relevant=hostname_part, dependents=sharing_hostname),
        *(
            Trigger(kind=kind.plural, relevant=route_part, dependents=routing, listed=every_deployment)
            for kind in ROUTE_KINDS.values()
        ),
    ),
    workers=WORKERS,
    rights=(
        Right(resource="configmaps", verbs=("get",)),
        Right(group="apps", resource="controllerrevisions", verbs=("get", "create", "delete")),
        Right(group="apps", resource="deployments", verbs=("get",)),
        Right(group="serving.kserve.io", resource="inferenceservices", verbs=("create", "patch", "delete")),
        Right(group="serving.kserve.io", resource="servingruntimes", verbs=("create", "patch")),
    ),
)
