"""RegisteredModel: its row in the registry, and the counts of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, get_args

import orjson

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion, Phase
from gatehouse.api.registered_model import RegisteredModel, RegisteredModelStatus, VersionCount
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.indexes import BY_MODEL, BY_PHASE, model_key, phase_key
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectReader, RegistryRows, UtcClock
from gatehouse.controllers.reconciler import Result
from gatehouse.controllers.rows import retire
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, ConditionState, merge
from gatehouse.domain.common.locations import duration
from gatehouse.domain.governance.held import Held, held_under
from gatehouse.domain.version.facts import Unmet
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY
from gatehouse.domain.version.outcome import Requeue
from gatehouse.domain.version.records import ModelRecord
from gatehouse.domain.version.row_recovery import id_in

__all__ = ["RegisteredModelController"]

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
VERSIONS: Final = ModelVersion.info.plural


class RegisteredModelController:
    """Reconciles RegisteredModels."""

    kind = RegisteredModel

    def __init__(self, *, objects: Objects, connections: Connections, clock: UtcClock) -> None:
        self._objects = objects
        self._reader: ObjectReader = objects.reader
        self._connections = connections
        self._clock = clock

    async def reconcile(self, resource: RegisteredModel, body: Mapping[str, Any]) -> Result:
        """Keeps the row and counts the versions. Raises the database's errors."""
        registry = self._objects.registry_of(resource)
        if isinstance(registry, Unmet):
            return self._result(resource, _unmet(registry), registry=None, registry_id=resource.status.registry_id)
        rows = await self._connections.rows(registry)
        row_id, held = await self._save(rows, resource, registry, body, known=id_in(resource.status, registry))
        name = f"{registry.metadata.namespace}/{registry.metadata.name}"
        state = "is archived" if resource.spec.state == "Archived" else "is registered"
        ready = [
            ConditionState(
                READY,
                "True",
                "Registered",
                f"the model {state} in registry {name} as {row_id}{_notice(resource, held)}",
            )
        ]
        return self._result(resource, ready, registry=name, registry_id=str(row_id), held=held)

    async def gone(self, namespace: str, name: str) -> None:
        """Archives the row of a deleted model."""
        await retire(
            "model", namespace, name, objects=self._objects, connections=self._connections, now=self._clock.now()
        )

    def outage(self, resource: RegisteredModel) -> RegisteredModelStatus:
        """The last known status."""
        return resource.status

    def grace(self, resource: RegisteredModel) -> timedelta:
        """The grace of the model's registry."""
        registry = self._objects.registry_of(resource)
        return duration(registry.spec.verification.grace) if isinstance(registry, ModelRegistry) else timedelta(0)

    async def _save(
        self,
        rows: RegistryRows,
        resource: RegisteredModel,
        registry: ModelRegistry,
        body: Mapping[str, Any],
        *,
        known: int | None,
    ) -> tuple[int, Held]:
        row = await rows.load_model(model=resource.metadata.name)
        vouched = resource.spec.classified_by is not None
        before = Held.parse(row.held) if row is not None and not vouched else Held()
        held = held_under(before, resource, registry)
        policies = self._objects.applying(self._objects.policies(), resource, registry, before)
        held = held.under(policies)
        wanted = ModelRecord(
            id=row.id if row else None,
            name=resource.metadata.name,
            namespace=resource.metadata.namespace,
            uid=resource.metadata.uid,
            state="ARCHIVED" if resource.spec.state == "Archived" else "LIVE",
            spec=orjson.dumps(body["spec"], option=orjson.OPT_SORT_KEYS).decode(),
            held=held.text(),
        )
        if row is not None and row.id is not None and row == wanted:
            return row.id, held
        return await rows.save_model(wanted, known=known), held

    def _result(
        self,
        resource: RegisteredModel,
        states: list[ConditionState],
        *,
        registry: str | None,
        registry_id: str | None,
        held: Held | None = None,
    ) -> Result:
        namespace, name = resource.metadata.namespace, resource.metadata.name
        counts = {
            phase: len(self._reader.select(VERSIONS, BY_PHASE, phase_key(namespace, name, phase))) for phase in PHASES
        }
        generation = resource.metadata.generation
        status = RegisteredModelStatus(
            observed_generation=generation,
            last_handled_reconcile_at=resource.requested_at,
            registry=registry,
            registry_id=registry_id,
            risk_tier=held.risk_tier if held else resource.status.risk_tier,
            versions=len(self._reader.select(VERSIONS, BY_MODEL, model_key(namespace, name))),
            versions_by_phase=[VersionCount(phase=phase, count=count) for phase, count in counts.items() if count],
            latest_ready=self._latest_ready(namespace, name),
            conditions=merge(resource.status.conditions, states, generation=generation, now=self._clock.now()),
        )
        return Result(status=status, requeue=Requeue())

    def _latest_ready(self, namespace: str, name: str) -> str | None:
        ready = self._reader.select(VERSIONS, BY_PHASE, phase_key(namespace, name, READY_TO_DEPLOY))
        newest = max(
            ready, key=lambda of: (self._reader.created(VERSIONS, of.namespace, of.name), of.name), default=None
        )
        return None if newest is None else newest.name


def _notice(model: RegisteredModel, held: Held) -> str:
    """A notice for a person who wrote another tier than the effective one."""
    wrote = model.spec.risk_tier
    if wrote is None or wrote == held.risk_tier:
        return ""
    return (
        f"; it counts as {held.risk_tier} risk, not {wrote}: below the registry's default, or what it was before, a "
        "tier counts once somebody who holds the verb classify on risktiers.gatehouse.dev writes that into "
        "spec.classifiedBy"
    )


def _unmet(unmet: Unmet) -> list[ConditionState]:
    message = f"{unmet.finding.found}; expected: {unmet.finding.expected}; {unmet.finding.remedy}"
    abnormal = STALLED if unmet.needs_person else RECONCILING
    return [
        ConditionState(READY, "False", unmet.finding.reason, message),
        ConditionState(abnormal, "True", unmet.finding.reason, message),
    ]
