"""Deleted results. Results that no entitled person withdrew count against the version.

Otherwise a submitter could remove a bad result. The row keeps each result by name. A result that is deleted without a
withdrawal, or withdrawn by the submitter, is kept as gone, until another person withdraws a result with that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import ValidationError

from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.governance.eligibility import submitters
from gatehouse.domain.governance.evaluations import remembered
from gatehouse.domain.version.facts import Facts

__all__ = ["Gone", "gone_results", "results_gone"]

MOST_GONE: Final = 256
"""The newest beyond this number are left out: to push one out takes as many deletions, each with its audit record."""

Gone = Mapping[str, Mapping[str, Any]]
"""The kept values of each result, by its uid."""


def gone_results(facts: Facts) -> Gone:
    """The results in the row that no entitled person withdrew, by uid, with their names."""
    before = orjson.loads(facts.row.governance) if facts.row is not None and facts.row.governance else {}
    there = {evaluation.metadata.uid for evaluation in facts.evaluations}
    lost = {
        was["uid"]: {**was, "name": name}
        for name, was in before.get("evaluations", {}).items()
        if was["uid"] not in there
    }
    taken_back = {was["name"] for uid, was in lost.items() if _is_entitled(facts, uid)}
    kept = {**before.get("gone", {}), **lost}
    left = {uid: was for uid, was in kept.items() if uid not in there and was["name"] not in taken_back}
    return dict(sorted(left.items(), key=lambda item: (str(item[1].get("at", "")), item[0]))[:MOST_GONE])


def _is_entitled(facts: Facts, uid: str) -> bool:
    """Whether a person other than the submitter withdrew the result. Admission binds the name of that person."""
    withdrawal = facts.withdrawals.get(uid)
    return withdrawal is not None and withdrawal.by not in submitters(facts.version.spec)


def results_gone(gone: Gone, *, version: ModelVersion) -> tuple[ModelEvaluation, ...]:
    """The gone results as evaluations; unreadable ones are left out, as the row only remembered them."""
    results: list[ModelEvaluation] = []
    for was in gone.values():
        try:
            results.extend(remembered([(str(was["name"]), was)], version=version))
        except (ValidationError, KeyError):
            continue
    return tuple(results)
