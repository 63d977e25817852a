"""The results of an expression of a policy. This module loads no CEL, which takes 8 MiB."""

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
    """Whether an expression holds. ``error`` is why it could not be evaluated; the expression then does not hold."""

    holds: bool
    error: str | None = None
