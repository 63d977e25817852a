"""Deploys a version, rolls a deployment back, and waits for what becomes of it, as the person who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from gatehouse.actions.identity import SelfAuthorizer
from gatehouse.actions.objects import listed, parsed
from gatehouse.actions.polling import Patience
from gatehouse.actions.promotion import PromotionRequest, promote, target_namespace
from gatehouse.api.deployment_strategy import StrategyType
from gatehouse.api.meta import GROUP, VERSION
from gatehouse.api.model_deployment import (
    ANNOTATION_DEPLOYED_BY,
    ANNOTATION_RESUME,
    ANNOTATION_RETRY,
    ANNOTATION_ROLLBACK_BY,
    ANNOTATION_ROLLBACK_REASON,
    ANNOTATION_ROLLBACK_REQUESTED_AT,
    ANNOTATION_ROLLBACK_TO,
    ModelDeployment,
)
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.common.conditions import READY, STALLED, find
from gatehouse.domain.deployment.facts import RollbackRequest
from gatehouse.errors import NotRegistered, Refused

__all__ = [
    "STEPS",
    "DeployRequest",
    "DeploymentOutcome",
    "OutcomeKind",
    "RollbackOrder",
    "WrittenDeployment",
    "await_deployment",
    "await_rollback",
    "declared_version",
    "deploy",
    "outcome_of",
    "read_deployments",
    "request_of",
    "resume",
    "rollback",
]

MANAGER: Final = "gatehouse-deploy"
_PLURAL: Final = ModelDeployment.info.plural
_KIND: Final = ModelDeployment.info.kind

STEPS: Final[Mapping[StrategyType, Sequence[Mapping[str, Any]]]] = MappingProxyType(
    {
        "Recreate": (),
        "BlueGreen": (),
        "Canary": (
            {"setWeight": 10},
            {"pause": {"duration": "5m"}},
            {"setWeight": 50},
            {"pause": {"duration": "5m"}},
        ),
    }
)
"""The steps of a strategy that a command chooses. Analyses need a Prometheus, so a person adds them."""

OutcomeKind = Literal["Healthy", "Refused", "RolledBack", "TimedOut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequest:
    """``name`` in ``namespace`` is the version. ``target`` is where it shall run; None means by ``stage``.

    ``deployment`` and ``served_name`` are those of a new deployment; None takes them from the model. A strategy that
    the deployment does not have comes with ``STEPS``. With ``force`` even where another tool declares
    ``spec.versionRef``. ``at`` is the time of the request: a version that was rolled
    back is applied again.
    """

    namespace: str
    name: str
    stage: str
    target: str | None = None
    deployment: str | None = None
    served_name: str | None = None
    replicas: int | None = None
    strategy: StrategyType | None = None
    hostname: str | None = None
    at: datetime
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenDeployment:
    """The deployment as written. ``why_not`` says why nothing was written: a gate is shut."""

    body: Mapping[str, Any] | None
    outcome: Literal["created", "configured", "unchanged", "refused"]
    notes: Sequence[str] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOrder:
    """A rollback of a deployment to a revision, or to the newest revision of a version."""

    namespace: str
    name: str
    to: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DeploymentOutcome:
    """What became of a deployment, and why."""

    kind: OutcomeKind
    message: str


async def deploy(api: ApiClient, request: DeployRequest) -> WrittenDeployment:
    """Creates the deployment of a cleared version, or makes an existing one name the version.

    Raises Refused for a deployment of another model, and where another tool declares the version; ClusterError.
    """
    home = PromotionRequest(namespace=request.namespace, name=request.name, stage=request.stage, dry_run=True)
    gates = await promote(api, home)
    if not gates.cleared:
        return WrittenDeployment(body=None, outcome="refused", why_not=gates.why_not)
    namespace, note = await target_namespace(api, request.stage, request.target)
    model = gates.version.spec.model_ref.name
    name = request.deployment or model
    notes = [note] if note else []
    existing = await _read(api, namespace, name)
    params = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if request.dry_run else {})
    if existing is None:
        made = _new(request, namespace=namespace, name=name, model=model, by=await _caller(api))
        body = await api.create(_PLURAL, namespace, made, params=params)
        return WrittenDeployment(body=body, outcome="created", notes=notes)
    deployment = parsed(ModelDeployment, existing)
    change = _change(existing, deployment, request, model=model)
    again = _tries_again(deployment, request)
    if not change and not again:
        return WrittenDeployment(body=existing, outcome="unchanged", notes=notes)
    marks = {ANNOTATION_RETRY: request.at.isoformat(timespec="microseconds")} if again else {}
    if again or "versionRef" in change:
        marks[ANNOTATION_DEPLOYED_BY] = await _caller(api)
    annotations = {"annotations": marks} if marks else {}
    version = existing["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version, **annotations}, "spec": change}
    body = await api.patch(_PLURAL, namespace, name, patch, kind="application/merge-patch+json", params=params)
    return WrittenDeployment(body=body, outcome="configured", notes=notes)


async def _caller(api: ApiClient) -> str:
    return (await SelfAuthorizer(api).whoami()).name


def _new(request: DeployRequest, *, namespace: str, name: str, model: str, by: str) -> dict[str, Any]:
    elsewhere = {} if request.namespace == namespace else {"namespace": request.namespace}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": _KIND,
        "metadata": {"name": name, "namespace": namespace, "annotations": {ANNOTATION_DEPLOYED_BY: by}},
        "spec": {
            "modelRef": {"name": model, **elsewhere},
            "versionRef": {"name": request.name},
            "servedName": request.served_name or model,
            **({} if request.replicas is None else {"replicas": request.replicas}),
            **({} if request.hostname is None else {"hostname": request.hostname}),
            **({} if request.strategy is None else {"strategy": _strategy(request.strategy)}),
        },
    }


def _strategy(strategy: StrategyType) -> dict[str, Any]:
    return {"type": strategy, "steps": [dict(step) for step in STEPS[strategy]]}


def _tries_again(deployment: ModelDeployment, request: DeployRequest) -> bool:
    """Whether the person asks again for the version that was rolled back."""
    rolled_back = deployment.status.rollback
    return rolled_back is not None and rolled_back.version == request.name == deployment.spec.version_ref.name


def _change(
    existing: Mapping[str, Any], deployment: ModelDeployment, request: DeployRequest, *, model: str
) -> dict[str, Any]:
    """The changes of the spec; empty where the deployment has them."""
    spec, metadata = deployment.spec, deployment.metadata
    where = f"{_KIND} {metadata.namespace}/{metadata.name}"
    home = spec.model_ref.namespace or metadata.namespace
    if (home, spec.model_ref.name) != (request.namespace, model):
        raise Refused(
            f"{where} deploys the model {home}/{spec.model_ref.name}; expected: {request.namespace}/{model}; "
            "name another deployment with --name"
        )
    if request.served_name is not None and request.served_name != spec.served_name:
        raise Refused(
            f"{where} serves {spec.served_name}; expected: {request.served_name}, but a served name never changes; "
            "name another deployment with --name"
        )
    changes: dict[str, Any] = {}
    if spec.version_ref.name != request.name:
        declaring = ", ".join(_declarers(existing))
        if declaring and not request.force:
            raise Refused(
                f"{declaring} declares spec.versionRef of {where}, and would restore the declared version; change the "
                f"declaration to {request.name}, or use --force"
            )
        changes["versionRef"] = {"name": request.name}
    if request.replicas is not None and request.replicas != spec.replicas:
        changes["replicas"] = request.replicas
    if request.hostname is not None and request.hostname != spec.hostname:
        changes["hostname"] = request.hostname
    if request.strategy is not None and request.strategy != spec.strategy.type:
        changes["strategy"] = _strategy(request.strategy)
    return changes


def _declarers(body: Mapping[str, Any]) -> Sequence[str]:
    """Field managers that declare ``spec.versionRef`` elsewhere."""
    return [
        str(entry["manager"])
        for entry in body["metadata"].get("managedFields", ())
        if entry["operation"] == "Apply"
        and "f:versionRef" in entry.get("fieldsV1", {}).get("f:spec", {})
        and entry["manager"] != MANAGER
    ]


async def rollback(api: ApiClient, order: RollbackOrder) -> ModelDeployment:
    """Writes the request for a rollback. Raises Refused for a revision that the history does not have."""
    body = await api.get(_PLURAL, order.namespace, order.name)
    deployment = parsed(ModelDeployment, body)
    history = deployment.status.history
    target = next((entry.revision for entry in history if order.to in {entry.revision, entry.version}), None)
    if target is None:
        known = ", ".join(dict.fromkeys(f"{entry.revision} ({entry.version})" for entry in history)) or "none yet"
        raise Refused(f"{order.namespace}/{order.name} has no revision {order.to}; expected: one of {known}")
    annotations = {
        ANNOTATION_ROLLBACK_TO: target,
        ANNOTATION_ROLLBACK_REASON: order.reason,
        ANNOTATION_ROLLBACK_BY: await _caller(api),
        ANNOTATION_ROLLBACK_REQUESTED_AT: order.at.isoformat(timespec="microseconds"),
    }
    written = await api.patch(
        _PLURAL,
        order.namespace,
        order.name,
        {"metadata": {"annotations": annotations}},
        kind="application/merge-patch+json",
        params={"fieldManager": MANAGER, "fieldValidation": "Strict"},
    )
    return parsed(ModelDeployment, written)


async def resume(api: ApiClient, *, namespace: str, name: str) -> ModelDeployment:
    """Lets a rollout go on that waits at a step. Raises Refused for a deployment that waits at none."""
    deployment = parsed(ModelDeployment, await api.get(_PLURAL, namespace, name))
    canary = deployment.status.canary
    if canary is None or canary.step is None:
        raise Refused(
            f"{namespace}/{name} brings in no revision; expected: a rollout that waits at a step; "
            "gatehouse deployments shows where rollouts are"
        )
    written = await api.patch(
        _PLURAL,
        namespace,
        name,
        {"metadata": {"annotations": {ANNOTATION_RESUME: f"{canary.revision}/{canary.step.index}"}}},
        kind="application/merge-patch+json",
        params={"fieldManager": MANAGER, "fieldValidation": "Strict"},
    )
    return parsed(ModelDeployment, written)


def declared_version(deployment: ModelDeployment, version: str) -> dict[str, Any]:
    """The part of a deployment that Git declares so that it runs a version, as a merge patch."""
    metadata = deployment.metadata
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": _KIND,
        "metadata": {"name": metadata.name, "namespace": metadata.namespace},
        "spec": {"versionRef": {"name": version}},
    }


async def read_deployments(api: ApiClient, *, namespace: str) -> Sequence[ModelDeployment]:
    """The deployments of a namespace, or of all of them; by name."""
    found = await listed(api, ModelDeployment, namespace)
    return sorted(found, key=lambda each: (each.metadata.namespace, each.metadata.name))


# Waiting


async def await_deployment(
    api: ApiClient, *, namespace: str, name: str, version: str, generation: int, patience: Patience
) -> DeploymentOutcome:
    """What becomes of a version in a deployment. A refusal by admission may only be early, and is waited for."""

    def judge(deployment: ModelDeployment) -> DeploymentOutcome | None:
        return None if (deployment.status.observed_generation or 0) < generation else outcome_of(deployment, version)

    return await _await(api, namespace, name, judge, patience)


def request_of(asked: ModelDeployment) -> RollbackRequest:
    """The request that an object has. Raises Refused where the API server answered with an object without one."""
    annotations = asked.metadata.annotations
    named = (ANNOTATION_ROLLBACK_TO, ANNOTATION_ROLLBACK_REASON, ANNOTATION_ROLLBACK_REQUESTED_AT)
    lacking = ", ".join(name for name in named if name not in annotations)
    if lacking:
        raise Refused(
            f"{asked.metadata.namespace}/{asked.metadata.name} has no request for a rollback: no {lacking}; "
            "expected: the annotations that were just written. Ask again"
        )
    to, reason, requested_at = (annotations[name] for name in named)
    return RollbackRequest(to=to, reason=reason.strip(), requested_at=requested_at)


async def await_rollback(api: ApiClient, asked: ModelDeployment, *, patience: Patience) -> DeploymentOutcome:
    """What becomes of a request for a rollback. Raises Refused for an object without a request."""
    key = request_of(asked).key

    def judge(deployment: ModelDeployment) -> DeploymentOutcome | None:
        status = deployment.status
        if status.last_handled_rollback != key:
            return None
        if status.rollback is None:
            refusal = status.rollback_refusal
            return DeploymentOutcome("Refused", "superseded" if refusal is None else refusal.message)
        available = find(status.conditions, "Available")
        runs = status.stable is not None and status.stable.revision == status.rollback.to
        if runs and available is not None and available.status == "True":
            return DeploymentOutcome("Healthy", f"revision {status.rollback.to} is available")
        return None

    return await _await(api, asked.metadata.namespace, asked.metadata.name, judge, patience)


def outcome_of(deployment: ModelDeployment, version: str) -> DeploymentOutcome | None:
    """What became of a version; None while that is open."""
    status, ready = deployment.status, find(deployment.status.conditions, READY)
    message = "" if ready is None else ready.message
    if deployment.metadata.annotations.get(ANNOTATION_RETRY) not in {None, status.last_handled_retry}:
        return None
    if deployment.spec.version_ref.name != version:
        return DeploymentOutcome("Refused", f"spec.versionRef names {deployment.spec.version_ref.name} by now")
    if status.rollback is not None and status.rollback.version == version:
        return DeploymentOutcome("RolledBack", status.rollback.reason)
    if status.phase == "Healthy" and status.stable is not None and status.stable.version == version:
        return DeploymentOutcome("Healthy", message)
    if status.phase == "Held" and ready is not None and ready.reason != "AdmissionRefused":
        return DeploymentOutcome("Refused", message)
    stalled = find(status.conditions, STALLED)
    if stalled is not None and stalled.reason in {"ProgressDeadlineExceeded", "NoRollbackTarget"}:
        return DeploymentOutcome("TimedOut", stalled.message)
    return None


async def _await(
    api: ApiClient,
    namespace: str,
    name: str,
    judge: Callable[[ModelDeployment], DeploymentOutcome | None],
    patience: Patience,
) -> DeploymentOutcome:
    while True:
        deployment = parsed(ModelDeployment, await api.get(_PLURAL, namespace, name))
        found = judge(deployment)
        if found is not None:
            return found
        ready = find(deployment.status.conditions, READY)
        why = "the operator has not reconciled the deployment yet" if ready is None else ready.message
        try:
            await patience.wait(why, topic=None if ready is None else ready.reason)
        except NotRegistered as error:
            return DeploymentOutcome("TimedOut", str(error))


async def _read(api: ApiClient, namespace: str, name: str) -> Mapping[str, Any] | None:
    try:
        return await api.get(_PLURAL, namespace, name)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
