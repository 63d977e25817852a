from __future__ import annotations

import io
import re
import threading
from pathlib import Path

import pytest
from rich.console import Console

from gatehouse.printing import progress as module
from gatehouse.printing.progress import ConsoleProgress


class Lines(io.StringIO):
    """A stream that tells when a line with a word arrives."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word
        self.arrived = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._word in self.getvalue():
            self.arrived.set()
        return written


def test_elsewhere_than_on_a_terminal_a_long_step_prints_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUIET_SECONDS", 0.0)
    stream = Lines("building")
    with ConsoleProgress(Console(file=stream, width=200)) as progress, progress.step("building [etcd]"):
        assert stream.arrived.wait(10)
    assert re.fullmatch(r"building \[etcd\] \(\d s\)\n", stream.getvalue())


def test_short_steps_print_nothing() -> None:
    stream = io.StringIO()
    with ConsoleProgress(Console(file=stream)) as progress:
        with progress.step("starting etcd"):
            pass
        progress.say("Started [etcd].")
    assert stream.getvalue() == "Started [etcd].\n"


def test_on_a_terminal_running_steps_share_one_line() -> None:
    stream = Lines("starting etcd, starting minio")
    console = Console(file=stream, force_terminal=True, width=120)
    with ConsoleProgress(console) as progress, progress.step("starting etcd"), progress.step("starting minio"):
        assert stream.arrived.wait(10)
        progress.say(f"at {Path('/x')}")
    assert "at /x" in stream.getvalue()
