"""Objects of OpenShift AI's kind ModelRegistry: Gatehouse reads those that are its own as registries.

The kind may be absent, and on a cluster with OpenShift AI's operator the kind belongs to that operator. An object is
Gatehouse's own if it has the label ``app.kubernetes.io/part-of: gatehouse``; others are not even listed. An object with
the finalizer of OpenShift AI's operator is that operator's. The rights come with the component that brings the kind:
without the component the list is refused, and the kind counts as absent. No other work waits for this one: the sweep
reads a small list at intervals, and writes only differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import structlog

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import UtcClock
from gatehouse.domain.common.conditions import merge
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.common.opendatahub import AVAILABLE, availability, derived_registry, is_anothers
from gatehouse.domain.common.readable import member, read_conditions

__all__ = ["OpenDataHubApi", "OpenDataHubRegistries"]

_log = structlog.get_logger(__name__)


class OpenDataHubApi(Protocol):
    """The objects of the kind that are Gatehouse's own. Each raises ``ReconcileError``."""

    async def registries(self) -> Sequence[Mapping[str, Any]]:
        """The objects; none where the kind is absent."""
        ...

    async def create(self, registry: Mapping[str, Any]) -> None:
        """Creates a ModelRegistry of Gatehouse, unless one of the name exists."""
        ...

    async def write_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Replaces the status of an object that is unchanged since it was read."""
        ...


class OpenDataHubRegistries:
    """Keeps the conditions of the objects as Gatehouse's ModelRegistries are."""

    def __init__(self, *, api: OpenDataHubApi, objects: Objects, clock: UtcClock) -> None:
        self._api = api
        self._objects = objects
        self._clock = clock
        self._left: frozenset[str] = frozenset()

    async def sweep(self) -> None:
        """Writes each condition that differs. After an error, the next sweep tries again."""
        try:
            bodies = await self._api.registries()
        except ReconcileError as error:
            _log.warning("OpenShift AI's ModelRegistries were not listed", reason=error.reason, message=error.message)
            return
        self._leave([body for body in bodies if is_anothers(body)])
        for body in bodies:
            if not is_anothers(body):
                await self._one(body)

    def _leave(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Says once of each object that Gatehouse leaves the object to OpenShift AI's operator."""
        names = frozenset(f"{body['metadata']['namespace']}/{body['metadata']['name']}" for body in bodies)
        for name in sorted(names - self._left):
            _log.warning("OpenShift AI's operator has this ModelRegistry, and Gatehouse leaves it alone", registry=name)
        self._left = names

    async def _one(self, body: Mapping[str, Any]) -> None:
        namespace, name = str(body["metadata"]["namespace"]), str(body["metadata"]["name"])
        generation = body["metadata"].get("generation") or 0
        registry = self._objects.find(ModelRegistry, namespace, name)
        if registry is None:
            await self._make(body)
        state = availability(body, registry)
        status = body.get("status")
        status = dict(status) if isinstance(status, Mapping) else {}
        before = read_conditions(status)
        others = [condition for condition in before if condition.type != AVAILABLE]
        ours = merge(before, [state], generation=generation, now=self._clock.now())
        conditions = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in (*others, *ours)]
        after = {**status, "observedGeneration": generation, "conditions": conditions}
        if after == status or member(body, "metadata", "deletionTimestamp"):
            return
        await self._write(body, after)

    async def _make(self, body: Mapping[str, Any]) -> None:
        """Makes the ModelRegistry of an object that stands alone. The next sweep sees what becomes of it."""
        made = derived_registry(body, now=self._clock.now())
        if made is None or member(body, "metadata", "deletionTimestamp"):
            return
        where = f"{made['metadata']['namespace']}/{made['metadata']['name']}"
        try:
            await self._api.create(made)
        except ReconcileError as error:
            _log.warning("no ModelRegistry was made", registry=where, reason=error.reason, message=error.message)
            return
        _log.info("a ModelRegistry was made of OpenShift AI's", registry=where)

    async def _write(self, body: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        try:
            await self._api.write_status(body, after)
        except ReconcileError as error:
            _log.warning(
                "the status of OpenShift AI's ModelRegistry was not written",
                registry=f"{namespace}/{name}",
                reason=error.reason,
                message=error.message,
            )
