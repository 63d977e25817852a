"""docs/stores.md names every reason that a store's refusal comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatehouse.storage.s3 import refusals
from gatehouse.storage.s3.refusals import Meaning

PAGE = (Path(__file__).parents[3] / "docs/stores.md").read_text()
MEANINGS = [meaning for meaning in vars(refusals).values() if isinstance(meaning, Meaning)]


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.reason)
def test_a_reason_is_on_the_page_and_somebody_can_mend_what_waits(meaning: Meaning) -> None:
    assert f"`{meaning.reason}`" in PAGE
    assert meaning in refusals._MEANINGS
    assert meaning.waits == bool(meaning.remedy) == bool(meaning.expected)


def test_a_code_and_a_status_stand_for_one_meaning() -> None:
    codes = [code for meaning in refusals._MEANINGS for code in meaning.codes.split()]
    statuses = [status for meaning in refusals._MEANINGS for status in meaning.statuses]
    assert sorted(codes) == sorted(refusals._BY_CODE)
    assert sorted(statuses) == sorted(refusals._BY_STATUS)
    assert len({meaning.reason for meaning in refusals._MEANINGS}) == len(refusals._MEANINGS)
