"""Keeps audit trails: signs checkpoints, copies them to object stores, and summarises records past their retention.

The keeper verifies records before it signs a checkpoint over them. A trail that was changed gets an Event instead of a
checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import AuditTrail, EventRecorder, UtcClock
from gatehouse.controllers.registry_sweep import RegistrySweep, RegistryTroubles
from gatehouse.domain.audit.chain import CHECKPOINT_EVERY, verify_chain
from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint, Summary, checkpoint_json
from gatehouse.domain.audit.records import AuditHead, RecordUnreadable, StoredRecord, read_record
from gatehouse.domain.audit.trust import Trusted
from gatehouse.domain.common.clocks import lies_ahead
from gatehouse.domain.common.errors import ReconcileError, Stalled
from gatehouse.domain.common.locations import duration, locate

if TYPE_CHECKING:
    from gatehouse.domain.audit.keys import Signer

__all__ = ["AuditKeeper", "copy_key"]

SUMMARISED_AT_ONCE: Final = 5_000
COPIED_AT_ONCE: Final = 100
RETRY_AFTER: Final = timedelta(minutes=1)
"""The wait after an outage."""
LOCKED_FOR: Final = timedelta(days=3650)
"""How long copies are locked when the registry sets no retention."""
KIND: Final = ModelRegistry.info.kind
WORK: Final = "audit"
_UNTRUSTED: Final = Trusted((), ())

_log = structlog.get_logger(__name__)


class _Broken(Exception):
    """A record or a checkpoint of the trail differs from what Gatehouse wrote."""


@dataclass(slots=True)
class _Seen:
    """The state of a registry: when it is due, the newest checkpoint signed here, and whether copies are unlocked."""

    due: datetime
    signed: Checkpoint | None = None
    unlocked: bool = False


class AuditKeeper:
    """Keeps the audit trails of all registries. :meth:`sweep` runs every few seconds, and mostly does nothing.

    Args:
        objects: the registries.
        connections: their rows and stores.
        events: records an Event about the registry for each checkpoint, and for each broken trail.
        clock: the time.
        signer: the operator's key.
        interval: how often a checkpoint is due where the registry does not set an interval.
        written: how many records this process has written to all trails.
        troubles: records a registry whose trail fails with an unexpected error.
    """

    def __init__(
        self,
        *,
        objects: Objects,
        connections: Connections,
        events: EventRecorder,
        clock: UtcClock,
        signer: Signer,
        interval: timedelta,
        written: Callable[[], int],
        troubles: RegistryTroubles,
    ) -> None:
        self._each = RegistrySweep(
            work=WORK,
            reason="AuditKeepingFailed",
            doing="no checkpoint is signed: looking after the audit trail",
            objects=objects,
            troubles=troubles,
        )
        self._connections = connections
        self._events = events
        self._clock = clock
        self._signer = signer
        self._keys = signer.public_keys
        self._interval = interval
        self._written = written
        self._written_before = written()
        self._seen: dict[str, _Seen] = {}

    async def sweep(self) -> None:
        """Checks each registry whose checkpoint is due, and all of them after ``CHECKPOINT_EVERY`` written records."""
        written = self._written()
        much = written - self._written_before >= CHECKPOINT_EVERY
        if much:
            self._written_before = written

        async def check(registry: ModelRegistry, body: Mapping[str, Any]) -> bool:
            return await self._if_due(registry, body, much=much)

        await self._each.run(check)

    async def _if_due(self, registry: ModelRegistry, body: Mapping[str, Any], *, much: bool) -> bool:
        now = self._clock.now()
        seen = self._seen.setdefault(_name(registry), _Seen(due=now))
        # A due time more than an interval ahead was set before the machine's clock was set back.
        if seen.due > now + max(self._interval_of(registry), RETRY_AFTER):
            seen.due = now
        if not much and seen.due > now:
            return False
        try:
            await self._keep(registry, body, seen, now)
        except Exception:
            # The caller reports any error as the registry's trouble; here it only sets when the next check is due.
            seen.due = now + RETRY_AFTER
            raise
        return True

    async def _keep(self, registry: ModelRegistry, body: Mapping[str, Any], seen: _Seen, now: datetime) -> None:
        name, interval = _name(registry), self._interval_of(registry)
        is_due = seen.due <= now
        if is_due:
            seen.due = now + interval
        try:
            trail = (await self._connections.rows(registry)).audit
            standing = await trail.standing()
            newest = await self._sign(name, trail, standing, seen, now=now, is_due=is_due)
            if newest is not None and newest != standing.checkpoint:
                said = f"audit records up to {newest.seq} have hash {newest.hash}, signed by key {newest.key_id}"
                self._events.record(KIND, body, type_="Normal", reason="AuditCheckpoint", message=said)
            await self._copy(registry, trail, seen)
            await self._summarise(registry, trail, standing, newest, now=now)
        except _Broken as error:
            said = f"the audit trail is not as it was written, no checkpoint is signed: {error}"
            _log.error("audit trail broken", registry=name, message=str(error))
            self._events.record(KIND, body, type_="Warning", reason="AuditChainBroken", message=said)
        except Stalled:
            raise
        except ReconcileError as error:
            _log.warning("audit trail put off", registry=name, reason=error.reason, message=error.message)
            seen.due = min(seen.due, now + RETRY_AFTER)

    async def _sign(
        self, name: str, trail: AuditTrail, standing: AuditStanding, seen: _Seen, *, now: datetime, is_due: bool
    ) -> Checkpoint | None:
        """Signs the records since the newest checkpoint, one checkpoint per 1,000; returns the newest checkpoint."""
        newest = self._newest(standing, seen)
        head = standing.head
        if head is None:
            return newest
        last = AuditHead(newest.seq, newest.hash) if newest else None
        if last is not None and last.seq == head.seq and last.hash != head.hash:
            raise _Broken(f"the head of the trail, record {head.seq}, has another hash than its checkpoint")
        while last is None or last.seq < head.seq:
            page = await trail.records(after=last.seq if last else 0, limit=CHECKPOINT_EVERY)
            if len(page) < CHECKPOINT_EVERY and not is_due:
                break
            last = self._verified_head(name, page, head, last)
            newest = self._signer.checkpoint(name, last, at=now, previous=newest)
            await trail.save_checkpoint(newest)
            seen.signed = newest
        return newest

    def _newest(self, standing: AuditStanding, seen: _Seen) -> Checkpoint | None:
        """The newest checkpoint. Raises ``_Broken`` if it is older than the one signed here or has a bad signature."""
        newest, signed = standing.checkpoint, seen.signed
        if signed is not None and (newest is None or newest.seq < signed.seq):
            raise _Broken(f"checkpoint {signed.seq}, which was signed here, is gone; the database may be an older one")
        if newest is not None and newest.key_id == self._signer.key_id and not self._keys.signed(newest):
            raise _Broken(f"checkpoint {newest.seq} does not have the signature of what it says")
        return newest

    def _verified_head(
        self, name: str, page: Sequence[StoredRecord], head: AuditHead, last: AuditHead | None
    ) -> AuditHead:
        """The head of a page of records. Raises ``_Broken`` if a record differs from what was written."""
        if not page:
            raise _Broken(f"it ends before record {head.seq}, which is its head")
        end = AuditHead(page[-1].seq, page[-1].hash)
        verdict = verify_chain(
            page, registry=name, head=head if end.seq == head.seq else end, trusted=_UNTRUSTED, start=last
        )
        if verdict.first_bad is not None:
            raise _Broken(str(verdict.first_bad))
        return end

    async def _copy(self, registry: ModelRegistry, trail: AuditTrail, seen: _Seen) -> None:
        """Copies the checkpoints that have no copy yet."""
        uri = registry.spec.audit.uri
        if uri is None:
            return
        retention = registry.spec.audit.retention
        locked_for = duration(retention) if retention else LOCKED_FOR
        while waiting := await trail.checkpoints_to_copy(uri=uri, limit=COPIED_AT_ONCE):
            archive = await self._connections.archive(registry, uri)
            for checkpoint in waiting:
                locked = await archive.put(
                    locate(uri).prefix + copy_key(checkpoint),
                    checkpoint_json(checkpoint).encode(),
                    retain_until=checkpoint.at + locked_for,
                )
                if not locked and not seen.unlocked:
                    _log.warning(
                        "the bucket has no Object Lock: copies could be changed", registry=_name(registry), uri=uri
                    )
                seen.unlocked = not locked
            await trail.mark_copied([checkpoint.seq for checkpoint in waiting], uri=uri)

    async def _summarise(
        self,
        registry: ModelRegistry,
        trail: AuditTrail,
        standing: AuditStanding,
        newest: Checkpoint | None,
        *,
        now: datetime,
    ) -> None:
        """Replaces records that are older than the retention and have a checkpoint by one summary."""
        retention = registry.spec.audit.retention
        if not retention or newest is None or standing.head is None or not standing.first:
            return
        before = now - duration(retention)
        upto = min(newest.seq, standing.head.seq - 1)
        last: StoredRecord | None = None
        for limit in (1, SUMMARISED_AT_ONCE):  # most sweeps find that even the oldest is too young
            for stored in await trail.records(after=standing.first - 1, limit=limit):
                at = _at(stored)
                if stored.seq > upto or (at >= before and not lies_ahead(at, now=now)):
                    break
                # A record from a clock that was ahead is as old as the records next to it.
                last = stored if at < before else last
            if last is None:
                break
        if last is None:
            return
        summary = Summary(registry=_name(registry), to=last.seq, hash=last.hash)
        count = await trail.summarise(summary, signer=self._signer, at=now)
        _log.info("audit records summarised", registry=summary.registry, upto=summary.to, count=count)

    def _interval_of(self, registry: ModelRegistry) -> timedelta:
        own = registry.spec.audit.checkpoint_interval
        return duration(own) if own else self._interval


def copy_key(checkpoint: Checkpoint) -> str:
    """The key of a checkpoint's copy below the prefix. Different checkpoints have different keys."""
    return f"{checkpoint.registry}/{checkpoint.seq:012d}-{checkpoint.hash[:16]}.json"


def _at(stored: StoredRecord) -> datetime:
    try:
        return read_record(stored).fact.at
    except RecordUnreadable as error:
        raise _Broken(str(error)) from None


def _name(registry: ModelRegistry) -> str:
    return f"{registry.metadata.namespace}/{registry.metadata.name}"
