"""Rules are compiled when something is judged by them, and told once a generation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from gatehouse.api import GovernancePolicy
from gatehouse.api.governance_policy import GovernancePolicyStatus
from gatehouse.controllers.governance_policy import GovernancePolicyController
from gatehouse.controllers.lookup import Objects
from gatehouse.domain.governance import cel
from gatehouse.domain.governance.policy import CompiledPolicy

GOOD, BAD = "version.name != ''", "version.name !="


class Reader:
    """A cache in which the policy applies to so many versions."""

    def __init__(self, versions: int) -> None:
        self._versions = versions

    def select(self, *_: str) -> list[str]:
        return ["version"] * self._versions


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was compiled, in its order."""
    texts: list[str] = []
    compile_expression = cel.compile_expression

    def counted(text: str) -> Any:
        texts.append(text)
        return compile_expression(text)

    monkeypatch.setattr(cel, "compile_expression", counted)
    return texts


def policy(expression: str, *, generation: int = 1, status: GovernancePolicyStatus | None = None) -> GovernancePolicy:
    rule = {"name": "tiny", "expression": expression, "message": "no"}
    made = GovernancePolicy.model_validate(
        {"metadata": {"name": "strict", "generation": generation}, "spec": {"expressions": [rule]}}
    )
    return made if status is None else made.model_copy(update={"status": status})


def reconcile(resource: GovernancePolicy, *, versions: int = 0) -> GovernancePolicyStatus:
    reader: Any = Reader(versions)
    controller = GovernancePolicyController(objects=Objects(reader), clock=Clock())
    status = asyncio.run(controller.reconcile(resource, {})).status
    assert isinstance(status, GovernancePolicyStatus)
    return status


@pytest.mark.parametrize("expression", [GOOD, BAD])
def test_a_start_compiles_no_policy_that_judges_nothing(compiled: list[str], expression: str) -> None:
    told = reconcile(policy(expression))
    assert compiled == [expression]
    assert reconcile(policy(expression, status=told)) == told
    assert compiled == [expression]


@pytest.mark.parametrize("expression", [GOOD, BAD])
def test_a_policy_is_compiled_that_is_new_changed_or_judges_something(compiled: list[str], expression: str) -> None:
    other = reconcile(policy(BAD if expression == GOOD else GOOD))
    new = reconcile(policy(expression))
    compiled.clear()
    changed = reconcile(policy(expression, generation=2, status=other))
    assert (changed.problems, [each.reason for each in changed.conditions]) == (
        new.problems,
        [each.reason for each in new.conditions],
    )
    judging = reconcile(policy(expression, status=other), versions=1)
    assert (judging.versions, judging.problems) == (1, new.problems)
    assert compiled == [expression, expression]


def test_what_was_told_of_a_policy_by_anything_but_its_compilation_is_not_taken_for_it(compiled: list[str]) -> None:
    told = reconcile(policy(GOOD))
    fault = told.conditions[0].model_copy(update={"status": "False", "reason": "ReconcileFailed"})
    compiled.clear()
    assert reconcile(policy(GOOD, status=told.model_copy(update={"conditions": [fault]}))) == told
    assert reconcile(policy(GOOD, status=told.model_copy(update={"conditions": []}))).conditions == told.conditions
    assert compiled == [GOOD, GOOD]


def test_an_expression_is_compiled_once_however_often_its_policy_is_read_anew() -> None:
    first, second = (CompiledPolicy(policy(GOOD, generation=generation)) for generation in (1, 2))
    assert first.expressions["tiny"] is second.expressions["tiny"]
