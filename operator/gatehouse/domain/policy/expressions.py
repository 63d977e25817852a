"""What comes of an expression of a policy, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ExpressionProblem", "Judgement"]


@dataclass(frozen=True, slots=True)
class ExpressionProblem:
    """Why an expression does not compile. Lines and columns count from 1."""

    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an expression says. ``error`` is why it says nothing, and then it does not hold."""

    holds: bool
    error: str | None = None
