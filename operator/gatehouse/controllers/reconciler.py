"""One way through every reconcile: read, reconcile, write the status once if it differs, one Event a transition.

Each kind has a controller that knows how its objects are reconciled; this is the part that they share. Every exit, also
that by an error, goes through ``_finish``. An object that does not read is shut at once, and one whose reconcile fails
in a way that nobody foresaw when its grace is over: a status is never left standing because nobody could judge anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from gatehouse.api.meta import Condition, ConditionedStatus, Resource
from gatehouse.controllers.faults import Faults, place_of
from gatehouse.controllers.ports import ClusterWriter, EventRecorder, ObjectName, ObjectReader, UtcClock
from gatehouse.domain.common.conditions import READY, merge
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting
from gatehouse.domain.common.readable import UNREADABLE, Unreadable, read, read_status
from gatehouse.domain.version.outcome import (
    EventNote,
    Requeue,
    alarms,
    conditions_after_error,
    requeue_after_error,
    transition,
)
from gatehouse.domain.version.status import shut_status

__all__ = ["GONE", "KindController", "Result", "Runner", "after_error"]

GONE: Final = Requeue()
"""Nothing is left to look at again."""
RECONCILE_FAILED: Final = "ReconcileFailed"
"""Reason of what nobody foresaw."""

R = TypeVar("R", bound=Resource)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a reconcile came to: the status as it should be, and when to look again."""

    status: ConditionedStatus
    requeue: Requeue


class KindController(Protocol[R]):
    """How the objects of one kind are reconciled."""

    @property
    def kind(self) -> type[R]:
        """The kind."""
        ...

    async def reconcile(self, resource: R, body: Mapping[str, Any]) -> Result:
        """Gather, decide, apply. ``body`` is the object as read. Raises :mod:`gatehouse.domain.common.errors`."""
        ...

    async def gone(self, namespace: str, name: str) -> None:
        """The object is not there any more. Raises :mod:`gatehouse.domain.common.errors`."""
        ...

    def outage(self, resource: R) -> ConditionedStatus:
        """The status that an error leaves standing, before its conditions are replaced."""
        ...

    def grace(self, resource: R) -> timedelta:
        """How long Ready holds through an outage."""
        ...


