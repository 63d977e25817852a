"""HardwareProfile: checks the profile's figures, and counts the versions that name the profile.

When a profile changes, its versions are decided again: the cache's reverse map enqueues them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gatehouse.api.hardware_profile import HardwareProfile, HardwareProfileStatus
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.values import bytes_of
from gatehouse.controllers.indexes import BY_PROFILE
from gatehouse.controllers.ports import ObjectReader, UtcClock
from gatehouse.controllers.reconciler import Result
from gatehouse.domain.common.conditions import READY, ConditionState, merge
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.version.outcome import Requeue

__all__ = ["HardwareProfileController"]


class HardwareProfileController:
    """Reconciles HardwareProfiles."""

    kind = HardwareProfile

    def __init__(self, *, reader: ObjectReader, clock: UtcClock) -> None:
        self._reader = reader
        self._clock = clock

    async def reconcile(self, resource: HardwareProfile, body: Mapping[str, Any]) -> Result:  # noqa: ARG002
        """Raises ``Stalled`` when the memory is not a valid quantity for an accelerator."""
        memory = resource.spec.accelerator.memory
        try:
            known = bytes_of(memory) > 0
        except ValueError:
            known = False
        if not known:
            raise Stalled(
                reason="ProfileInvalid",
                message=f"accelerator.memory is {memory!r}, expected a positive quantity",
                remedy="write what the driver reports, for example 23034Mi",
            )
        generation = resource.metadata.generation
        states = [ConditionState(READY, "True", "Valid", "versions can be checked against the profile")]
        status = HardwareProfileStatus(
            observed_generation=generation,
            last_handled_reconcile_at=resource.requested_at,
            versions=len(self._reader.select(ModelVersion.info.plural, BY_PROFILE, resource.metadata.name)),
            conditions=merge(resource.status.conditions, states, generation=generation, now=self._clock.now()),
        )
        return Result(status=status, requeue=Requeue())

    async def gone(self, namespace: str, name: str) -> None:
        """Keeps nothing of a profile; its versions wait for a profile with that name."""

    def outage(self, resource: HardwareProfile) -> HardwareProfileStatus:
        """The last known status."""
        return resource.status

    def grace(self, resource: HardwareProfile) -> timedelta:  # noqa: ARG002
        """A profile depends on nothing outside the cluster."""
        return timedelta(0)
