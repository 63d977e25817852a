"""Progress of a command on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from gatehouse.domain.common.text import human_bytes
from gatehouse.printing import Printer, stderr

__all__ = ["Amounts", "counted", "line", "shown"]

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


_FRAME_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Files and bytes, done and in all; ``bytes_kept`` of those done did not have to be moved.

    ``note`` is what else goes on, or empty.
    """

    files_done: int
    files: int
    bytes_done: int
    bytes: int
    bytes_kept: int = 0
    note: str = ""


@asynccontextmanager
async def shown(what: str, amounts: Callable[[], Amounts], *, printer: Printer) -> AsyncIterator[None]:
    """Show how far it is for as long as the context lasts; ``amounts`` is asked a few times a second."""
    task = asyncio.create_task((_bar if printer.console.is_terminal else _lines)(what, amounts, printer))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def line(what: str, now: Amounts, seconds: float) -> str:
    """One line, as in ``sending: 3.1 GiB of 7.8 GiB, 4 of 12 files, 112.0 MiB/s``."""
    rate = f", {human_bytes(int((now.bytes_done - now.bytes_kept) / seconds))}/s" if seconds > 0 else ""
    return (
        f"{what}: {human_bytes(now.bytes_done)} of {human_bytes(now.bytes)}, "
        f"{now.files_done} of {now.files} files{rate}{', ' if now.note else ''}{now.note}"
    )


async def _bar(what: str, amounts: Callable[[], Amounts], printer: Printer) -> None:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[files]} files {task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=printer.console) as progress:
        task = progress.add_task(what, total=None, files="", note="")

        def update() -> None:
            now = amounts()
            progress.update(
                task,
                completed=now.bytes_done,
                total=now.bytes or None,
                files=f"{now.files_done}/{now.files}",
                note=now.note,
            )

        try:
            while True:
                update()
                await asyncio.sleep(_FRAME_SECONDS)
        finally:
            update()


async def _lines(what: str, amounts: Callable[[], Amounts], printer: Printer) -> None:
    began, pause = time.monotonic(), _FIRST_LINE_SECONDS
    while True:
        await asyncio.sleep(pause)
        pause = _NEXT_LINE_SECONDS
        text = line(what, amounts(), time.monotonic() - began)
        printer.line(text)
