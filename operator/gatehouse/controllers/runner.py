"""One way through every reconcile: read, reconcile, write the status once if it differs, one Event a transition.

Each kind has a controller that knows how its objects are reconciled; this is the part that they share. Every exit, also
that by an error, goes through ``_finish``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog
from pydantic import ValidationError

from gatehouse.api.meta import Condition, ConditionedStatus, Resource
from gatehouse.controllers.ports import Clock, ClusterWriter, EventRecorder, ObjectReader
from gatehouse.domain.conditions import merge
from gatehouse.domain.errors import ReconcileError, Stalled
from gatehouse.domain.outcome import EventNote, Requeue, alarm, conditions_after_error, requeue_after_error, transition

__all__ = ["GONE", "KindController", "Result", "Runner", "after_error"]

GONE: Final = Requeue()
"""Nothing is left to look at again."""

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
        """Gather, decide, apply. ``body`` is the object as it was read. Raises :mod:`gatehouse.domain.errors`."""
        ...

    async def gone(self, namespace: str, name: str) -> None:
        """The object is not there any more. Raises :mod:`gatehouse.domain.errors`."""
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
        clock: Clock,
    ) -> None:
        self._controller = controller
        self._info = controller.kind.info
        self._reader = reader
        self._writer = writer
        self._events = events
        self._clock = clock

    async def __call__(self, namespace: str, name: str, /) -> Requeue:
        """Reconciles one object. Only a fault in this program raises."""
        body = self._reader.get(self._info.plural, namespace, name)
        try:
            if body is None or body["metadata"].get("deletionTimestamp"):
                await self._controller.gone(namespace, name)
                return GONE
            return await self._reconcile(body)
        except ReconcileError as error:
            _log.warning("reconcile put off", reason=error.reason, message=error.message)
            return requeue_after_error(error)

    async def _reconcile(self, body: Mapping[str, Any]) -> Requeue:
        resource = self._parse(body)
        try:
            result = await self._controller.reconcile(resource, body)
        except ReconcileError as error:
            result = after_error(self._controller, resource, error, clock=self._clock)
        await self._finish(body, resource, result.status)
        return result.requeue

    def _parse(self, body: Mapping[str, Any]) -> R:
        try:
            return self._controller.kind.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Stalled(reason="Unreadable", message=f"{where}: {first['msg']}") from error

    async def _finish(self, body: Mapping[str, Any], resource: R, status: ConditionedStatus) -> None:
        before = resource.status
        if status == before:
            return
        await self._writer.write_status(self._info.plural, body, status.wire())
        note = transition(before.conditions, status.conditions, phase_before=_phase(before), phase_after=_phase(status))
        for each in (note, alarm(before.conditions, status.conditions)):
            if each is not None:
                self._tell(body, status, each)

    def _tell(self, body: Mapping[str, Any], status: ConditionedStatus, note: EventNote) -> None:
        self._events.record(self._info.kind, body, type_=note.type, reason=note.reason, message=note.message)
        _log.info("transition", phase=_phase(status), digest=_digest(status), reason=note.reason, message=note.message)


def after_error(
    controller: KindController[R],
    resource: R,
    error: ReconcileError,
    *,
    clock: Clock,
    verified_at: datetime | None = None,
) -> Result:
    """What was established stands; the conditions say what is wrong. Only Stalled counts a generation as handled."""
    now, status = clock.now(), controller.outage(resource)
    states = conditions_after_error(
        status.conditions, error, now=now, verified_at=verified_at, grace=controller.grace(resource)
    )
    handled = resource.metadata.generation if isinstance(error, Stalled) else status.observed_generation
    conditions: list[Condition] = merge(status.conditions, states, generation=resource.metadata.generation, now=now)
    return Result(
        status=status.model_copy(update={"conditions": conditions, "observed_generation": handled}),
        requeue=requeue_after_error(error),
    )


def _phase(status: ConditionedStatus) -> str | None:
    phase: str | None = getattr(status, "phase", None)
    return phase


def _digest(status: ConditionedStatus) -> str | None:
    digest: str | None = getattr(getattr(status, "artifact", None), "digest", None)
    return digest
