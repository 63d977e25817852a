"""Governance policies: which apply, what they want, whether it holds, whose approval counts. All pure."""

from __future__ import annotations

from gatehouse.domain.policy.approvals import ApprovalCount, Ballot, ballots, count_approvals
from gatehouse.domain.policy.authors import author, submitters
from gatehouse.domain.policy.compiled import CompiledPolicy, applying, stand_in
from gatehouse.domain.policy.findings import Finding
from gatehouse.domain.policy.held import Held, held_under, shown_tier
from gatehouse.domain.policy.judging import Case, judge

__all__ = [
    "ApprovalCount",
    "Ballot",
    "Case",
    "CompiledPolicy",
    "Finding",
    "Held",
    "applying",
    "author",
    "ballots",
    "count_approvals",
    "held_under",
    "judge",
    "shown_tier",
    "stand_in",
    "submitters",
]
