"""How far a transfer of files is, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from gatehouse.domain.sizes import human_bytes
from gatehouse.printing import Printer

__all__ = ["Amounts", "line", "shown"]

_FRAME_SECONDS: Final = 0.2
_FIRST_LINE_SECONDS: Final = 2.0
_NEXT_LINE_SECONDS: Final = 10.0


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
