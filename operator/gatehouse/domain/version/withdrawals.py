"""Results that were there and are not any more. Those that nobody entitled took back stand against the version.

Whoever submitted a version would otherwise take a bad result away. The row remembers each result by name; one that goes
without a word, or by a word of the submitter, is kept as gone, until somebody else takes back a result of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import ValidationError

from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.governance.approvals import submitters
from gatehouse.domain.governance.evaluations import remembered
from gatehouse.domain.version.facts import Facts

__all__ = ["Gone", "gone_results", "results_gone"]

MOST_GONE: Final = 256
"""The newest by name are left out: to push one out takes that many deletions, each with its record in the audit."""

Gone = Mapping[str, Mapping[str, Any]]
"""What is remembered of each result, by its uid."""


def gone_results(facts: Facts) -> Gone:
    """By uid, with its name: what the row remembers of results that nobody entitled took back."""
    before = orjson.loads(facts.row.governance) if facts.row is not None and facts.row.governance else {}
    there = {each.metadata.uid for each in facts.evaluations}
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
    """Whether somebody other than the submitter said that the result is taken back. Admission binds who says so."""
    withdrawal = facts.withdrawals.get(uid)
    return withdrawal is not None and withdrawal.by not in submitters(facts.version.spec)


def results_gone(gone: Gone, *, version: ModelVersion) -> tuple[ModelEvaluation, ...]:
    """The same as evaluations; one that does not read any more is left out, as it was only a memory."""
    found: list[ModelEvaluation] = []
    for was in gone.values():
        try:
            found.extend(remembered([(str(was["name"]), was)], version=version))
        except (ValidationError, KeyError):
            continue
    return tuple(found)
