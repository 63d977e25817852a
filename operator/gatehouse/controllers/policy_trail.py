"""Records in the audit trail of each registry which GovernancePolicies were created, changed and deleted.

The sweep compares the current policies with the last records, which the registry's database keeps. Each change is thus
recorded once, whenever it is seen, and a new process records nothing. Two edits within a moment make one record; the
generations before and after show that two edits happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import PolicyWriters, UtcClock
from gatehouse.controllers.registry_sweep import RegistrySweep, RegistryTroubles
from gatehouse.domain.audit.policies import PolicyText, policy_text
from gatehouse.domain.common.errors import ReconcileError, Stalled

__all__ = ["PolicyTrail"]

POLICIES: Final = GovernancePolicy.info.plural
WORK: Final = "policies"
COMPARED_AGAIN: Final = timedelta(minutes=1)
"""How often unchanged policies are compared: a database may be restored to an older state at any time."""
LOOK_AGAIN: Final = timedelta(seconds=10)
"""The wait after an outage."""

Policies = Mapping[str, PolicyText]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The policies that a registry recorded or could not record, and when to compare again without a change."""

    policies: Policies
    due: datetime


class PolicyTrail:
    """The operator calls :meth:`sweep` at short intervals; most calls read nothing."""

    def __init__(
        self,
        *,
        objects: Objects,
        connections: Connections,
        writers: PolicyWriters,
        clock: UtcClock,
        troubles: RegistryTroubles,
    ) -> None:
        self._objects = objects
        self._each = RegistrySweep(
            work=WORK,
            reason="PolicyTrailFailed",
            doing="changes of policies are not on record: telling the audit trail of them",
            objects=objects,
            troubles=troubles,
        )
        self._connections = connections
        self._writers = writers
        self._clock = clock
        self._texts: dict[str, tuple[str | None, PolicyText]] = {}
        self._unread: dict[str, str | None] = {}
        self._seen: dict[str, _Seen] = {}

    async def sweep(self) -> None:
        """Checks each registry that has not recorded the current policies yet."""
        policies = self._policies()

        async def check(registry: ModelRegistry, _body: Mapping[str, Any]) -> bool:
            return await self._look(registry, policies)

        await self._each.run(check)

    async def _look(self, registry: ModelRegistry, policies: Policies) -> bool:
        name, now = f"{registry.metadata.namespace}/{registry.metadata.name}", self._clock.now()
        seen = self._seen.get(name)
        # A due time further ahead was set before the machine's clock was set back.
        put_off = seen is not None and now < seen.due <= now + COMPARED_AGAIN
        if seen is not None and put_off and seen.policies == policies:
            return False
        self._seen[name] = _Seen(policies, now + LOOK_AGAIN)
        self._seen[name] = _Seen(policies, now + await self._tell(name, registry, policies, now))
        return True

    async def _tell(self, name: str, registry: ModelRegistry, policies: Policies, now: datetime) -> timedelta:
        """Records the changes; returns when to compare again."""
        try:
            trail = (await self._connections.rows(registry)).audit
            recorded = await trail.policies()
            # The last record of an unreadable policy stands: without it, the trail would record a deletion.
            unread = {name: recorded[name] for name in self._unread if name in recorded}
            if recorded != {**unread, **policies}:
                writers = await self._writers.writers()
                texts = [replace(policy, via=writers.get(policy.name)) for policy in policies.values()]
                texts += unread.values()
                await trail.record_policies(texts, at=now)
        except Stalled:
            raise
        except ReconcileError as error:
            _log.warning("policies not recorded yet", registry=name, reason=error.reason, message=error.message)
            return LOOK_AGAIN
        return COMPARED_AGAIN

    def _policies(self) -> Policies:
        """The policies in effect, each read once for each resourceVersion."""
        before, self._texts = self._texts, {}
        unread: dict[str, str | None] = {}
        for where in self._objects.reader.names(POLICIES):
            revision = self._objects.reader.revision(POLICIES, where.namespace, where.name)
            known = before.get(where.name)
            if known is not None and known[0] == revision:
                self._texts[where.name] = known
                continue
            body = self._objects.reader.get(POLICIES, where.namespace, where.name)
            if body is None or body["metadata"].get("deletionTimestamp"):
                continue
            try:
                self._texts[where.name] = (revision, policy_text(body))
            except Exception as error:  # noqa: BLE001 - logged once per resourceVersion; other policies are recorded
                unread[where.name] = revision
                if self._unread.get(where.name) != revision:
                    _log.error("policy not recorded", policy=where.name, exc_info=error)
        self._unread = unread
        return {name: text for name, (_, text) in self._texts.items()}
