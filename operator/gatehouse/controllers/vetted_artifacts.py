"""VettedArtifacts: what admission lets through, kept as the versions' standings say.

All objects are made from the cache in one go, since each names all keys. Changes of many versions make one write an
object, and the more versions there are, the longer it is until the next look at them. An object that cannot be written
holds up no other one, so that what is not vetted any more leaves those that can.

Another operator may lead by the time that something is written: a process that was stopped does not know. Each write
names the state that it was computed from, and a conflict ends the pass. An operator whose Lease was not handed over
first marks every object, so that nothing which was computed before can be written after that.
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
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.indexes import BY_STANDING
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ClusterWriter, UtcClock
from gatehouse.domain.admission.allowlist import Shard, ShardKey, shards
from gatehouse.domain.admission.contest import VersionStanding
from gatehouse.domain.admission.objects import LARGEST, Common, VettedPlan
from gatehouse.domain.common.errors import ReconcileError, Superseded
from gatehouse.domain.common.readable import member
from gatehouse.domain.common.revision import Revision
from gatehouse.domain.version.outcome import Requeue, requeue_after_error

__all__ = ["EVERY", "Initializer", "LeaseTerm", "VettedArtifactsKeeper", "pause_after"]

EVERY: Final = "*"
"""Name under which the work is queued: it is always done for all objects."""
PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(seconds=5)
A_VERSION: Final = timedelta(milliseconds=0.5)
"""Some ten times what a pass takes for each version, so that a storm of changes leaves nine tenths to other work."""
LONGEST_RESOURCE: Final = 316
MOST_SHARDS: Final = 1024
"""Stages times buckets that one object can name."""
SLICE: Final = 1000
"""Standings unpacked before other work has its turn."""

_log = structlog.get_logger(__name__)


class LeaseTerm(Protocol):
    """How this process came to lead."""

    @property
    def took_over(self) -> bool:
        """Whether the operator that led before may still write, as that one did not hand the Lease over."""
        ...


class Initializer(Protocol):
    """What the cluster's KServe loads models with."""

    async def images(self) -> tuple[str, ...]:
        """Images, each with its tag or digest; nothing while that is not known."""
        ...


@dataclass(slots=True)
class _There:
    """The objects that are there, as far as is known: what each says, and the state that says so."""

    specs: dict[str, Mapping[str, Any]]
    at: dict[str, Revision]

    def put(self, name: str, spec: Mapping[str, Any], at: Revision) -> None:
        self.specs[name], self.at[name] = spec, at

    def drop(self, name: str) -> None:
        del self.specs[name], self.at[name]


class VettedArtifactsKeeper:
    """Writes the difference between what is vetted and what admission has been told."""

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
        """Brings every object to what it should be; the engine calls it for the key :data:`EVERY`."""
        now = self._clock.now()
        rest = timedelta(0) if self._rests_until is None else self._rests_until - now
        # A rest that is longer is none: the machine's clock was set back.
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
        """The next pass starts from what is there, whatever has become of the watch."""
        try:
            await self._writer.reread_vetted_artifacts()
        except ReconcileError as unread:
            return requeue_after_error(unread)
        return requeue_after_error(error)

    async def _bring(self) -> int:
        """How many versions it looked at."""
        await self._mark()
        policies, registries = [each.policy for each in self._objects.policies()], self._registries()
        strict = [each.metadata.name for each in policies if _is_strict(each)]
        common = Common.of(
            runtimes=(runtime for each in policies for runtime in each.spec.serving_runtimes),
            registries=registries,
            accelerators=self._accelerators(),
            initializers=() if self._initializer is None else await self._initializer.images(),
        )
        standings = await self._standings()
        found = shards(standings, registries=registries, strict=strict)
        if len(found) > MOST_SHARDS:
            _log.warning("too many stages and buckets: nothing of the last ones is cleared", shards=len(found))
            found = {key: found[key] for key in sorted(found)[:MOST_SHARDS]}
        await self._write(found, common)
        return len(standings)

    def _registries(self) -> list[ModelRegistry]:
        names = self._objects.reader.names(ModelRegistry.info.plural)
        return [found for name in names if (found := self._objects.get(ModelRegistry, *name)) is not None]

    async def _standings(self) -> list[VersionStanding]:
        packed = self._objects.reader.values(ModelVersion.info.plural, BY_STANDING)
        found: list[VersionStanding] = []
        for start in range(0, len(packed), SLICE):
            found += [VersionStanding.unpacked(each) for each in packed[start : start + SLICE]]
            await asyncio.sleep(0)
        silenced = {f"{name.namespace}/{name.name}" for name in self._faults.silenced(ModelVersion.info.plural)}
        if not silenced:
            return found
        return [replace(each, cleared_for=()) if each.version in silenced else each for each in found]

    def _accelerators(self) -> list[str]:
        """Those that profiles name. What a profile that does not read calls one is one all the same."""
        found = []
        for name in self._objects.reader.names(HardwareProfile.info.plural):
            profile = self._objects.find(HardwareProfile, *name)
            if isinstance(profile, HardwareProfile):
                found.append(profile.spec.accelerator.resource_name)
            elif profile is not None:
                body = self._objects.reader.get(HardwareProfile.info.plural, *name)
                resource = member(body, "spec", "accelerator", "resourceName")
                if isinstance(resource, str) and 0 < len(resource) <= LONGEST_RESOURCE:
                    found.append(resource)
        return found

    async def _mark(self) -> None:
        """Ends what an operator that led before may still be about to write: it was computed from another state."""
        if self._marked or self._term is None or not self._term.took_over:
            return
        there = self._there()
        for name in there.at:
            await self._take(name, there)
        self._marked = True

    async def _take(self, name: str, there: _There) -> Revision:
        """The state of an object that bears this process's mark; marks the object if another process wrote it."""
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
            # A range that somebody had altered covers again what it should.
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
        """Drops what this cache has not yet heard the end of, as it covers nothing.

        :raises Superseded: somebody else wrote what this cache has not heard of.
        """
        live = await self._writer.vetted_artifacts()
        for name in [name for name in there.at if name not in live]:
            there.drop(name)
        if unheard := sorted(name for name, at in live.items() if there.at.get(name) != at):
            raise Superseded(reason="Conflict", message=f"VettedArtifacts {', '.join(unheard)} changed meanwhile")

    async def _put(self, bodies: Iterable[dict[str, Any]], there: _There) -> list[ReconcileError]:
        """Writes them, and into ``there`` what is written; what went wrong otherwise.

        :raises Superseded: what is computed does not count any more.
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
        """Admission knows who deletes by the mark of the object alone."""
        await self._writer.delete_vetted_artifacts(name, at=await self._take(name, there))
        _log.info("vetted artifacts deleted", name=name)


def pause_after(versions: int) -> timedelta:
    """From the begin of a pass over so many versions to that of the next: within seconds, however many there are."""
    return min(max(PAUSE, versions * A_VERSION), LONGEST_PAUSE)


def _is_strict(policy: GovernancePolicy) -> bool:
    return policy.spec.mode == "Enforce" and policy.spec.running.new_pods == "Deny"
