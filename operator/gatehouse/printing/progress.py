"""Progress on stderr, live on a terminal and in plain lines elsewhere: of steps, of counted items, of moved bytes.

Elsewhere than on a terminal, what takes less than two seconds prints nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.spinner import Spinner
from rich.text import Text

from gatehouse.domain.common.text import human_bytes, one_line
from gatehouse.printing.printer import Printer, stderr

__all__ = ["Amounts", "ConsoleProgress", "ProgressReporter", "Silent", "counted", "line", "shown"]

T = TypeVar("T")

_QUIET_SECONDS: Final = 2.0
"""When the first line is printed; the next ones follow after the seconds below."""
_STEP_SECONDS: Final = 15.0
_AMOUNT_SECONDS: Final = 10.0
_FRAME_SECONDS: Final = 0.2
_COUNT: Final = 2_000
"""How many items are taken between two looks at the clock."""


class ProgressReporter(Protocol):
    """What a command tells while it works; steps may overlap and come from several threads."""

    def step(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Announce work that lasts as long as the context."""
        ...

    def say(self, line: str) -> None:
        """Print one line that stays."""
        ...


class Silent:
    """Progress that is not shown, for tests and libraries."""

    def step(self, what: str) -> contextlib.AbstractContextManager[None]:
        del what
        return contextlib.nullcontext()

    def say(self, line: str) -> None:
        del line


class ConsoleProgress:
    """Shows every running step with its elapsed time. Use it as a context manager.

    On a terminal the running steps share one line that is redrawn. Elsewhere a step that takes longer than two
    seconds prints a line, and one more every fifteen seconds.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or stderr().console
        self._running: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._next_key = 0
        self._done = threading.Event()
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True)
            self._live.start()
        else:
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._live is not None:
            self._live.stop()
        if self._ticker is not None:
            self._ticker.join()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        with self._lock:
            self._next_key += 1
            key = self._next_key
            self._running[key] = (what, time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                del self._running[key]

    def say(self, line: str) -> None:
        self._console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)

    def _steps(self) -> list[tuple[int, str, float]]:
        now = time.monotonic()
        with self._lock:
            return [(key, what, now - since) for key, (what, since) in self._running.items()]

    def _render(self) -> RenderableType:
        steps = self._steps()
        if not steps:
            return Text("")
        oldest = max(elapsed for _, _, elapsed in steps)
        self._spinner.update(text=Text(one_line(f"{', '.join(what for _, what, _ in steps)} ({oldest:.0f} s)")))
        return self._spinner

    def _tick(self) -> None:
        due: dict[int, float] = {}
        while not self._done.wait(0.5):
            for key, what, elapsed in self._steps():
                if elapsed >= due.get(key, _QUIET_SECONDS):
                    due[key] = elapsed + _STEP_SECONDS
                    self.say(f"{what} ({elapsed:.0f} s)")


@contextlib.contextmanager
def counted(
    items: Iterable[T], *, what: str, total: int | None = None, printer: Printer | None = None
) -> Iterator[Iterator[T]]:
    """The items, counted as they are taken."""
    printer = printer or stderr()
    if not printer.console.is_terminal:
        yield _counted_in_lines(items, what, total, printer)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=printer.console, transient=True) as bars:
        task = bars.add_task(what, total=total)

        def taken() -> Iterator[T]:
            for number, item in enumerate(items, start=1):
                yield item
                if number % _COUNT == 0:
                    bars.update(task, completed=number)

        yield taken()


def _counted_in_lines(items: Iterable[T], what: str, total: int | None, printer: Printer) -> Iterator[T]:
    due = time.monotonic() + _QUIET_SECONDS
    for number, item in enumerate(items, start=1):
        yield item
        if number % _COUNT == 0 and time.monotonic() >= due:
            due = time.monotonic() + _AMOUNT_SECONDS
            of = "" if total is None else f" of {total}"
            printer.line(f"{number}{of} {what}")


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


@contextlib.asynccontextmanager
async def shown(what: str, amounts: Callable[[], Amounts], *, printer: Printer) -> AsyncIterator[None]:
    """Show how far it is for as long as the context lasts; ``amounts`` is asked a few times a second."""
    task = asyncio.create_task((_bar if printer.console.is_terminal else _lines)(what, amounts, printer))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
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
    with Bars(*columns, console=printer.console) as bars:
        task = bars.add_task(what, total=None, files="", note="")

        def update() -> None:
            now = amounts()
            bars.update(
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
    began, pause = time.monotonic(), _QUIET_SECONDS
    while True:
        await asyncio.sleep(pause)
        pause = _AMOUNT_SECONDS
        printer.line(line(what, amounts(), time.monotonic() - began))
