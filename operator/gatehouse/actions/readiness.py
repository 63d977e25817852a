"""Whether an object is registered, or ready, from its status alone. Every function is pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gatehouse.api.meta import Condition, Resource
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, find
from gatehouse.domain.version.lifecycle import DECLARED_PHASES, READY_TO_DEPLOY

__all__ = ["Goal", "Readiness", "artifact_standing", "model_standing", "version_standing"]

Goal = Literal["registered", "ready"]

REGISTERED: Final = "Registered"
_NOT_RECONCILED: Final = (
    "NotReconciled",
    "the operator has not reconciled it yet; is it running? (kubectl get pods -n gatehouse-system)",
)
_ADVICE: Final = {
    "DatabaseUnavailable": "check the database, and host and port in the ModelRegistry",
    "DatabaseAccessDenied": "correct the password in the Secret that the ModelRegistry names",
    "DatabaseNotFound": "correct the name of the database in the ModelRegistry, or create the database",
    "StoreUnavailable": "check the object store, and its endpoint in the ModelRegistry",
}
"""What to do about reasons whose messages do not say it."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """``Done``, ``Pending`` while no action is needed, ``Failed`` when a person must act; and why."""

    state: Literal["Done", "Pending", "Failed"]
    reason: str = ""
    message: str = ""

    def __str__(self) -> str:
        advice = _ADVICE.get(self.reason) or _ADVICE.get(self.message.partition(":")[0])
        return f"{self.reason}: {self.message}" + (f"; {advice}" if advice and advice not in self.message else "")


def model_standing(model: RegisteredModel) -> Readiness:
    """Whether the registry has a row of the current generation of the model."""
    ready = find(model.status.conditions, READY)
    if _is_current(model) and model.status.registry_id and ready is not None and ready.status == "True":
        return Readiness("Done")
    return _unfinished(model, ready)


def version_standing(version: ModelVersion, *, goal: Goal) -> Readiness:
    """Whether the current generation of the version is in the registry, or is ready to deploy."""
    return _ready(version) if goal == "ready" else _registered(version)


def artifact_standing(version: ModelVersion) -> Readiness:
    """Whether the operator has checked the files. It cannot while the store does not answer."""
    status = version.status
    hashing = status.verification is not None and status.verification.files > 0
    if status.phase != "Verifying" or hashing:
        return Readiness("Done")
    reported = find(status.conditions, RECONCILING) or find(status.conditions, READY)
    return Readiness("Pending", *((reported.reason, reported.message) if reported else _NOT_RECONCILED))


def _registered(version: ModelVersion) -> Readiness:
    conditions = version.status.conditions
    registered = find(conditions, REGISTERED)
    stalled = find(conditions, STALLED)
    # A stall that no gate explains is an error of the registry or the cluster: the gates are of an earlier reconcile.
    outside = stalled is not None and all(gate.reason != stalled.reason for gate in _gates(conditions))
    if (
        _is_current(version)
        and version.status.registry_id
        and registered is not None
        and registered.status == "True"
        and not outside
    ):
        return Readiness("Done")
    return _unfinished(version, find(conditions, READY))


def _ready(version: ModelVersion) -> Readiness:
    ready = find(version.status.conditions, READY)
    phase = version.status.phase
    if not _is_current(version) or ready is None:
        return _unfinished(version, ready)
    if phase == READY_TO_DEPLOY and ready.status == "True":
        return Readiness("Done")
    if phase in DECLARED_PHASES:
        return Readiness("Failed", ready.reason, ready.message)
    return _unfinished(version, ready)


def _unfinished(resource: Resource, ready: Condition | None) -> Readiness:
    conditions = resource.status.conditions
    stalled = find(conditions, STALLED)
    if stalled is not None and stalled.observed_generation == resource.metadata.generation:
        return Readiness("Failed", stalled.reason, stalled.message)
    reported = find(conditions, RECONCILING) or ready
    if reported is None or reported.observed_generation != resource.metadata.generation:
        return Readiness("Pending", *_NOT_RECONCILED)
    return Readiness("Pending", reported.reason, reported.message)


def _is_current(resource: Resource) -> bool:
    return resource.status.observed_generation == resource.metadata.generation


def _gates(conditions: Sequence[Condition]) -> list[Condition]:
    return [condition for condition in conditions if condition.type not in {READY, RECONCILING, STALLED}]
