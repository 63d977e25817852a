"""The walk of docs/walk.md: its commands as steps, run in order and unchanged."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatehouse_local import CHECKOUT
from gatehouse_local.errors import LocalClusterError

__all__ = ["Step", "StepFailed", "programs", "run_step", "steps"]

PATIENCE: Final = 120
"""The time limit of one step in seconds; the longest takes a few."""
_BLOCK: Final = re.compile(
    r"(?:^## (?P<title>[^\n]*)$)|<!-- walk: (?P<marks>.*?) -->\n```sh\n(?P<script>.*?)\n```", re.MULTILINE | re.DOTALL
)
_FAILS: Final = "fails, "


class StepFailed(LocalClusterError):
    """A step did not end or print as the walk states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One block of commands. Its output must match the regular expression ``shows``; with ``fails`` it must fail."""

    title: str
    script: str
    shows: str
    fails: bool


def steps(text: str | None = None) -> tuple[Step, ...]:
    """The steps of a document, or of docs/walk.md. Only the first step of a section has its title."""
    return tuple(_steps((CHECKOUT / "docs/walk.md").read_text() if text is None else text))


def _steps(text: str) -> Iterator[Step]:
    title = ""
    for block in _BLOCK.finditer(text):
        if block["title"] is not None:
            title = block["title"]
            continue
        fails = block["marks"].startswith(_FAILS)
        yield Step(title=title, script=block["script"], shows=block["marks"].removeprefix(_FAILS), fails=fails)
        title = ""


def programs(folder: Path, *, kubectl: Path) -> str:
    """A PATH with ``gatehouse`` as this program, ``python3`` as its Python, and ``kubectl`` as the given program."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kubectl").unlink(missing_ok=True)
    (folder / "kubectl").symlink_to(kubectl)
    for name, arguments in (("gatehouse", "-m gatehouse "), ("python3", "")):
        launcher = folder / name
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        launcher.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def run_step(step: Step, *, folder: Path, env: Mapping[str, str], seconds: float = PATIENCE) -> str:
    """Runs a step in a folder, ends every process that the step started, and returns the output.

    Raises StepFailed for a wrong exit code, an output that does not match, or a step that takes over ``seconds``.
    """
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", step.script],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # A separate process group, so that the step's children end with it.
        start_new_session=True,
    ) as shell:
        try:
            said, _ = shell.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as late:
            _end_group(shell.pid)
            said, _ = shell.communicate()
            raise StepFailed(f"not done after {seconds:g} s:\n{step.script}\n{said}") from late
        finally:
            _end_group(shell.pid)
    if (shell.returncode != 0) != step.fails:
        expected = "a refusal" if step.fails else "0"
        raise StepFailed(f"ended with {shell.returncode}, expected {expected}:\n{step.script}\n{said}")
    if re.search(step.shows, said, re.DOTALL) is None:
        raise StepFailed(f"did not show {step.shows!r}:\n{step.script}\n{said}")
    return said


def _end_group(group: int) -> None:
    """Kills the processes of a group. The kernel does not reuse the group's id while one of them lives."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
