"""docs/stores.md names every reason that a store's refusal comes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatehouse.objectstore import refusals
from gatehouse.objectstore.refusals import Meaning

PAGE = (Path(__file__).parents[3] / "docs/stores.md").read_text()
MEANINGS = [meaning for meaning in vars(refusals).values() if isinstance(meaning, Meaning)]


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.reason)
def test_a_reason_is_on_the_page_and_in_the_docstring(meaning: Meaning) -> None:
    assert f"`{meaning.reason}`" in PAGE
    kind = "waits" if meaning.waits else "transient"
    assert refusals.__doc__ is not None
    rows = {line.split()[0]: line.split()[1] for line in refusals.__doc__.splitlines() if len(line.split()) > 2}
    assert rows[meaning.reason] == kind
