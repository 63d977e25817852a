"""Which evaluations count, and whether they are good enough."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from gatehouse.api.governance_policy import EvaluationRequirement
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.domain.access import duration
from gatehouse.domain.clocks import lies_ahead

__all__ = ["EvaluationVerdict", "counting", "expiry", "judge_evaluation", "value_of"]


_COMPARE: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class EvaluationVerdict:
    """How a requirement is met: ``met``, or missing (``value`` None), or not good enough."""

    met: bool
    found: str
    value: Decimal | None = None
    evaluation: ModelEvaluation | None = None


def why_not_counting(evaluation: ModelEvaluation, *, uid: str, digest: str | None, now: datetime) -> str | None:
    """Why an evaluation says nothing about these bytes; None when it does."""
    spec = evaluation.spec
    if spec.version_ref.uid != uid:
        return "is of a version of that name that was deleted"
    if spec.digest != digest:
        return f"is of other bytes ({spec.digest})"
    if lies_ahead(spec.evaluated_at, now=now):
        return f"is from the future ({spec.evaluated_at.isoformat()})"
    return None


def counting(
    evaluations: Iterable[ModelEvaluation], *, uid: str, digest: str | None, now: datetime
) -> tuple[ModelEvaluation, ...]:
    """The evaluations of these very bytes, newest first."""
    found = [each for each in evaluations if why_not_counting(each, uid=uid, digest=digest, now=now) is None]
    return tuple(sorted(found, key=_age_key, reverse=True))


def _age_key(evaluation: ModelEvaluation) -> tuple[datetime, str]:
    return evaluation.spec.evaluated_at, evaluation.metadata.name


def value_of(evaluation: ModelEvaluation, metric: str) -> Decimal | None:
    """The value of a metric."""
    return next((Decimal(each.value) for each in evaluation.spec.metrics if each.name == metric), None)


def _is_meant(requirement: EvaluationRequirement, evaluation: ModelEvaluation) -> bool:
    spec = evaluation.spec
    wanted = (
        (requirement.suite, spec.suite),
        (requirement.dataset, spec.dataset.name),
        (requirement.dataset_version, spec.dataset.version),
    )
    return (
        spec.kind == requirement.kind
        and all(want is None or want == has for want, has in wanted)
        and value_of(evaluation, requirement.metric) is not None
    )


def expiry(requirement: EvaluationRequirement, evaluation: ModelEvaluation) -> datetime | None:
    """When the evaluation gets too old for the requirement."""
    return None if requirement.max_age is None else evaluation.spec.evaluated_at + duration(requirement.max_age)


def judge_evaluation(
    requirement: EvaluationRequirement,
    evaluations: Sequence[ModelEvaluation],
    *,
    uid: str,
    digest: str | None,
    now: datetime,
) -> EvaluationVerdict:
    """The newest evaluation that is meant and counts decides, also when an older one was better."""
    meant = sorted((each for each in evaluations if _is_meant(requirement, each)), key=_age_key, reverse=True)
    passed_over: list[str] = []
    for evaluation in meant:
        reason = why_not_counting(evaluation, uid=uid, digest=digest, now=now)
        if reason is None:
            return _judge(requirement, evaluation, now=now)
        passed_over.append(f"{evaluation.metadata.name} {reason}")
    found = f"no {requirement.kind.lower()} evaluation with {requirement.metric}"
    return EvaluationVerdict(met=False, found=found + (f": {'; '.join(passed_over[:3])}" if passed_over else ""))


def _judge(requirement: EvaluationRequirement, evaluation: ModelEvaluation, *, now: datetime) -> EvaluationVerdict:
    name, value = evaluation.metadata.name, value_of(evaluation, requirement.metric)
    until = expiry(requirement, evaluation)
    if until is not None and until < now:
        age = (now - evaluation.spec.evaluated_at).days
        return EvaluationVerdict(
            met=False, found=f"{name} is {age} days old, older than {requirement.max_age}", evaluation=evaluation
        )
    if value is None or not _COMPARE[requirement.operator](value, Decimal(requirement.threshold)):
        return EvaluationVerdict(
            met=False, found=f"{requirement.metric} is {value} in {name}", value=value, evaluation=evaluation
        )
    return EvaluationVerdict(
        met=True, found=f"{requirement.metric} is {value} in {name}", value=value, evaluation=evaluation
    )
