"""GovernancePolicy: says whether its rules compile, and counts the versions that it applies to.

A changed policy re-decides every version: the watch hands them to the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gatehouse.api.governance_policy import GovernancePolicy, GovernancePolicyStatus, RuleProblem
from gatehouse.api.model_version import ModelVersion
from gatehouse.controllers.indexes import BY_POLICY, policy_key
from gatehouse.controllers.objects import Objects
from gatehouse.controllers.ports import Clock
from gatehouse.controllers.runner import Result
from gatehouse.domain.conditions import READY, STALLED, ConditionState, merge
from gatehouse.domain.outcome import Requeue
from gatehouse.domain.policy import CompiledPolicy
from gatehouse.domain.readable import UNREADABLE

__all__ = ["GovernancePolicyController"]


class GovernancePolicyController:
    """Reconciles GovernancePolicies."""

    kind = GovernancePolicy

    def __init__(self, *, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    async def reconcile(self, resource: GovernancePolicy, body: Mapping[str, Any]) -> Result:  # noqa: ARG002
        """Compiles the rules; what does not compile is told with its line and column."""
        compiled = self._objects.compiled(resource)
        generation = resource.metadata.generation
        status = GovernancePolicyStatus(
            observed_generation=generation,
            last_handled_reconcile_at=resource.requested_at,
            versions=self._count(policy_key(resource.metadata.name)),
            denied=self._count(policy_key(resource.metadata.name, denies=True)),
            problems=[
                RuleProblem(rule=name, line=problem.line, column=problem.column, message=problem.message)
                for name, problem in compiled.problems.items()
            ],
            conditions=merge(
                resource.status.conditions, _states(compiled), generation=generation, now=self._clock.now()
            ),
        )
        return Result(status=status, requeue=Requeue())

    async def gone(self, namespace: str, name: str) -> None:
        """Nothing is kept of a policy; its versions are judged without it."""

    def outage(self, resource: GovernancePolicy) -> GovernancePolicyStatus:
        """What was established."""
        return resource.status

    def grace(self, resource: GovernancePolicy) -> timedelta:  # noqa: ARG002
        """A policy depends on nothing outside the cluster."""
        return timedelta(0)

    def _count(self, value: str) -> int:
        return len(self._objects.reader.select(ModelVersion.info.plural, BY_POLICY, value))


def _states(compiled: CompiledPolicy) -> list[ConditionState]:
    problems = compiled.problems
    if compiled.unreadable is not None:
        return [
            ConditionState(READY, "False", UNREADABLE, f"the policy denies what it applies to: {compiled.unreadable}"),
            ConditionState(STALLED, "True", UNREADABLE, compiled.unreadable),
        ]
    if not problems:
        return [ConditionState(READY, "True", "Compiled", "every rule compiles")]
    message = "; ".join(
        f"rule {name}, line {each.line}, column {each.column}: {each.message}" for name, each in problems.items()
    )
    effect = "denies every version that it applies to" if compiled.enforced else "would deny every version"
    return [
        ConditionState(READY, "False", "DoesNotCompile", f"the policy {effect} until it compiles: {message}"),
        ConditionState(STALLED, "True", "DoesNotCompile", message),
    ]
