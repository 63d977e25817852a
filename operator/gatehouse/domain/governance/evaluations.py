"""Which evaluations count, and whether they are good enough.

A good result counts when it is about these bytes, not from the submitter, and not too old. Of several results the worst
decides. A bad result stands until a person other than the submitter withdraws it; that includes results from the
submitter, or from before the version was created again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from gatehouse.api.governance_policy import EvaluationRequirement, Evaluators, SubmitterEvaluations
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common.clocks import lies_ahead
from gatehouse.domain.common.locations import duration
from gatehouse.domain.governance.eligibility import author, submitters

__all__ = ["EvaluationVerdict", "Results", "counting", "expiry", "judge_evaluation", "value_of", "why_not_counting"]


_COMPARE: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The evaluations that name a version, and the facts that decide which of them count.

    ``gone`` are deleted results that no entitled person withdrew: they count against the version, never for it.
    """

    version: ModelVersion
    digest: str | None
    now: datetime
    evaluations: Sequence[ModelEvaluation]
    gone: Sequence[ModelEvaluation] = ()


@dataclass(frozen=True, slots=True)
class EvaluationVerdict:
    """How a requirement is met: ``met``, missing (``value`` None), or not good enough."""

    met: bool
    found: str
    value: Decimal | None = None
    evaluation: ModelEvaluation | None = None
    gone: bool = False
    """Whether the deciding evaluation was deleted without being withdrawn by an entitled person."""


def why_not_counting(evaluation: ModelEvaluation, *, uid: str, digest: str | None, now: datetime) -> str | None:
    """Why an evaluation does not apply to these bytes; None when it does."""
    spec = evaluation.spec
    if spec.version_ref.uid != uid:
        return "names a deleted version with the same name"
    return _why_no_result(evaluation, digest=digest, now=now)


def _why_no_result(evaluation: ModelEvaluation, *, digest: str | None, now: datetime) -> str | None:
    spec = evaluation.spec
    if spec.digest != digest:
        return f"is about other bytes ({spec.digest})"
    if lies_ahead(spec.evaluated_at, now=now):
        return f"has a time in the future ({spec.evaluated_at.isoformat()})"
    return None


def why_not_independent(
    evaluation: ModelEvaluation, version: ModelVersion, evaluators: Evaluators, own: SubmitterEvaluations
) -> str | None:
    """Why a good result from that evaluator does not count; None when it does."""
    spec, who = evaluation.spec, evaluation.spec.evaluator
    if who in submitters(version.spec):
        return None if own == "Allow" else "was made by the submitter"
    if who in {*evaluators.users, *evaluators.service_accounts}:
        return None
    if not evaluators.is_anybody and not set(spec.groups) & set(evaluators.groups):
        return f"was made by {who}, whom the policy does not name"
    if author(version.spec) is None:
        return "may have been made by the submitter, because spec.submittedBy names no person"
    return None


def counting(
    results: Results, *, evaluators: Evaluators | None = None, own: SubmitterEvaluations = "Deny"
) -> tuple[ModelEvaluation, ...]:
    """The evaluations of exactly these bytes by an independent evaluator, newest first."""
    named, version = evaluators or Evaluators(), results.version
    counted = [
        evaluation
        for evaluation in results.evaluations
        if why_not_counting(evaluation, uid=version.metadata.uid, digest=results.digest, now=results.now) is None
        and why_not_independent(evaluation, version, named, own) is None
    ]
    return tuple(sorted(counted, key=_age_key, reverse=True))


def _age_key(evaluation: ModelEvaluation) -> tuple[datetime, str]:
    return evaluation.spec.evaluated_at, evaluation.metadata.name


def value_of(evaluation: ModelEvaluation, metric: str) -> Decimal | None:
    """The value of a metric."""
    return next((Decimal(measured.value) for measured in evaluation.spec.metrics if measured.name == metric), None)


def _is_meant(requirement: EvaluationRequirement, evaluation: ModelEvaluation) -> bool:
    spec = evaluation.spec
    asked = (
        (requirement.suite, spec.suite),
        (requirement.dataset, spec.dataset.name),
        (requirement.dataset_version, spec.dataset.version),
    )
    return (
        spec.kind == requirement.kind
        and all(value is None or value == has for value, has in asked)
        and value_of(evaluation, requirement.metric) is not None
    )


def expiry(requirement: EvaluationRequirement, evaluation: ModelEvaluation) -> datetime | None:
    """When the evaluation gets too old for the requirement."""
    return None if requirement.max_age is None else evaluation.spec.evaluated_at + duration(requirement.max_age)


