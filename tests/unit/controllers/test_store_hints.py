"""Which versions hints make due, and that a flood of them costs few looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.store_hints import BURST, LONGEST_WAIT, QUIET, SPACING, StoreHints

VERSION, OTHER = ObjectName("team", "granite-1"), ObjectName("team", "granite-2")
NOW = datetime(2026, 12, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=50)


def test_a_version_is_looked_at_once_its_folder_is_quiet() -> None:
    hints = StoreHints()
    hints.note(VERSION, now=NOW)
    hints.note(VERSION, now=NOW + QUIET / 2)
    assert hints.ripen(now=NOW + QUIET) == []
    assert not hints.take(VERSION)
    assert hints.ripen(now=NOW + QUIET * 1.5) == [VERSION]
    assert hints.ripen(now=NOW + QUIET * 3) == []
    assert [hints.take(VERSION), hints.take(VERSION), hints.take(OTHER)] == [True, False, False]


def test_a_long_upload_is_looked_at_now_and_then() -> None:
    hints, now, looks = StoreHints(), NOW, 0
    while now < NOW + timedelta(seconds=60):
        hints.note(VERSION, now=now)
        looks += len(hints.ripen(now=now))
        now += STEP
    assert 60 / SPACING.total_seconds() <= looks <= BURST + 60 / SPACING.total_seconds()


def test_a_clock_that_is_set_back_delays_nothing() -> None:
    hints = StoreHints()
    for _ in range(BURST):
        hints.note(VERSION, now=NOW)
        hints.ripen(now=NOW + QUIET)
    hints.note(VERSION, now=NOW)
    assert hints.ripen(now=NOW - timedelta(days=1)) == [VERSION]


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=300))
def test_no_flood_costs_more_than_a_burst_and_one_look_in_a_spacing(steps: list[tuple[int, bool]]) -> None:
    hints, now, looks, noted = StoreHints(), NOW, 0, False
    for milliseconds, noting in steps:
        now += timedelta(milliseconds=milliseconds)
        if noting:
            hints.note(VERSION, now=now)
            noted = True
        looks += len(hints.ripen(now=now))
    assert looks <= BURST + 1 + (now - NOW) / SPACING
    # Whatever came before, the last hint is looked at.
    looks += len(hints.ripen(now=now + SPACING * BURST + LONGEST_WAIT))
    assert hints.take(VERSION) == noted
    assert hints.ripen(now=now + SPACING * BURST * 3) == []
