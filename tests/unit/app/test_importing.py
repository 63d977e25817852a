"""Imports that the garbage collector does not look through."""

from __future__ import annotations

import gc
import subprocess
import sys
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


def test_the_operator_starts_without_what_only_some_clusters_need() -> None:
    """CEL where no policy has an expression, drivers of databases that no registry names, the local cluster."""
    seldom = "cel_expr_python", "pymysql", "psycopg", "boto3", "typer", "gatehouse_local"
    code = f"import sys, gatehouse.app.operator; print([name for name in {seldom} if name in sys.modules])"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert started.stdout == "[]\n"
