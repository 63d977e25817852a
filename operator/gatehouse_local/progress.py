"""Progress on stderr: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from gatehouse.domain.common.text import one_line
from gatehouse.printing import stderr

__all__ = ["ConsoleProgress", "Progress", "Silent"]

_QUIET_SECONDS = 2.0
_HEARTBEAT_SECONDS = 15.0


class Progress(Protocol):
    """What the local cluster tells while it works; steps may overlap and come from several threads."""

    def step(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Announce work that lasts as long as the context."""
        ...

    def say(self, line: str) -> None:
        """Print one line that stays."""
        ...


class Silent:
    """Progress that nobody watches, for tests and libraries."""

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
                    due[key] = elapsed + _HEARTBEAT_SECONDS
                    self.say(f"{what} ({elapsed:.0f} s)")
