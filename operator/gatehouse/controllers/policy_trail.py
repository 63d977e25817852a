"""Tells the audit trail of each registry which GovernancePolicies came, changed and went.

Compared are the policies as they are with what a trail last said of them, which its database keeps: so a change is
recorded once, whenever it is seen, and a process that starts anew records nothing. Two edits within a moment are one
record; the generations before and after tell that there were two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.connections import Connections
from gatehouse.controllers.objects import Objects
from gatehouse.controllers.ports import Clock, PolicyWriters
from gatehouse.domain.audit.policies import PolicyText, policy_text
from gatehouse.domain.errors import ReconcileError

__all__ = ["PolicyTrail"]

POLICIES: Final = GovernancePolicy.info.plural
REGISTRIES: Final = ModelRegistry.info.plural
COMPARED_AGAIN: Final = timedelta(minutes=1)
"""A database may be set back at any time."""
LOOK_AGAIN: Final = timedelta(seconds=10)
"""After an outage."""

Policies = Mapping[str, PolicyText]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a registry was told, or could not be told, and when to ask it again though nothing changed."""

    policies: Policies
    due: datetime


class PolicyTrail:
    """:meth:`sweep` is called every moment, and mostly asks nobody anything."""

    def __init__(self, *, objects: Objects, connections: Connections, writers: PolicyWriters, clock: Clock) -> None:
        self._objects = objects
        self._connections = connections
        self._writers = writers
        self._clock = clock
        self._texts: dict[str, tuple[str | None, PolicyText]] = {}
        self._seen: dict[str, _Seen] = {}

    async def sweep(self) -> None:
        """Looks at each registry that was not told yet of the policies as they are.

        Raises what nobody foresaw, once every registry was looked at.
        """
        policies = self._policies()
        failures: list[Exception] = []
        for where in self._objects.reader.names(REGISTRIES):
            registry = self._objects.get(ModelRegistry, where.namespace, where.name)
            if registry is None or registry.metadata.deletion_timestamp is not None:
                continue
            name, now = f"{where.namespace}/{where.name}", self._clock.now()
            seen = self._seen.get(name)
            # What is due later than that was put off before the machine's clock was set back.
            put_off = seen is not None and now < seen.due <= now + COMPARED_AGAIN
            if seen is not None and put_off and seen.policies == policies:
                continue
            try:
                again = await self._tell(name, registry, policies, now)
            except Exception as error:  # noqa: BLE001 - told, and raised once the others were looked at
                failures.append(error)
                _log.error("policies not recorded", registry=name, error=type(error).__name__)
                again = LOOK_AGAIN
            self._seen[name] = _Seen(policies, now + again)
        if failures:
            raise ExceptionGroup("audit trails that could not be told of policies", failures)

    async def _tell(self, name: str, registry: ModelRegistry, policies: Policies, now: datetime) -> timedelta:
        """When to compare again."""
        try:
            trail = (await self._connections.rows(registry)).audit
            if await trail.policies() != policies:
                writers = await self._writers.writers()
                told = [replace(each, via=writers.get(each.name)) for each in policies.values()]
                await trail.record_policies(told, at=now)
        except ReconcileError as error:
            _log.warning("policies not recorded yet", registry=name, reason=error.reason, message=error.message)
            return LOOK_AGAIN
        return COMPARED_AGAIN

    def _policies(self) -> Policies:
        """The policies that are judged by, each read once a resourceVersion."""
        before, self._texts = self._texts, {}
        for where in self._objects.reader.names(POLICIES):
            revision = self._objects.reader.revision(POLICIES, where.namespace, where.name)
            known = before.get(where.name)
            if known is not None and known[0] == revision:
                self._texts[where.name] = known
                continue
            body = self._objects.reader.get(POLICIES, where.namespace, where.name)
            if body is not None and not body["metadata"].get("deletionTimestamp"):
                self._texts[where.name] = (revision, policy_text(body))
        return {name: text for name, (_, text) in self._texts.items()}
