"""How the tests run, as a plugin of pytest: several at a time, some alone, and in CI every one of them.

Files are shared out to workers (`make test`), those with servers first, so that short files fill the end. A test that
compares times is marked ``alone``: it begins when no other worker runs a test, and none begins until it has ended.
SIGTERM ends a run as Ctrl-C does: every fixture stops its servers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from interrupts import unwind_on_sigterm

__all__ = [
    "begin",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
]

_RUN: Final = "PYTEST_XDIST_TESTRUNUID"
_SAID: Final = "CI runs every test, so none may be skipped or expected to fail"
Result = pytest.TestReport | pytest.CollectReport


def pytest_configure() -> None:
    """A run that is stopped stops its servers."""
    unwind_on_sigterm()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with servers come first: one of these at the end would leave the other workers without work."""
    items.sort(key=lambda item: "cluster" not in item.path.parts)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Before the timeout of the test begins, as this one waits for tests of other workers."""
    run = os.environ.get(_RUN)
    if run is None:
        return (yield)
    with begin(
        Path(tempfile.gettempdir()) / f"gatehouse-tests-{run}", alone=item.get_closest_marker("alone") is not None
    ):
        return (yield)


@contextlib.contextmanager
def begin(folder: Path, *, alone: bool) -> Iterator[None]:
    """One test of several processes that share ``folder``.

    Who wants to be alone keeps the door while the others end: otherwise two others could take turns for ever.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(door, fcntl.LOCK_UN)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test skips at home fails in CI."""
    report = yield
    _hold(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So does a whole file."""
    report = yield
    _hold(report, collector.nodeid)
    return report


def _hold(report: Result, what: str) -> None:
    if os.environ.get("CI") != "true":
        return
    expected = getattr(report, "wasxfail", None)
    if expected is not None:
        del report.wasxfail  # type: ignore[union-attr]  # pytest sets it where a test is expected to fail
    elif report.outcome != "skipped":
        return
    why = expected if expected is not None else report.longreprtext
    report.outcome = "failed"
    report.longrepr = f"{_SAID}: {what}: {why}"
