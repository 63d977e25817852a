"""Imports that the garbage collector does not look through."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from gatehouse.cli.startup import for_good


@pytest.fixture(autouse=True)
def _thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_made_within_is_never_looked_at_again() -> None:
    before = gc.get_freeze_count()
    with for_good():
        assert not gc.isenabled()
        made: list[object] = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), for_good():
        raise ImportError
    assert gc.isenabled()
