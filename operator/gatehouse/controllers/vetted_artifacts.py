"""VettedArtifacts: what admission lets through, kept as the versions' standings say.

All objects are made from the cache in one go, since each names all keys. Changes of many versions make one write an
object: it is looked at once a ``PAUSE``, however many versions changed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.controllers.indexes import BY_STANDING
from gatehouse.controllers.objects import Objects
from gatehouse.controllers.ports import Clock, ClusterWriter
from gatehouse.domain.errors import ReconcileError
from gatehouse.domain.outcome import Requeue, requeue_after_error
from gatehouse.domain.vetting import VersionStanding, manifest, shards

__all__ = ["EVERY", "VettedArtifactsKeeper"]

EVERY: Final = "*"
"""Name under which the work is queued: it is always done for all objects."""
PAUSE: Final = timedelta(seconds=1)
SLICE: Final = 1000
"""Standings unpacked before other work has its turn."""

_log = structlog.get_logger(__name__)


class VettedArtifactsKeeper:
    """Writes the difference between what is vetted and what admission has been told."""

    def __init__(self, *, objects: Objects, writer: ClusterWriter, clock: Clock) -> None:
        self._objects = objects
        self._writer = writer
        self._clock = clock
        self._looked: datetime | None = None

    async def __call__(self, namespace: str, name: str, /) -> Requeue:  # noqa: ARG002 - the engine's signature
        """Brings every object to what it should be; called by the engine for any of them."""
        now = self._clock.now()
        if self._looked is not None and now < self._looked + PAUSE:
            return Requeue(after=(self._looked + PAUSE - now).total_seconds())
        self._looked = now
        try:
            await self._write(await self._wanted())
        except ReconcileError as error:
            _log.warning("vetted artifacts not written", reason=error.reason, message=error.message)
            return requeue_after_error(error)
        return Requeue()

    async def _wanted(self) -> Mapping[str, dict[str, Any]]:
        policies = [each.policy for each in self._objects.policies()]
        registries = [
            registry
            for name in self._objects.reader.names(ModelRegistry.info.plural)
            if (registry := self._objects.get(ModelRegistry, *name)) is not None
        ]
        found = shards(
            await self._standings(),
            registries=registries,
            strict=[each.metadata.name for each in policies if _is_strict(each)],
        )
        keys = [key.key for key in found]
        return {
            key.name: manifest(
                key,
                shard,
                keys=keys,
                runtimes=[runtime for each in policies for runtime in each.spec.serving_runtimes],
                images=[each.spec.serving.vllm_image for each in registries],
                arguments=[argument for each in registries for argument in each.spec.serving.allowed_arguments],
                accelerators=self._accelerators(),
            )
            for key, shard in found.items()
        }

    async def _standings(self) -> list[VersionStanding]:
        packed = self._objects.reader.values(ModelVersion.info.plural, BY_STANDING)
        found: list[VersionStanding] = []
        for start in range(0, len(packed), SLICE):
            found += [VersionStanding.unpacked(each) for each in packed[start : start + SLICE]]
            await asyncio.sleep(0)
        return found

    def _accelerators(self) -> list[str]:
        return [
            profile.spec.accelerator.resource_name
            for name in self._objects.reader.names(HardwareProfile.info.plural)
            if (profile := self._objects.get(HardwareProfile, *name)) is not None
        ]

    async def _write(self, wanted: Mapping[str, dict[str, Any]]) -> None:
        """A new object comes before the others know its key, and an old one goes after they have forgotten it."""
        kind, reader = VettedArtifacts.info.plural, self._objects.reader
        there = {name.name: reader.get(kind, "", name.name) for name in reader.names(kind)}
        for name, body in sorted(wanted.items(), key=lambda each: each[0] in there):
            current = there.get(name)
            if current is None or current.get("spec") != body["spec"]:
                await self._writer.put_vetted_artifacts(body)
                _log.info("vetted artifacts written", name=name, artifacts=len(body["spec"]["artifacts"]))
        for name in sorted(there.keys() - wanted.keys()):
            await self._writer.delete_vetted_artifacts(name)
            _log.info("vetted artifacts deleted", name=name)


def _is_strict(policy: GovernancePolicy) -> bool:
    return policy.spec.mode == "Enforce" and policy.spec.running.new_pods == "Deny"
