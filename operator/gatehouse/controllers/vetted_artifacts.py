"""VettedArtifacts: the artifacts that admission admits, derived from the standings of all versions.

A pass computes all objects from the cache at once, since each object names all keys. Changes of many versions share one
write for each object; the more versions exist, the longer the pause before the next pass. An object that cannot be
written does not delay the others, so that artifacts that are no longer vetted leave the objects that can be written.

A process that was stopped for a while does not know whether another operator leads now. Each write therefore names the
state that it was computed from, and a conflict ends the pass. If the operator before did not hand its Lease over, a new
operator first marks every object. Writes that were computed before the mark then fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import GROUP
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.api.wire import ACCELERATOR_RESOURCE
from gatehouse.controllers.declaration import Declaration, Right, resource_of
from gatehouse.controllers.dependencies import EVERY, Dependencies
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.indexes import BY_STANDING
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ClusterWriter, LeaseTerm, UtcClock
from gatehouse.domain.admission.allowlist import Shard, ShardKey, shards
from gatehouse.domain.admission.contest import VersionStanding
from gatehouse.domain.admission.objects import LARGEST, Common, VettedPlan
from gatehouse.domain.common.errors import ReconcileError, Superseded
from gatehouse.domain.common.readable import member
from gatehouse.domain.common.revision import Revision
from gatehouse.domain.version.outcome import Requeue, requeue_after_error
from gatehouse.runtime.controller import Reconcile

__all__ = ["DECLARATION", "Initializer", "VettedArtifactsKeeper", "pause_after"]

PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(seconds=5)
A_VERSION: Final = timedelta(milliseconds=0.5)
"""Some ten times the cost of one version in a pass, so that many changes leave nine tenths to other work."""
LONGEST_RESOURCE: Final = 316
MOST_SHARDS: Final = 1024
"""Stages times buckets that one object can name."""
SLICE: Final = 1000
"""Standings unpacked before other work can run."""

_log = structlog.get_logger(__name__)


class Initializer(Protocol):
    """The images with which the cluster's KServe loads models."""

    async def images(self) -> tuple[str, ...]:
        """Images, each with its tag or digest; empty while they are not known."""
        ...


@dataclass(slots=True)
class _There:
    """The existing objects, as far as known: the spec of each, and the state that has the spec."""

    specs: dict[str, Mapping[str, Any]]
    at: dict[str, Revision]

    def put(self, name: str, spec: Mapping[str, Any], at: Revision) -> None:
        self.specs[name], self.at[name] = spec, at

    def drop(self, name: str) -> None:
        del self.specs[name], self.at[name]


