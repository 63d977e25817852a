"""CEL as policies use it: compiled when a policy is applied, evaluated with a budget, never trusted.

An expression holds only if its result is the boolean true. Google's runtime answers a missing key or a division by zero
with a value of type ERROR, which is true in Python, and ends a loop that is too long with an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from gatehouse.domain.governance.expressions import ExpressionProblem, Judgement

__all__ = ["VARIABLES", "CompiledExpression", "compile_expression"]


VARIABLES: Final = ("version", "model", "artifact", "hardware", "evaluations", "stage")
_MESSAGE_LIMIT: Final = 512
_MOST_KEPT: Final = 512
"""Compiled expressions that are kept, as a policy with only a new status has the same rules."""
_WHERE: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


@dataclass(frozen=True, slots=True)
class CompiledExpression:
    """An expression that compiled."""

    expression: cel.Expression

    def judge(self, values: Mapping[str, Any]) -> Judgement:
        """Evaluates the expression with the values, one for each name in ``VARIABLES``."""
        try:
            value = self.expression.eval(data=values)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            return Judgement(holds=False, error=_plain(str(error)))
        kind = value.type()
        if kind == cel.Type.BOOL:
            return Judgement(holds=value.value() is True)
        if kind == cel.Type.ERROR:
            return Judgement(holds=False, error=_plain(str(value.value())))
        return Judgement(holds=False, error=f"the answer is of type {kind.name()}, expected a boolean")


@lru_cache(maxsize=_MOST_KEPT)
def compile_expression(text: str) -> CompiledExpression | ExpressionProblem:
    """The compiled expression, or why it does not compile. Never raises for any text."""
    try:
        expression = _environment().compile(text)
    except RuntimeError as error:
        return _problem(str(error))
    kind = expression.return_type()
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        return ExpressionProblem(1, 1, f"the expression is of type {kind.name()}, expected a boolean")
    return CompiledExpression(expression)


@cache
def _environment() -> cel.Env:
    dynamic = cel.Type.DYN
    variables = {name: cel.Type.STRING if name == "stage" else dynamic for name in VARIABLES}
    return cel.NewEnv(variables=variables, extensions=[ext_strings.ExtStrings()])


def _problem(said: str) -> ExpressionProblem:
    found = _WHERE.search(said)
    if found is None:
        return ExpressionProblem(1, 1, _plain(said))
    return ExpressionProblem(int(found[1]), int(found[2]), _plain(found[3]))


def _plain(said: str) -> str:
    """The first line without the runtime's own status words."""
    first = said.strip().splitlines()[0] if said.strip() else "no reason given"
    return re.sub(r"^[A-Z_]+: ", "", re.sub(r" \[[A-Z_]+\]$", "", first))[:_MESSAGE_LIMIT]
