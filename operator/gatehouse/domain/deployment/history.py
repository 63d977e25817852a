"""The history of a deployment: its revisions with their outcome, newest first, bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gatehouse.api.model_deployment import HistoryEntry, Outcome

__all__ = ["MOST_PRUNED", "entered", "kept", "last_good", "resolved"]

MOST_PRUNED: Final = 3
"""ControllerRevisions that are deleted in one step."""


def entered(history: Sequence[HistoryEntry], entry: HistoryEntry, *, replaced: Outcome) -> tuple[HistoryEntry, ...]:
    """The history with a new entry. The entry before it, if another revision, has an outcome from now on."""
    if not history:
        return (entry,)
    before, *earlier = history
    if before.revision == entry.revision:
        return (entry, *earlier)
    keeps = before.outcome in {"Failed", "RolledBack"} or (before.outcome == "Healthy" and replaced == "Replaced")
    closed = before if keeps else before.model_copy(update={"outcome": replaced})
    return (entry, closed, *earlier)


def resolved(history: Sequence[HistoryEntry], revision: str, outcome: Outcome) -> tuple[HistoryEntry, ...]:
    """The history with the outcome of the newest entry of a revision."""
    found = list(history)
    for place, entry in enumerate(found):
        if entry.revision == revision:
            found[place] = entry if entry.outcome == outcome else entry.model_copy(update={"outcome": outcome})
            break
    return tuple(found)


def last_good(history: Iterable[HistoryEntry]) -> HistoryEntry | None:
    """The newest entry of a revision that was available."""
    return next((entry for entry in history if entry.outcome == "Healthy"), None)


def kept(history: Sequence[HistoryEntry], *, limit: int) -> tuple[tuple[HistoryEntry, ...], tuple[str, ...]]:
    """The entries to keep, and the revisions that no kept entry names.

    The newest entry and the newest good one are always kept. At most ``MOST_PRUNED`` revisions go at once.
    """
    good = last_good(history)
    found = list(history)
    gone: list[str] = []
    while len(found) > limit and len(gone) < MOST_PRUNED:
        place = next((place for place in range(len(found) - 1, 0, -1) if found[place] is not good), None)
        if place is None:
            break
        dropped = found.pop(place)
        if all(entry.revision != dropped.revision for entry in found):
            gone.append(dropped.revision)
    return tuple(found), tuple(gone)
