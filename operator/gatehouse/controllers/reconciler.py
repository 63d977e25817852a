"""The reconcile of every kind: read, reconcile, write the status once if it differs, one Event for each transition.

Each kind has a controller that reconciles its objects; this module has the part that all kinds share. Every exit, by an
error or not, goes through ``_finish``. The gates of an unreadable object shut at once. The gates of an object whose
reconcile fails with an unexpected error shut when its grace is over. A status thus never stays open because the object
cannot be evaluated again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from gatehouse.api.meta import ANNOTATION_TRACEPARENT, Condition, ConditionedStatus, Resource
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
from gatehouse.runtime.spans import NoWorkSpans, WorkSpans, step
from gatehouse.runtime.traces import Trace, parse_traceparent

__all__ = ["GONE", "TRACED_FOR", "KindController", "Result", "Runner", "after_error", "trace_of_object"]

GONE: Final = Requeue()
"""Nothing is left to reconcile."""
TRACED_FOR: Final = timedelta(minutes=15)
"""The age up to which an object's reconciles continue the trace of its creation."""
RECONCILE_FAILED: Final = "ReconcileFailed"
"""Reason of an unexpected error."""

R = TypeVar("R", bound=Resource)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a reconcile: the new status, and when to reconcile again."""

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
        """The object was deleted. Raises :mod:`gatehouse.domain.common.errors`."""
        ...

    def outage(self, resource: R) -> ConditionedStatus:
        """The status that remains after an error, before its conditions are replaced."""
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
        spans: WorkSpans | None = None,
    ) -> None:
        self._spans = spans or NoWorkSpans()
        self._controller = controller
        self._info = controller.kind.info
        self._reader = reader
        self._writer = writer
        self._events = events
        self._clock = clock
        self._faults = faults or Faults(reader)

    async def __call__(self, namespace: str, name: str, /) -> Requeue:
        """Reconciles one object. Raises only faults of this program, after the object's gates were updated."""
        where = ObjectName(namespace, name)
        body = self._reader.get(self._info.plural, namespace, name)
        try:
            if body is None or body["metadata"].get("deletionTimestamp"):
                await self._controller.gone(namespace, name)
                requeue = GONE
            else:
                requeue = await self._traced(where, body)
        except ReconcileError as error:
            _log.warning("reconcile put off", reason=error.reason, message=error.message)
            requeue = requeue_after_error(error)
        except Exception:
            # A fault of this program: it is counted, and the engine logs it and tries the key again.
            self._faults.failed(self._info.plural, where)
            raise
        if requeue is GONE:
            self._faults.hear(self._info.plural, where)
        self._faults.ended(self._info.plural, where)
        return requeue

    async def _traced(self, where: ObjectName, body: Mapping[str, Any]) -> Requeue:
        """Reconciles; a young object that names a trace continues the trace, in spans and in the log."""
        trace = trace_of_object(body, now=self._clock.now())
        if trace is None:
            return await self._reconcile(where, body)
        bound = structlog.contextvars.bound_contextvars
        with self._spans.reconcile(self._info.plural, *where, trace=trace), bound(trace_id=trace.trace_id):
            return await self._reconcile(where, body)

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
            # A fault of this program must not leave a status open: the status says that the reconcile fails.
            await self._failed(where, body, resource, error)
            raise
        await self._write(where, body, resource.status, result.status)
        return result.requeue

    async def _failed(self, where: ObjectName, body: Mapping[str, Any], resource: R, error: Exception) -> None:
        """Writes into the status that the reconcile fails; the caller raises the error."""
        message = f"the reconcile fails with {place_of(error)}; it is tried again"
        fault = Transient(reason=RECONCILE_FAILED, message=message, remedy="see the operator's log")
        try:
            result = after_error(self._controller, resource, fault, clock=self._clock)
            await self._write(where, body, resource.status, result.status)
        except ReconcileError as unwritten:
            _log.warning("failure not reported yet", reason=unwritten.reason, message=unwritten.message)

    async def _write(
        self, where: ObjectName, body: Mapping[str, Any], before: ConditionedStatus, status: ConditionedStatus
    ) -> None:
        """Writes the status. If the status cannot be written, the clearances in the old status no longer count."""
        try:
            await self._finish(body, before, status)
        except (Transient, Waiting):
            raise
        except Exception:
            # Whatever kept the status from being written, the old one may grant what no longer holds.
            self._faults.silence(self._info.plural, where)
            raise
        self._faults.hear(self._info.plural, where)

    async def _finish(self, body: Mapping[str, Any], before: ConditionedStatus, status: ConditionedStatus) -> None:
        if status == before and len(body.get("status") or ()) <= len(before.model_fields_set):
            return
        with step("write status"):
            await self._writer.write_status(self._info.plural, body, status.wire())
        note = transition(before.conditions, status.conditions, phase_before=_phase(before), phase_after=_phase(status))
        if note is not None:
            self._tell(body, status, note)
        for alarm in alarms(before.conditions, status.conditions):
            self._tell(body, status, alarm)

    def _tell(self, body: Mapping[str, Any], status: ConditionedStatus, note: EventNote) -> None:
        self._events.record(self._info.kind, body, type_=note.type, reason=note.reason, message=note.message)
        _log.info("transition", phase=_phase(status), digest=_digest(status), reason=note.reason, message=note.message)


def trace_of_object(body: Mapping[str, Any], *, now: datetime) -> Trace | None:
    """The trace that an object names, while the object is young. Who may write the object may write the annotation."""
    metadata = body["metadata"]
    named = (metadata.get("annotations") or {}).get(ANNOTATION_TRACEPARENT)
    if not isinstance(named, str):
        return None
    trace, created = parse_traceparent(named), metadata.get("creationTimestamp")
    if trace is None or not isinstance(created, str):
        return None
    try:
        age = now - datetime.fromisoformat(created)
    except (ValueError, TypeError):
        return None
    return trace if age <= TRACED_FOR else None


def after_error(
    controller: KindController[R],
    resource: R,
    error: ReconcileError,
    *,
    clock: UtcClock,
) -> Result:
    """The last known status stays; the conditions report the error. Only Stalled counts a generation as handled."""
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
    unreadable: Unreadable,
    *,
    clock: UtcClock,
) -> Result:
    """Shuts an unreadable object at once. Its generation counts as handled: it waits for a change."""
    metadata, now = body["metadata"], clock.now()
    error = Stalled(
        reason=UNREADABLE,
        message=unreadable.message,
        remedy=f"fix that field of the {unreadable.kind} and apply it again",
    )
    generation = int(metadata.get("generation") or 0)
    states = conditions_after_error(before.conditions, error, now=now, grace=timedelta(0))
    changes = {
        "conditions": merge(before.conditions, states, generation=generation, now=now),
        "observed_generation": generation,
    }
    return Result(status=shut_status(before, error).model_copy(update=changes), requeue=requeue_after_error(error))


def _grace(controller: KindController[R], resource: R) -> timedelta:
    """How long Ready holds; zero when that cannot be computed."""
    try:
        return controller.grace(resource)
    except Exception:  # noqa: BLE001 - without a grace the gates shut at once, which is safe; the fault is logged
        _log.exception("the grace is not known, so there is none")
        return timedelta(0)


def _phase(status: ConditionedStatus) -> str | None:
    phase: str | None = getattr(status, "phase", None)
    return phase


def _digest(status: ConditionedStatus) -> str | None:
    digest: str | None = getattr(getattr(status, "artifact", None), "digest", None)
    return digest
