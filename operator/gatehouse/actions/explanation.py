"""How a version stands: what keeps it from being deployed, and what the reader could do about each shut gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gatehouse.actions.identity import Authorizer
from gatehouse.actions.next_steps import Advice, read_advice
from gatehouse.actions.objects import ObjectSource, read
from gatehouse.api.meta import Condition
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, find
from gatehouse.domain.version.external_states import project
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY

__all__ = ["Explanation", "read_explanation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A version with the ``advice`` for its reader; the advice is empty where no one asked for it."""

    version: ModelVersion
    advice: Advice = field(default_factory=dict)

    @property
    def current(self) -> bool:
        """Whether the status is of the current generation."""
        return self.version.status.observed_generation == self.version.metadata.generation

    @property
    def ready(self) -> bool:
        """Whether the version is Ready to Deploy. A status of another generation says nothing about the current one."""
        status, condition = self.version.status, self._condition
        is_true = condition is not None and condition.status == "True"
        return self.current and status.phase == READY_TO_DEPLOY and is_true

    @property
    def ready_message(self) -> str | None:
        """The message of the condition Ready."""
        return self._condition.message if self._condition else None

    @property
    def summary(self) -> str:
        """One sentence: the message of the condition Ready, or that no operator has seen the current generation."""
        if not self.current:
            return (
                "the operator has not reconciled this generation yet; is it running? "
                "(gatehouse local status, or its Pods)"
            )
        return self.ready_message or ""

    @property
    def abnormal(self) -> Condition | None:
        """The condition Stalled or Reconciling, if the version has one."""
        conditions = self.version.status.conditions
        return find(conditions, STALLED) or find(conditions, RECONCILING)

    @property
    def stages(self) -> Sequence[str]:
        """The stages that gates name, in the order of the status."""
        return tuple(dict.fromkeys(gate.stage for gate in self.version.status.gates if gate.stage))

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints.

        ``gates`` are those of the status, ``advice`` is what the reader could do about each shut one, and
        ``projections`` are the words of other registries for the state.
        """
        version, status, abnormal = self.version, self.version.status, self.abnormal
        return {
            "name": version.metadata.name,
            "namespace": version.metadata.namespace,
            "phase": status.phase,
            "ready": self.ready,
            "clearedFor": list(status.cleared_for),
            "deployedTo": list(status.deployed_to),
            "running": [pods.wire() for pods in status.running],
            "projections": project(status, stages=self.stages).wire(),
            "current": self.current,
            "summary": self.summary,
            "abnormal": None if abnormal is None else {"type": abnormal.type, "message": abnormal.message},
            "gates": [gate.wire() for gate in status.gates],
            "advice": [
                {"gate": gate, "stage": stage, "you": sentence} for (gate, stage), sentence in self.advice.items()
            ],
            "warnings": list(status.hardware.warnings) if status.hardware else [],
            "notes": list(status.artifact.notes) if status.artifact else [],
            "digest": status.artifact.digest if status.artifact else None,
            "contentSource": status.artifact.content_source if status.artifact else None,
            "registryId": status.registry_id,
        }

    @property
    def _condition(self) -> Condition | None:
        return find(self.version.status.conditions, READY)


async def read_explanation(objects: ObjectSource, authorizer: Authorizer, *, namespace: str, name: str) -> Explanation:
    """Reads a version, and the advice for the person who asks. Raises ClusterError, and Refused as read does."""
    version = await read(objects, ModelVersion, namespace, name)
    return Explanation(version=version, advice=await read_advice(objects, authorizer, version))
