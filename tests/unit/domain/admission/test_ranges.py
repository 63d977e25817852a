"""Ranges cover everything, hold no more than the limit, and stay where they are while little changes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.admission.objects import WHOLE, Range, covers, cut

LIMIT = 100
TEXT = st.text(alphabet="abc", max_size=4)
SIZES = st.dictionaries(TEXT, st.integers(1, 40), max_size=40)


def bounds(ranges: tuple[Range, ...]) -> set[str]:
    return {bound for each in ranges for bound in each}


def held(sizes: dict[str, int], range_: Range) -> int:
    return sum(size for text, size in sizes.items() if range_.has(text))


@pytest.mark.parametrize(
    ("ranges", "all_of_them"),
    [
        ([], False),
        ([WHOLE], True),
        ([Range("", "m")], False),
        ([Range("m", "")], False),
        ([Range("", "m"), Range("m", "")], True),
        ([Range("", "m"), Range("n", "")], False),
        ([Range("", "p"), Range("m", "")], True),
        ([Range("", "z"), Range("b", "c"), Range("z", "")], True),
        ([Range("b", ""), WHOLE], True),
    ],
)
def test_ranges_cover_everything_or_leave_a_gap(ranges: list[Range], all_of_them: bool) -> None:
    assert covers(ranges) is all_of_them


@given(st.lists(st.tuples(TEXT, TEXT).map(lambda pair: Range(*pair)), max_size=6), TEXT)
def test_ranges_that_cover_have_every_text(ranges: list[Range], text: str) -> None:
    if covers(ranges):
        assert any(each.has(text) for each in ranges)


@given(SIZES, st.sets(TEXT, max_size=6), TEXT)
def test_each_text_is_in_one_range_and_none_holds_too_much(sizes: dict[str, int], known: set[str], text: str) -> None:
    ranges = cut(sizes, bounds=known, limit=LIMIT)

    assert covers(ranges)
    assert sum(each.has(text) for each in ranges) == 1
    assert all(held(sizes, each) <= LIMIT for each in ranges)


@given(SIZES, st.sets(TEXT, max_size=6))
def test_what_is_cut_stays_as_it_is(sizes: dict[str, int], known: set[str]) -> None:
    ranges = cut(sizes, bounds=known, limit=LIMIT)

    assert cut(sizes, bounds=bounds(ranges), limit=LIMIT) == ranges


@given(SIZES, st.sets(TEXT, max_size=6))
def test_there_are_no_more_ranges_than_are_of_use(sizes: dict[str, int], known: set[str]) -> None:
    ranges = cut(sizes, bounds=known, limit=LIMIT)

    neighbours = pairwise(ranges)
    assert all(held(sizes, left) + held(sizes, right) > LIMIT / 2 for left, right in neighbours)


def test_one_more_and_one_less_at_the_limit_cut_once_and_join_nothing() -> None:
    sizes = {f"{number:02}": 10 for number in range(10)}
    assert cut(sizes, bounds=(), limit=LIMIT) == (WHOLE,)

    ranges = cut({**sizes, "10": 10}, bounds=(), limit=LIMIT)
    assert ranges == (Range("", "06"), Range("06", ""))
    assert cut(sizes, bounds=bounds(ranges), limit=LIMIT) == ranges
    fewer = dict(list(sizes.items())[:6])
    assert cut(fewer, bounds=bounds(ranges), limit=LIMIT) == ranges
    fewer.popitem()
    assert cut(fewer, bounds=bounds(ranges), limit=LIMIT) == (WHOLE,)


def test_an_entry_that_is_too_large_has_a_range_of_its_own() -> None:
    assert cut({"a": 10, "b": 1000, "c": 100}, bounds=(), limit=LIMIT)[1:] == (Range("b", "c"), Range("c", ""))


def test_only_the_range_that_grew_is_cut() -> None:
    sizes = {f"{number:02}": 10 for number in range(20)}
    before = cut(sizes, bounds=(), limit=LIMIT)
    grown = {**sizes, **{f"00{number}": 10 for number in range(9)}}

    after = cut(grown, bounds=bounds(before), limit=LIMIT)

    assert len(after) > len(before)
    assert set(before[1:]) < set(after)
