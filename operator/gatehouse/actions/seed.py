"""Seeding: the shipped profiles and the first model, applied and registered, as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.actions.apply import Applied, ObjectApi, apply
from gatehouse.actions.manifests import Declared
from gatehouse.actions.polling import Patience
from gatehouse.actions.readiness import Goal, artifact_standing
from gatehouse.actions.registration import await_first_look, await_registration
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.common.conditions import READY, find
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY

__all__ = ["FIELD_MANAGER", "SeededVersion", "Seeding", "seed"]

FIELD_MANAGER: Final = "gatehouse-seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededVersion:
    """A registered version: what it is, where it stands, and what to do when it is not ready.

    ``looked_at`` is whether the operator has seen its files, or that there are none; ``hashing`` how far it is with
    them.
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
        """What is to be done about a version that is not ready, and by whom."""
        upload = f"gatehouse upload DIR {self.uri}"
        if self.phase == "Artifact Missing":
            return f"nothing at {self.uri}\n  upload it: {upload}"
        explain = f"gatehouse explain {self.name} -n {self.namespace}"
        if not self.looked_at:
            return (
                f"whether anything is at {self.uri} is not known, as the store has not answered yet: {self.message}\n"
                f"  the operator asks again by itself; where it stands then: {explain}\n"
                f"  if nothing is there, upload it: {upload}"
            )
        if self.hashing:
            return f"{self.hashing}; nothing is to be done, and where it stands says: {explain}"
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
    """What seeding came to."""

    applied: tuple[Applied, ...]
    versions: tuple[SeededVersion, ...]

    @property
    def kept(self) -> tuple[Applied, ...]:
        """What was left as somebody else wants it."""
        return tuple(each for each in self.applied if each.kept is not None)

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        return {
            "complete": True,
            "applied": [
                {
                    "kind": each.declared.kind.info.kind,
                    "namespace": each.declared.namespace or None,
                    "name": each.declared.name,
                    "kept": each.kept,
                }
                for each in self.applied
            ],
            "versions": [version.wire() for version in self.versions],
        }


async def seed(api: ObjectApi, objects: Sequence[Declared], *, goal: Goal, patience: Patience) -> Seeding:
    """Applies the objects in their order and waits until models and versions have reached the goal.

    Then it waits a little for the first look at the files, so that it can say whether they are there. Raises
    PublishError.
    """
    applied = [await apply(api, each, manager=FIELD_MANAGER, patience=patience) for each in objects]
    found = await await_registration(api, objects, goal=goal, manager=FIELD_MANAGER, patience=patience)
    registered = [each for each in found if isinstance(each, ModelVersion)]
    versions = await await_first_look(api, registered, manager=FIELD_MANAGER, patience=patience)
    models = {
        (each.metadata.namespace, each.metadata.name): each for each in found if isinstance(each, RegisteredModel)
    }
    return Seeding(
        applied=tuple(applied),
        versions=tuple(
            _seeded(each, models.get((each.metadata.namespace, each.spec.model_ref.name))) for each in versions
        ),
    )


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
