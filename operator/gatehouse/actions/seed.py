"""Seeding: the shipped profiles and the first model, applied and registered. A second seed changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.actions.apply import Applied, apply
from gatehouse.actions.identity import SelfAuthorizer
from gatehouse.actions.manifests import Declared, submitted
from gatehouse.actions.polling import Patience
from gatehouse.actions.readiness import Goal, artifact_standing
from gatehouse.actions.registration import await_first_check, await_registration
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiClient, ApiUnavailable
from gatehouse.domain.common.conditions import READY, find
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY

__all__ = ["FIELD_MANAGER", "SeededVersion", "Seeding", "seed"]

FIELD_MANAGER: Final = "gatehouse-seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededVersion:
    """A registered version and its state.

    ``looked_at`` is whether the operator has checked its files, or that no file exists; ``hashing`` is the progress of
    the check.
    """

    namespace: str
    name: str
    model: str
    version: str
    phase: str
    ready: bool
    message: str
    uri: str
    hardware: str
    runtime: str
    registry: str
    registry_id: str
    looked_at: bool
    hashing: str = ""

    @property
    def advice(self) -> str:
        """What to do about a version that is not ready, and who does it."""
        upload = f"gatehouse upload DIR {self.uri}"
        if self.phase == "Artifact Missing":
            return f"nothing at {self.uri}\n  upload it: {upload}"
        explain = f"gatehouse explain {self.name} -n {self.namespace}"
        if not self.looked_at:
            return (
                f"the store has not answered yet, so the content of {self.uri} is unknown: {self.message}\n"
                f"  the operator tries again; this command shows the state: {explain}\n"
                f"  if nothing is there, upload it: {upload}"
            )
        if self.hashing:
            return f"{self.hashing}; no action is needed, and this command shows the state: {explain}"
        return self.message

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "model": self.model,
            "version": self.version,
            "phase": self.phase,
            "ready": self.ready,
            "message": self.message,
            "uri": self.uri,
            "hardwareProfile": self.hardware,
            "runtime": self.runtime,
            "registry": self.registry,
            "registryId": self.registry_id,
            "lookedAt": self.looked_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeding:
    """The result of a seed."""

    applied: tuple[Applied, ...]
    versions: tuple[SeededVersion, ...]

    @property
    def kept(self) -> tuple[Applied, ...]:
        """The objects that keep the values of another field manager."""
        return tuple(applied for applied in self.applied if applied.kept is not None)

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        return {
            "complete": True,
            "applied": [
                {
                    "kind": applied.declared.kind.info.kind,
                    "namespace": applied.declared.namespace or None,
                    "name": applied.declared.name,
                    "kept": applied.kept,
                }
                for applied in self.applied
            ],
            "versions": [version.wire() for version in self.versions],
        }


async def seed(
    api: ApiClient,
    objects: Sequence[Declared],
    *,
    goal: Goal,
    patience: Patience,
    submitted_by: str | None = None,
) -> Seeding:
    """Applies the objects in their order and waits until models and versions reach the goal.

    ``submitted_by`` is the author of versions that name none; the person who asks then submits for the author. At last
    the seed waits up to a minute for the first check of the files, so that the result says whether they exist. Raises
    ActionError and ClusterError.
    """
    if submitted_by is not None:
        objects = submitted(objects, by=submitted_by, via=await _caller(api, patience))
    applied = [await apply(api, declared, manager=FIELD_MANAGER, patience=patience) for declared in objects]
    registered = await await_registration(api, objects, goal=goal, manager=FIELD_MANAGER, patience=patience)
    unchecked = [resource for resource in registered if isinstance(resource, ModelVersion)]
    versions = await await_first_check(api, unchecked, manager=FIELD_MANAGER, patience=patience)
    models = {
        (resource.metadata.namespace, resource.metadata.name): resource
        for resource in registered
        if isinstance(resource, RegisteredModel)
    }
    return Seeding(
        applied=tuple(applied),
        versions=tuple(
            _seeded(version, models.get((version.metadata.namespace, version.spec.model_ref.name)))
            for version in versions
        ),
    )


async def _caller(api: ApiClient, patience: Patience) -> str:
    """The person who asks, as soon as the API server answers."""
    while True:
        try:
            return (await SelfAuthorizer(api).whoami()).name
        except ApiUnavailable as error:
            await patience.wait(str(error))


def _seeded(version: ModelVersion, model: RegisteredModel | None) -> SeededVersion:
    status, spec = version.status, version.spec
    ready, progress = find(status.conditions, READY), status.verification
    return SeededVersion(
        namespace=version.metadata.namespace,
        name=version.metadata.name,
        model=(model.spec.display_name if model else None) or spec.model_ref.name,
        version=spec.version,
        phase=status.phase or "",
        ready=status.phase == READY_TO_DEPLOY and ready is not None and ready.status == "True",
        message=ready.message if ready else "",
        uri=spec.artifact.uri,
        hardware=spec.hardware_profile_ref.name,
        runtime=spec.runtime,
        registry=status.registry or "",
        registry_id=status.registry_id or "",
        looked_at=artifact_standing(version).state == "Done",
        hashing=f"{progress.files_done} of {progress.files} files are hashed" if progress else "",
    )
