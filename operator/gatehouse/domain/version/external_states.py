"""A version's state in the words of other registries, for tools that use them: one table each; nothing is stored.

Both are functions of ``phase``, ``clearedFor`` and ``deployedTo``; the gates say what those words cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gatehouse.api.model_version import ModelVersionStatus, Phase

__all__ = ["Projection", "ReviewWord", "lifecycle_words", "project"]

ReviewWord = Literal["PENDING_REVIEW", "APPROVED", "REJECTED", "DEPLOYED", "ARCHIVED"]

_SHORT: Final[Mapping[str, str]] = {"production": "prod"}
"""Stages with a short form in these words, as in approved_prod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """``review`` is one of five words; ``lifecycle`` one of :func:`lifecycle_words`."""

    review: ReviewWord
    lifecycle: str

    def wire(self) -> dict[str, str]:
        """The output of ``-o json``."""
        return {"review": self.review, "lifecycle": self.lifecycle}


_TABLE: Final[Mapping[Phase, tuple[ReviewWord, str]]] = {
    "Archived": ("ARCHIVED", "retired"),
    "Deprecated": ("ARCHIVED", "deprecated"),
    "Draft": ("PENDING_REVIEW", "draft"),
    "Waiting": ("PENDING_REVIEW", "submitted"),
    "Artifact Missing": ("PENDING_REVIEW", "submitted"),
    "Artifact Invalid": ("REJECTED", "changes_requested"),
    "Artifact Changed": ("REJECTED", "changes_requested"),
    "Verifying": ("PENDING_REVIEW", "submitted"),
    "Does Not Fit": ("REJECTED", "changes_requested"),
    "Policy Denied": ("REJECTED", "changes_requested"),
    "Rejected": ("REJECTED", "changes_requested"),
    "Changes Requested": ("PENDING_REVIEW", "changes_requested"),
    "Pending Review": ("PENDING_REVIEW", "submitted"),
}
"""Every phase but Ready to Deploy. A version that is not cleared is neither APPROVED nor DEPLOYED, even if it runs."""


def project(status: ModelVersionStatus, *, stages: Sequence[str] = ()) -> Projection:
    """The words for a status. ``stages`` are the registry's in order; if unknown, those that it is cleared for.

    A version that was never reconciled is PENDING_REVIEW and submitted.
    """
    cleared = [stage for stage in (stages or status.cleared_for) if stage in status.cleared_for]
    if status.phase == "Ready to Deploy" and cleared:
        furthest, runs = cleared[-1], set(status.deployed_to)
        return Projection(
            review="DEPLOYED" if runs & set(cleared) else "APPROVED",
            lifecycle=furthest if furthest in runs else f"approved_{_SHORT.get(furthest, furthest)}",
        )
    word, lived = _TABLE.get(status.phase or "Pending Review", ("PENDING_REVIEW", "submitted"))
    return Projection(review=word, lifecycle=lived)


def lifecycle_words(stages: Sequence[str]) -> tuple[str, ...]:
    """Every value of ``lifecycle``, in the order of a version's life."""
    reached = (word for stage in stages for word in (f"approved_{_SHORT.get(stage, stage)}", stage))
    return ("draft", "submitted", "changes_requested", *reached, "deprecated", "retired")