class VettedArtifactsKeeper:
    """Writes the difference between the vetted artifacts and the VettedArtifacts objects."""

    def __init__(
        self,
        *,
        objects: Objects,
        writer: ClusterWriter,
        clock: UtcClock,
        limit: int = LARGEST,
        faults: Faults | None = None,
        term: LeaseTerm | None = None,
        initializer: Initializer | None = None,
    ) -> None:
        self._objects = objects
        self._faults = faults or Faults(objects.reader)
        self._term = term
        self._initializer = initializer
        self._marked = False
        self._writer = writer
        self._clock = clock
        self._limit = limit
        self._rests_until: datetime | None = None

    async def __call__(self, namespace: str, name: str, /) -> Requeue:  # noqa: ARG002 - the engine's signature
        """Updates every object; the engine calls it for the key ``EVERY``."""
        now = self._clock.now()
        rest = timedelta(0) if self._rests_until is None else self._rests_until - now
        # A longer rest does not count: the machine's clock was set back.
        if timedelta(0) < rest <= LONGEST_PAUSE:
            return Requeue(after=rest.total_seconds())
        self._rests_until = now + PAUSE
        try:
            versions = await self._bring()
        except Superseded as error:
            _log.warning("vetted artifacts were to be written by another", reason=error.reason, message=error.message)
            return await self._again(error)
        except ReconcileError as error:
            return requeue_after_error(error)
        self._rests_until = now + pause_after(versions)
        return Requeue()

    async def _again(self, error: Superseded) -> Requeue:
        """Reads the objects again, so that the next pass starts from the current state even if the watch lags."""
        try:
            await self._writer.reread_vetted_artifacts()
        except ReconcileError as unread:
            return requeue_after_error(unread)
        return requeue_after_error(error)

    async def _bring(self) -> int:
        """Returns how many versions the pass covered."""
        await self._mark()
        policies, registries = [policy.policy for policy in self._objects.policies()], self._registries()
        strict = [policy.metadata.name for policy in policies if _is_strict(policy)]
        common = Common.of(
            runtimes=(runtime for policy in policies for runtime in policy.spec.serving_runtimes),
            registries=registries,
            accelerators=self._accelerators(),
            initializers=() if self._initializer is None else await self._initializer.images(),
        )
        standings = await self._standings()
        by_key = shards(standings, registries=registries, strict=strict)
        if len(by_key) > MOST_SHARDS:
            _log.warning("too many stages and buckets: nothing of the last ones is cleared", shards=len(by_key))
            by_key = {key: by_key[key] for key in sorted(by_key)[:MOST_SHARDS]}
        await self._write(by_key, common)
        return len(standings)

    def _registries(self) -> list[ModelRegistry]:
        names = self._objects.reader.names(ModelRegistry.info.plural)
        return [registry for name in names if (registry := self._objects.get(ModelRegistry, *name)) is not None]

    async def _standings(self) -> list[VersionStanding]:
        packed = self._objects.reader.values(ModelVersion.info.plural, BY_STANDING)
        standings: list[VersionStanding] = []
        for start in range(0, len(packed), SLICE):
            standings += [VersionStanding.unpacked(standing) for standing in packed[start : start + SLICE]]
            await asyncio.sleep(0)
        silenced = {f"{name.namespace}/{name.name}" for name in self._faults.silenced(ModelVersion.info.plural)}
        if not silenced:
            return standings
        return [
            replace(standing, cleared_for=()) if standing.version in silenced else standing for standing in standings
        ]

    def _accelerators(self) -> list[str]:
        """The accelerators that profiles name. A name in an unreadable profile counts as well."""
        accelerators = []
        for name in self._objects.reader.names(HardwareProfile.info.plural):
            profile = self._objects.find(HardwareProfile, *name)
            if isinstance(profile, HardwareProfile):
                accelerators.append(profile.spec.accelerator.resource_name)
            elif profile is not None:
                body = self._objects.reader.get(HardwareProfile.info.plural, *name)
                resource = member(body, *ACCELERATOR_RESOURCE)
                if isinstance(resource, str) and 0 < len(resource) <= LONGEST_RESOURCE:
                    accelerators.append(resource)
        return accelerators

    async def _mark(self) -> None:
        """Stops writes that an earlier leader may still attempt: those writes were computed from another state."""
        if self._marked or self._term is None or not self._term.took_over:
            return
        there = self._there()
        for name in there.at:
            await self._take(name, there)
        self._marked = True

    async def _take(self, name: str, there: _There) -> Revision:
        """The state of an object with this process's mark; marks the object if another process wrote it."""
        at = there.at[name]
        if at.writer == self._writer.name:
            return at
        _log.info("vetted artifacts taken over", name=name, writer=at.writer)
        return await self._writer.mark_vetted_artifacts({"metadata": {"name": name}, "spec": there.specs[name]}, at=at)

    async def _write(self, shards: Mapping[ShardKey, Shard], common: Common) -> None:
        there = self._there()
        plan = VettedPlan.of(shards, there=there.specs, common=common, limit=self._limit)
        moves = plan.moves(there.specs)
        if moves:
            await self._compare(there)
        errors = await self._put(plan.creations(there.specs), there)
        errors += await self._put(plan.updates(there.specs), there)
        if moves:
            # If an object's range was altered, the object now covers the right range again.
            errors += await self._put(plan.updates(there.specs), there)
        for name in plan.deletions(there.specs):
            await self._delete(name, there)
        for error in errors:
            raise error

    def _there(self) -> _There:
        kind, reader = VettedArtifacts.info.plural, self._objects.reader
        there = _There({}, {})
        for name in reader.names(kind):
            body = reader.get(kind, "", name.name)
            if body is not None:
                there.put(name.name, body["spec"], Revision.of(body["metadata"]))
        return there

    async def _compare(self, there: _There) -> None:
        """Drops objects that are deleted but still in this cache, as they cover nothing.

        :raises Superseded: another writer changed an object, and this cache has not received the change.
        """
        live = await self._writer.vetted_artifacts()
        for name in [name for name in there.at if name not in live]:
            there.drop(name)
        if unheard := sorted(name for name, at in live.items() if there.at.get(name) != at):
            raise Superseded(reason="Conflict", message=f"VettedArtifacts {', '.join(unheard)} changed meanwhile")

    async def _put(self, bodies: Iterable[dict[str, Any]], there: _There) -> list[ReconcileError]:
        """Writes the objects and updates ``there``; returns the errors of other writes.

        :raises Superseded: the computed objects no longer count.
        """
        errors = []
        for body in bodies:
            name, spec = body["metadata"]["name"], body["spec"]
            try:
                if (at := there.at.get(name)) is None:
                    written = await self._writer.create_vetted_artifacts(body)
                else:
                    written = await self._writer.update_vetted_artifacts(body, at=at)
            except Superseded:
                raise
            except ReconcileError as error:
                errors.append(error)
                _log.warning("vetted artifacts not written", name=name, reason=error.reason, message=error.message)
            else:
                there.put(name, spec, written)
                _log.info("vetted artifacts written", name=name, artifacts=len(spec["artifacts"]))
        return errors

    async def _delete(self, name: str, there: _There) -> None:
        """Admission identifies who deletes an object by the object's mark alone."""
        await self._writer.delete_vetted_artifacts(name, at=await self._take(name, there))
        _log.info("vetted artifacts deleted", name=name)


def pause_after(versions: int) -> timedelta:
    """From the start of a pass over so many versions to the start of the next: within seconds, however many exist."""
    return min(max(PAUSE, versions * A_VERSION), LONGEST_PAUSE)


def _is_strict(policy: GovernancePolicy) -> bool:
    return policy.spec.mode == "Enforce" and policy.spec.running.new_pods == "Deny"


def _build(shared: Dependencies) -> Reconcile:
    adapters = shared.adapters
    return VettedArtifactsKeeper(
        objects=shared.objects,
        writer=adapters.writer,
        clock=adapters.clock,
        faults=shared.faults,
        term=adapters.term,
        initializer=shared.initializer,
    )


DECLARATION: Final = Declaration(
    resource=resource_of(VettedArtifacts),
    build=_build,
    together=EVERY,
    woken_by=tuple(kind.info.plural for kind in (ModelVersion, ModelRegistry, GovernancePolicy, HardwareProfile)),
    rights=(
        Right(group=GROUP, resource=VettedArtifacts.info.plural, verbs=("create", "patch", "delete")),
        # KServe's namespace, and the storage initializer in KServe's configuration.
        Right(
            group="admissionregistration.k8s.io",
            resource="mutatingwebhookconfigurations",
            verbs=("get",),
            names=("inferenceservice.serving.kserve.io",),
        ),
        Right(resource="configmaps", verbs=("get",)),
    ),
)