class Runner(Generic[R]):
    """Reconciles the objects of one kind; called by the engine's workers, one call a key at a time."""

    def __init__(
        self,
        controller: KindController[R],
        *,
        reader: ObjectReader,
        writer: ClusterWriter,
        events: EventRecorder,
        clock: UtcClock,
        faults: Faults | None = None,
    ) -> None:
        self._controller = controller
        self._info = controller.kind.info
        self._reader = reader
        self._writer = writer
        self._events = events
        self._clock = clock
        self._faults = faults or Faults(reader)

    async def __call__(self, namespace: str, name: str, /) -> Requeue:
        """Reconciles one object. Only a fault in this program raises, and the object's gates know of it by then."""
        where = ObjectName(namespace, name)
        body = self._reader.get(self._info.plural, namespace, name)
        try:
            if body is None or body["metadata"].get("deletionTimestamp"):
                await self._controller.gone(namespace, name)
                requeue = GONE
            else:
                requeue = await self._reconcile(where, body)
        except ReconcileError as error:
            _log.warning("reconcile put off", reason=error.reason, message=error.message)
            requeue = requeue_after_error(error)
        except Exception:
            self._faults.failed(self._info.plural, where)
            raise
        if requeue is GONE:
            self._faults.hear(self._info.plural, where)
        self._faults.ended(self._info.plural, where)
        return requeue

    async def _reconcile(self, where: ObjectName, body: Mapping[str, Any]) -> Requeue:
        resource = read(self._controller.kind, body)
        if isinstance(resource, Unreadable):
            self._faults.unreadable(self._info.plural, resource, revision=str(body["metadata"].get("resourceVersion")))
            before = read_status(self._controller.kind, body)
            result = _unread(body, before, resource, clock=self._clock)
            await self._write(where, body, before, result.status)
            return result.requeue
        try:
            result = await self._controller.reconcile(resource, body)
        except ReconcileError as error:
            result = after_error(self._controller, resource, error, clock=self._clock)
        except Exception as error:
            await self._failed(where, body, resource, error)
            raise
        await self._write(where, body, resource.status, result.status)
        return result.requeue

    async def _failed(self, where: ObjectName, body: Mapping[str, Any], resource: R, error: Exception) -> None:
        """Says in the status that the reconcile fails; the caller raises what it failed with."""
        message = f"the reconcile fails with {place_of(error)}; it is tried again"
        fault = Transient(reason=RECONCILE_FAILED, message=message, remedy="the operator's log says where")
        try:
            result = after_error(self._controller, resource, fault, clock=self._clock)
            await self._write(where, body, resource.status, result.status)
        except ReconcileError as unwritten:
            _log.warning("failure not told yet", reason=unwritten.reason, message=unwritten.message)

    async def _write(
        self, where: ObjectName, body: Mapping[str, Any], before: ConditionedStatus, status: ConditionedStatus
    ) -> None:
        """Writes the status. Whose status cannot be written is silenced: what the old one clears does not count."""
        try:
            await self._finish(body, before, status)
        except (Transient, Waiting):
            raise
        except Exception:
            self._faults.silence(self._info.plural, where)
            raise
        self._faults.hear(self._info.plural, where)

    async def _finish(self, body: Mapping[str, Any], before: ConditionedStatus, status: ConditionedStatus) -> None:
        if status == before and len(body.get("status") or ()) <= len(before.model_fields_set):
            return
        await self._writer.write_status(self._info.plural, body, status.wire())
        note = transition(before.conditions, status.conditions, phase_before=_phase(before), phase_after=_phase(status))
        if note is not None:
            self._tell(body, status, note)
        for each in alarms(before.conditions, status.conditions):
            self._tell(body, status, each)

    def _tell(self, body: Mapping[str, Any], status: ConditionedStatus, note: EventNote) -> None:
        self._events.record(self._info.kind, body, type_=note.type, reason=note.reason, message=note.message)
        _log.info("transition", phase=_phase(status), digest=_digest(status), reason=note.reason, message=note.message)


def after_error(
    controller: KindController[R],
    resource: R,
    error: ReconcileError,
    *,
    clock: UtcClock,
) -> Result:
    """What was established stands; the conditions say what is wrong. Only Stalled counts a generation as handled."""
    now, status = clock.now(), controller.outage(resource)
    states = conditions_after_error(status.conditions, error, now=now, grace=_grace(controller, resource))
    handled = resource.metadata.generation if isinstance(error, Stalled) else status.observed_generation
    conditions: list[Condition] = merge(status.conditions, states, generation=resource.metadata.generation, now=now)
    if not any(state.type == READY and state.status == "True" for state in states):
        status = shut_status(status, error)
    return Result(
        status=status.model_copy(update={"conditions": conditions, "observed_generation": handled}),
        requeue=requeue_after_error(error),
    )


def _unread(
    body: Mapping[str, Any],
    before: ConditionedStatus,
    found: Unreadable,
    *,
    clock: UtcClock,
) -> Result:
    """An object that does not read is shut at once. Its generation is handled: nothing happens until it is mended."""
    metadata, now = body["metadata"], clock.now()
    error = Stalled(
        reason=UNREADABLE, message=found.message, remedy=f"mend that field of the {found.kind} and apply it again"
    )
    generation = int(metadata.get("generation") or 0)
    states = conditions_after_error(before.conditions, error, now=now, grace=timedelta(0))
    changes = {
        "conditions": merge(before.conditions, states, generation=generation, now=now),
        "observed_generation": generation,
    }
    return Result(status=shut_status(before, error).model_copy(update=changes), requeue=requeue_after_error(error))


def _grace(controller: KindController[R], resource: R) -> timedelta:
    """How long Ready holds. What cannot be found out is no grace."""
    try:
        return controller.grace(resource)
    except Exception:  # noqa: BLE001 - it is told
        _log.exception("the grace is not known, so there is none")
        return timedelta(0)


def _phase(status: ConditionedStatus) -> str | None:
    phase: str | None = getattr(status, "phase", None)
    return phase


def _digest(status: ConditionedStatus) -> str | None:
    digest: str | None = getattr(getattr(status, "artifact", None), "digest", None)
    return digest
