"""Whole units since 1970, against the arithmetic of the standard library."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.common.epoch import EPOCH, microseconds, milliseconds


@given(st.integers(-(2**40), 2**40).map(lambda number: EPOCH + timedelta(milliseconds=number, microseconds=7)))
def test_units_are_exact(moment: datetime) -> None:
    assert microseconds(moment) == (moment - EPOCH) // timedelta(microseconds=1)
    assert milliseconds(moment) == (moment - EPOCH) // timedelta(milliseconds=1)
