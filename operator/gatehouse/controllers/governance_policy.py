"""GovernancePolicy: reports whether its rules compile, and counts the versions that it applies to.

When a policy changes, every version is decided again: the watch enqueues them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from gatehouse.api.governance_policy import GovernancePolicy, GovernancePolicyStatus, RuleProblem
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.wire import WireVersion
from gatehouse.controllers.declaration import SUMMARY_SETTLE, Declaration, Trigger, resource_of
from gatehouse.controllers.dependencies import Dependencies
from gatehouse.controllers.indexes import BY_POLICY, outcome_part, policy_key
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import UtcClock
from gatehouse.controllers.reconciler import Result
from gatehouse.domain.common.conditions import READY, STALLED, ConditionState, find, merge
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.version.outcome import Requeue
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.controller import Reconcile
from gatehouse.runtime.refs import ObjectKey

__all__ = ["DECLARATION", "GovernancePolicyController"]

_COMPILED: Final = "Compiled"
_REFUSED: Final = "DoesNotCompile"


class GovernancePolicyController:
    """Reconciles GovernancePolicies."""

    kind = GovernancePolicy

    def __init__(self, *, objects: Objects, clock: UtcClock) -> None:
        self._objects = objects
        self._clock = clock

    async def reconcile(self, resource: GovernancePolicy, body: Mapping[str, Any]) -> Result:  # noqa: ARG002
        """Compiles the rules, and reports each error with its line and column."""
        compiled, generation = CompiledPolicy(resource), resource.metadata.generation
        versions = self._count(policy_key(resource.metadata.name))
        # A policy that no version uses is not compiled again at each start if its status is up to date.
        reported = versions == 0 and _is_reported(resource)
        problems = resource.status.problems if reported else _problems(compiled)
        status = GovernancePolicyStatus(
            observed_generation=generation,
            last_handled_reconcile_at=resource.requested_at,
            versions=versions,
            denied=self._count(policy_key(resource.metadata.name, denies=True)),
            problems=problems,
            conditions=merge(
                resource.status.conditions,
                _states(problems, enforced=compiled.enforced),
                generation=generation,
                now=self._clock.now(),
            ),
        )
        return Result(status=status, requeue=Requeue())

    async def gone(self, namespace: str, name: str) -> None:
        """Keeps nothing of a policy; its versions are evaluated without it."""

    def outage(self, resource: GovernancePolicy) -> GovernancePolicyStatus:
        """The last known status."""
        return resource.status

    def grace(self, resource: GovernancePolicy) -> timedelta:  # noqa: ARG002
        """A policy depends on nothing outside the cluster."""
        return timedelta(0)

    def _count(self, value: str) -> int:
        return len(self._objects.reader.select(ModelVersion.info.plural, BY_POLICY, value))


def _is_reported(policy: GovernancePolicy) -> bool:
    """Whether the status holds the result of compiling this generation of the policy."""
    ready = find(policy.status.conditions, READY)
    generation = policy.metadata.generation
    return ready is not None and ready.reason in (_COMPILED, _REFUSED) and ready.observed_generation == generation


def _problems(compiled: CompiledPolicy) -> list[RuleProblem]:
    return [
        RuleProblem(rule=name, line=problem.line, column=problem.column, message=problem.message)
        for name, problem in compiled.problems.items()
    ]


def _states(problems: Sequence[RuleProblem], *, enforced: bool) -> list[ConditionState]:
    if not problems:
        return [ConditionState(READY, "True", _COMPILED, "every rule compiles")]
    message = "; ".join(
        f"rule {problem.rule}, line {problem.line}, column {problem.column}: {problem.message}" for problem in problems
    )
    effect = "denies every version that it applies to" if enforced else "would deny every version"
    return [
        ConditionState(READY, "False", _REFUSED, f"the policy {effect} until it compiles: {message}"),
        ConditionState(STALLED, "True", _REFUSED, message),
    ]


def _policies_of(version: WireVersion, _caches: Caches) -> Iterable[ObjectKey]:
    for policy in (version.get("status") or {}).get("policies") or ():
        yield ObjectKey(GovernancePolicy.info.plural, "", policy["name"])


def _build(shared: Dependencies) -> Reconcile:
    return shared.runner(GovernancePolicyController(objects=shared.objects, clock=shared.adapters.clock))


DECLARATION: Final = Declaration(
    resource=resource_of(GovernancePolicy),
    build=_build,
    triggers=(
        Trigger(kind=ModelVersion.info.plural, relevant=outcome_part, dependents=_policies_of, settle=SUMMARY_SETTLE),
    ),
)
