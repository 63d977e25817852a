"""The history is bounded, and keeps what is needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.model_deployment import HistoryEntry, Outcome
from gatehouse.domain.deployment.history import MOST_PRUNED, entered, kept, last_good, resolved
from unit.domain.deployment.deployments import digest


def entry(revision: str, outcome: Outcome = "Healthy") -> HistoryEntry:
    return HistoryEntry(
        revision=revision,
        version="one",
        digest=digest("1"),
        served_digest=digest("1"),
        template_digest=digest("1"),
        at="2026-11-21T12:00:00Z",
        outcome=outcome,
    )


OUTCOMES: list[Outcome] = ["Progressing", "Healthy", "Failed", "RolledBack", "Replaced"]
HISTORIES = st.lists(st.builds(entry, st.sampled_from("abcde"), st.sampled_from(OUTCOMES)), max_size=12)


def test_a_good_revision_stays_good_when_a_promotion_replaces_it_and_not_when_a_rollback_does() -> None:
    assert [each.outcome for each in entered([entry("a")], entry("b"), replaced="Replaced")] == ["Healthy", "Healthy"]
    assert entered([entry("a")], entry("b"), replaced="RolledBack")[1].outcome == "RolledBack"
    assert entered([entry("a", "Progressing")], entry("b"), replaced="Replaced")[1].outcome == "Replaced"
    assert entered([entry("a", "Failed")], entry("b"), replaced="RolledBack")[1].outcome == "Failed"


def test_a_revision_that_is_applied_again_has_one_entry() -> None:
    assert entered([entry("a", "Failed")], entry("a", "Progressing"), replaced="Replaced") == (
        entry("a", "Progressing"),
    )


def test_only_the_newest_entry_of_a_revision_has_a_new_outcome() -> None:
    made = resolved([entry("b"), entry("a", "Progressing"), entry("a", "Failed")], "a", "Healthy")
    assert [each.outcome for each in made] == ["Healthy", "Healthy", "Failed"]


@given(HISTORIES, st.integers(2, 8))
def test_what_is_kept_is_bounded_in_its_order_with_the_newest_and_the_last_good(
    history: list[HistoryEntry], limit: int
) -> None:
    left, gone = kept(history, limit=limit)
    assert len(gone) <= MOST_PRUNED
    assert left == tuple(history) or len(left) >= limit
    assert last_good(left) == last_good(history)
    assert left[:1] == tuple(history[:1])
    assert not {each.revision for each in left} & set(gone)
    again = left
    for _ in range(20):
        again, _ = kept(again, limit=limit)
    assert len(again) <= limit
