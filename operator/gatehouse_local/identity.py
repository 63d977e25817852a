"""The identity of a process: a pid alone may have been reused by another process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Identity", "boot_id", "end", "identify", "is_running", "parse_started", "wait_for_exit"]

_POLL_SECONDS = 0.02
_PROC = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Identity:
    """A pid with the start time of its process. Together they identify one process permanently.

    On Linux `started` is field 22 of `/proc/PID/stat` (clock ticks since boot) followed by the boot's id, elsewhere
    what `ps -o lstart=` prints.
    """

    pid: int
    started: str


def boot_id() -> str:
    """An id of the running boot, empty where the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def parse_started(raw: str, *, boot: str) -> str:
    """The start time of a process from one line of `/proc/PID/stat` or of `ps -o lstart=`; empty if missing."""
    _, parenthesis, fields = raw.rpartition(")")
    if not parenthesis:
        return raw.strip()
    return f"{fields.split()[19]}@{boot}"


def identify(pid: int) -> Identity | None:
    """The identity of a live process; None if no process has the pid or the process is a zombie."""
    if _PROC.exists():
        try:
            raw = (_PROC.parent / str(pid) / "stat").read_text()
        except OSError:
            return None
        if raw.rpartition(")")[2].split()[0] in {"Z", "X"}:
            return None
        return Identity(pid, parse_started(raw, boot=boot_id()))
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = listed.stdout.strip().partition(" ")
    if listed.returncode != 0 or not started or state.startswith("Z"):
        return None
    return Identity(pid, started.strip())


def is_running(identity: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identify(identity.pid) == identity


def end(identity: Identity, *, polite: signal.Signals, seconds: float) -> bool:
    """Ends exactly this process with `polite`, then with SIGKILL after `seconds`. False if the process was not running.

    On Linux a pidfd, opened before the identity check, pins the process, so that no signal reaches another process that
    got the pid in between.
    """
    with contextlib.ExitStack() as cleanup:
        descriptor: int | None = None
        if hasattr(os, "pidfd_open"):
            try:
                descriptor = os.pidfd_open(identity.pid)
            except ProcessLookupError:
                return False
            cleanup.callback(os.close, descriptor)
        if not is_running(identity):
            return False
        for number, patience in ((polite, seconds), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                _send(identity, descriptor, number)
            if wait_for_exit(identity, seconds=patience):
                return True
    return True


def _send(identity: Identity, descriptor: int | None, number: signal.Signals) -> None:
    if descriptor is None:
        os.kill(identity.pid, number)
    else:
        signal.pidfd_send_signal(descriptor, number)


def wait_for_exit(identity: Identity, *, seconds: float) -> bool:
    """Waits until this process has ended; False if the process still runs after `seconds`."""
    if not hasattr(os, "pidfd_open"):
        deadline = time.monotonic() + seconds
        while is_running(identity):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_running(identity):
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)
