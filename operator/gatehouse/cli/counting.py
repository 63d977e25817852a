"""How many of something a command has gone through, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gatehouse.printing import Printer, stderr

__all__ = ["counted"]

T = TypeVar("T")

_STEP: Final = 2_000
_FIRST_LINE_SECONDS: Final = 2.0
_NEXT_LINE_SECONDS: Final = 10.0


@contextmanager
def counted(
    items: Iterable[T], *, what: str, total: int | None = None, printer: Printer | None = None
) -> Iterator[Iterator[T]]:
    """The items, counted as they are taken."""
    printer = printer or stderr()
    if not printer.console.is_terminal:
        yield _with_lines(items, what, total, printer)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=printer.console, transient=True) as progress:
        task = progress.add_task(what, total=total)

        def taken() -> Iterator[T]:
            for number, item in enumerate(items, start=1):
                yield item
                if number % _STEP == 0:
                    progress.update(task, completed=number)

        yield taken()


def _with_lines(items: Iterable[T], what: str, total: int | None, printer: Printer) -> Iterator[T]:
    due = time.monotonic() + _FIRST_LINE_SECONDS
    for number, item in enumerate(items, start=1):
        yield item
        if number % _STEP == 0 and time.monotonic() >= due:
            due = time.monotonic() + _NEXT_LINE_SECONDS
            of = "" if total is None else f" of {total}"
            printer.line(f"{number}{of} {what}")
