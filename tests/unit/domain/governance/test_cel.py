from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.governance.cel import CompiledExpression, compile_expression
from gatehouse.domain.governance.expressions import ExpressionProblem

VALUES: dict[str, Any] = {
    "version": {"name": "granite-1", "numbers": list(range(1000))},
    "model": {"license": "MIT", "tags": {}},
    "artifact": {"parameters": 8_000_000_000},
    "hardware": {"verdict": "Fits"},
    "evaluations": [{"kind": "Task", "metrics": {"acc": 0.7}}],
    "stage": "staging",
}


def compiled(text: str) -> CompiledExpression:
    found = compile_expression(text)
    assert isinstance(found, CompiledExpression), found
    return found


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("artifact.parameters < 10000000000", True),
        ("stage == 'production'", False),
        ("has(model.owners)", False),
        ("evaluations.exists(e, e.kind == 'Task' && e.metrics['acc'] >= 0.5)", True),
        ("model.license.lowerAscii() in ['mit', 'apache-2.0']", True),
    ],
)
def test_a_boolean_is_taken_at_its_word(text: str, holds: bool) -> None:
    judgement = compiled(text).judge(VALUES)

    assert (judgement.holds, judgement.error) == (holds, None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("version.missing == 1", "missing"),
        ("1 / (artifact.parameters - artifact.parameters) == 1", "divi"),
        ("version.name", "type STRING"),
        ("version", "expected a boolean"),
        ("version.numbers", "expected a boolean"),
        ("model.license + 1 == 2", "overload"),
    ],
)
def test_what_is_no_boolean_does_not_hold_and_says_why(text: str, error: str) -> None:
    judgement = compiled(text).judge(VALUES)

    assert not judgement.holds
    assert judgement.error is not None
    assert error in judgement.error


def test_an_expression_that_never_ends_does_not_hold() -> None:
    numbers = "version.numbers"
    text = f"{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, true))))"

    judgement = compiled(text).judge(VALUES)

    assert not judgement.holds
    assert judgement.error == "Iteration budget exceeded"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("stage ==\n  == 'a'", 2, 3),
        ("nosuch(stage)", 1, 7),
        ("secret.value == 1", 1, 7),
        ("stage == 1", 1, 7),
        ("'a string'", 1, 1),
    ],
)
def test_what_does_not_compile_is_told_with_its_place(text: str, line: int, column: int) -> None:
    problem = compile_expression(text)

    assert isinstance(problem, ExpressionProblem)
    assert (problem.line, problem.column) == (line, column)
    assert problem.message
    assert "INVALID_ARGUMENT" not in problem.message


@given(st.text(max_size=60))
def test_no_text_raises(text: str) -> None:
    found = compile_expression(text)

    if isinstance(found, CompiledExpression):
        assert found.judge(VALUES).holds in (True, False)