def judge_evaluation(
    requirement: EvaluationRequirement, results: Results, *, own: SubmitterEvaluations = "Deny"
) -> EvaluationVerdict:
    """The worst result decides while it is not good enough; otherwise the newest result that counts."""
    meant = [evaluation for evaluation in results.evaluations if _is_meant(requirement, evaluation)]
    gone = [evaluation for evaluation in results.gone if _is_meant(requirement, evaluation)]
    bad = [
        evaluation
        for evaluation in (*meant, *gone)
        if _is_against(evaluation, requirement, results) and not _is_good(requirement, evaluation)
    ]
    if bad:
        worst = max(bad, key=lambda evaluation: (_shortfall(requirement, evaluation), _age_key(evaluation)))
        return _failed(requirement, worst, gone=worst in gone)
    passed_over: list[str] = []
    for evaluation in sorted(meant, key=_age_key, reverse=True):
        reason = _why_passed_over(requirement, evaluation, results, own)
        if reason is None:
            return _met(requirement, evaluation)
        passed_over.append(f"{evaluation.metadata.name} {reason}")
    missing = f"no {requirement.kind.lower()} evaluation with {requirement.metric}"
    return EvaluationVerdict(met=False, found=missing + (f": {'; '.join(passed_over[:3])}" if passed_over else ""))


def _is_against(evaluation: ModelEvaluation, requirement: EvaluationRequirement, results: Results) -> bool:
    """Whether a bad result counts against these bytes, even if it names an earlier version with the same name."""
    if _why_no_result(evaluation, digest=results.digest, now=results.now) is not None:
        return False
    spec, named = evaluation.spec, requirement.evaluators
    return (
        named.is_anybody
        or spec.evaluator in {*named.users, *named.service_accounts, *submitters(results.version.spec)}
        or bool(set(spec.groups) & set(named.groups))
    )


def _is_good(requirement: EvaluationRequirement, evaluation: ModelEvaluation) -> bool:
    value = value_of(evaluation, requirement.metric)
    return value is not None and _COMPARE[requirement.operator](value, Decimal(requirement.threshold))


def _shortfall(requirement: EvaluationRequirement, evaluation: ModelEvaluation) -> Decimal:
    """How far a result is from the threshold."""
    return abs((value_of(evaluation, requirement.metric) or Decimal(0)) - Decimal(requirement.threshold))


def _why_passed_over(
    requirement: EvaluationRequirement,
    evaluation: ModelEvaluation,
    results: Results,
    own: SubmitterEvaluations,
) -> str | None:
    version = results.version
    reason = why_not_counting(evaluation, uid=version.metadata.uid, digest=results.digest, now=results.now)
    reason = reason or why_not_independent(evaluation, version, requirement.evaluators, own)
    until = expiry(requirement, evaluation)
    if reason is None and until is not None and until < results.now:
        age = (results.now - evaluation.spec.evaluated_at).days
        return f"is {age} days old, older than {requirement.max_age}"
    return reason


def _met(requirement: EvaluationRequirement, evaluation: ModelEvaluation) -> EvaluationVerdict:
    value = value_of(evaluation, requirement.metric)
    measured = f"{requirement.metric} is {value} in {evaluation.metadata.name}"
    return EvaluationVerdict(met=True, found=measured, value=value, evaluation=evaluation)


def _failed(requirement: EvaluationRequirement, evaluation: ModelEvaluation, *, gone: bool) -> EvaluationVerdict:
    value = value_of(evaluation, requirement.metric)
    measured = f"{requirement.metric} is {value} in {evaluation.metadata.name}"
    if gone:
        measured += ", which was deleted without a withdrawal by another person than the submitter"
    return EvaluationVerdict(met=False, found=measured, value=value, evaluation=evaluation, gone=gone)


def remembered(kept: Iterable[tuple[str, Mapping[str, object]]], *, version: ModelVersion) -> Iterable[ModelEvaluation]:
    """Evaluations from the records of a row, by name."""
    for name, was in kept:
        yield ModelEvaluation.model_validate(
            {
                "metadata": {"name": name, "namespace": version.metadata.namespace, "uid": was["uid"]},
                "spec": {
                    "versionRef": {"name": version.metadata.name, "uid": version.metadata.uid},
                    "digest": was["digest"],
                    "kind": was["kind"],
                    "suite": was["suite"],
                    "dataset": {"name": was["dataset"], "version": was.get("datasetVersion")},
                    "evaluator": was["evaluator"],
                    "groups": was.get("groups", []),
                    "evaluatedAt": was["at"],
                    "metrics": [{"name": name, "value": value} for name, value in _metrics(was).items()],
                },
            }
        )


def _metrics(was: Mapping[str, object]) -> Mapping[str, object]:
    metrics = was.get("metrics")
    return metrics if isinstance(metrics, Mapping) else {}
