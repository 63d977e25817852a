"""How far a revision is rolled out, read from KServe's InferenceService and the Deployment below it.

No single condition of KServe tells: each of them was observed to be True while the Pods of an earlier revision served,
or while there was no Pod. A revision is available when all of them agree, and the Deployment has rolled out a template
that carries the revision's own mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gatehouse.domain.common.readable import member
from gatehouse.domain.deployment.revision import ANNOTATION_REVISION

__all__ = ["RevisionRollout", "RolloutState", "deployment_of", "rollout_of", "service_says"]

RolloutState = Literal["Available", "Progressing", "Stopped"]
_ROLLED_OUT: Final = "NewReplicaSetAvailable"
_LONGEST: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRollout:
    """The state of a revision's Pods, and in words what was found."""

    state: RolloutState
    found: str


def deployment_of(service: str) -> str:
    """The name of the Deployment that KServe makes for an InferenceService."""
    return f"{service}-predictor"


def service_says(status: object) -> RevisionRollout:
    """What the status of an InferenceService says about its newest Pods. Available is to be confirmed."""
    conditions = _conditions(status)
    ready, predictor = conditions.get("Ready", {}), conditions.get("PredictorReady", {})
    if ready.get("reason") == "Stopped" or conditions.get("Stopped", {}).get("status") == "True":
        return RevisionRollout(state="Stopped", found="the annotation serving.kserve.io/stop stops the service")
    model = member(status, "modelStatus")
    transition = member(model, "transitionStatus")
    if transition in ("BlockedByFailedLoad", "InvalidSpec"):
        return _progressing(f"KServe says {transition}{_failure(model)}")
    if ready.get("status") != "True":
        return _progressing(_say("Ready", ready) if ready else "KServe has set no condition yet")
    if predictor.get("status") != "True" or predictor.get("reason") != _ROLLED_OUT:
        return _progressing(_say("PredictorReady", predictor))
    if transition != "UpToDate" or member(model, "states", "targetModelState") != "Loaded":
        return _progressing(f"the model is {member(model, 'states', 'targetModelState') or 'not loaded'}")
    copies = member(model, "copies", "totalCopies")
    if not isinstance(copies, int) or copies < 1:
        return _progressing("no Pod has loaded the model")
    return RevisionRollout(state="Available", found=f"{copies} Pods have loaded the model")


def rollout_of(status: object, deployment: Mapping[str, Any] | None, *, revision: str) -> RevisionRollout:
    """The rollout of a revision, by the service and the Deployment together. ``deployment`` is None where absent."""
    said = service_says(status)
    if said.state != "Available":
        return said
    if deployment is None:
        return _progressing("KServe has no Deployment for the service")
    carried = member(deployment, "spec", "template", "metadata", "annotations", ANNOTATION_REVISION)
    if carried != revision:
        return _progressing(f"the Deployment still has the revision {str(carried)[:100]}")
    generation, counts = member(deployment, "metadata", "generation"), member(deployment, "status")
    observed = member(counts, "observedGeneration")
    if not isinstance(generation, int) or not isinstance(observed, int) or observed < generation:
        return _progressing("the Deployment's controller has not handled the newest template yet")
    replicas, updated, available, away = (
        member(counts, name) for name in ("replicas", "updatedReplicas", "availableReplicas", "unavailableReplicas")
    )
    asked = member(deployment, "spec", "replicas")
    if not replicas or not replicas == updated == available == (1 if asked is None else asked) or away:
        return _progressing(f"{updated or 0} of {replicas or 0} Pods have the revision, {available or 0} are available")
    return said


def _progressing(found: str) -> RevisionRollout:
    return RevisionRollout(state="Progressing", found=found[:_LONGEST])


def _conditions(status: object) -> Mapping[str, Mapping[str, Any]]:
    listed = member(status, "conditions")
    return {
        str(each["type"]): each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, Mapping) and "type" in each
    }


def _say(name: str, condition: Mapping[str, Any]) -> str:
    reason, message = condition.get("reason"), condition.get("message")
    told = ": ".join(str(part) for part in (reason, message) if part)
    return f"{name} is {condition.get('status', 'absent')}{f' ({told})' if told else ''}"


def _failure(model: object) -> str:
    """KServe never clears the last failure, so it is shown only while the load is blocked."""
    message = member(model, "lastFailureInfo", "message")
    return f": {message}" if isinstance(message, str) and message else ""
