"""Background servers: started detached, recorded by identity, and stopped by identity."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from gatehouse_local.errors import LocalClusterError, NotReady, ServerDied
from gatehouse_local.files import make_private
from gatehouse_local.identity import (
    Identity,
    boot_id,
    end,
    is_running,
    parse_started,
    wait_for_exit,
)

__all__ = ["Account", "Record", "Server", "Supervisor", "base_environment"]

_TAIL_LINES = 20
_TAIL_BYTES = 16_384
_PROBE_SECONDS = 0.03
_INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")

# The shell starts the server and writes the server's pid and start time before it exits. The shell has its own session,
# so that a starter killed at any moment leaves no server without a record. The shell's stdin is the lock of the
# cluster's directory: the next holder of the lock finds the record complete.
_LAUNCH = '"$@" </dev/null >&2 & printf \'%s\\n\' "$!"; cat "/proc/$!/stat" 2>/dev/null || ps -o lstart= -p "$!"'


@dataclass(frozen=True, slots=True)
class Account:
    """The system account of a server that must not run as root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A background program: its command and its readiness check.

    `settings` are inputs outside `argv` and `env`, such as the content of a file. A change of any of the three restarts
    a running server.
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool] = field(compare=False)
    env: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    ready_seconds: float = 60.0

    def fingerprint(self) -> str:
        """A digest of all inputs of the server."""
        parts = [self.argv, sorted(self.env.items()), self.settings]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of a started server."""

    identity: Identity
    fingerprint: str
    stop_signal: signal.Signals
    stop_seconds: float

    def is_running(self) -> bool:
        """Whether the same process still runs."""
        return is_running(self.identity)


def base_environment() -> dict[str, str]:
    """The few variables that a server inherits: none of the caller's credentials or settings for other servers."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


class Supervisor:
    """Starts and stops the servers whose records are in one directory.

    Args:
        run: the directory of the records, one file per server.
        logs: the directory for stdout and stderr of the servers.
        lock: the descriptor of the lock that guards both directories, if several processes may use them.
    """

    def __init__(self, *, run: Path, logs: Path, lock: int | None = None) -> None:
        self._run = make_private(run)
        self._logs = make_private(logs)
        self._lock = lock

    def log_file(self, name: str) -> Path:
        """The file with the output of a server."""
        return self._logs / f"{name}.log"

    def records(self) -> dict[str, Record]:
        """Every server that was started and not stopped, by name. A server may have ended by itself."""
        found = {}
        for path in sorted(self._run.glob("*.record")):
            if (record := _read_record(path)) is not None:
                found[path.stem] = record
        return found

    def ensure(self, server: Server) -> bool:
        """Ensures that `server` runs as described and answers. Returns whether a start was necessary.

        Raises:
            ServerDied: the server ended before it answered.
            NotReady: the server did not answer in time.
        """
        fresh = not self.runs(server)
        if fresh:
            self.stop(server.name)
            self.start(server)
        self.wait_ready(server)
        return fresh

    def runs(self, server: Server) -> bool:
        """Whether `server` runs as described. The server may not answer yet."""
        record = _read_record(self._record_file(server.name))
        return record is not None and record.is_running() and record.fingerprint == server.fingerprint()

    def start(self, server: Server) -> Record:
        """Starts `server` in the background and returns as soon as its record is written."""
        path = self._record_file(server.name)
        log = self.log_file(server.name)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        header = {
            "fingerprint": server.fingerprint(),
            "boot": boot_id(),
            "stopSignal": server.stop_signal.name,
            "stopSeconds": server.stop_seconds,
        }
        with _create(path) as record_handle, _create(log) as log_handle:
            os.write(record_handle.fileno(), json.dumps(header).encode() + b"\n")
            account = server.account
            launcher = subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCH, "launch", *server.argv],
                stdin=subprocess.DEVNULL if self._lock is None else self._lock,
                stdout=record_handle,
                stderr=log_handle,
                env={**base_environment(), **server.env},
                cwd="/",
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
            launcher.wait()
        record = _read_record(path)
        if record is None:
            raise ServerDied(server.name, log, self.tail(server.name))
        return record

    def wait_ready(self, server: Server) -> None:
        """Waits until a started server answers.

        Raises:
            ServerDied: the server ended first.
            NotReady: the server did not answer in `ready_seconds`.
        """
        record = _read_record(self._record_file(server.name))
        deadline = time.monotonic() + server.ready_seconds
        while record is not None and time.monotonic() < deadline:
            if server.ready():
                return
            if wait_for_exit(record.identity, seconds=_PROBE_SECONDS):
                break
        if record is None or not record.is_running():
            raise ServerDied(server.name, self.log_file(server.name), self.tail(server.name))
        raise NotReady(
            f"{server.name} runs as process {record.identity.pid} but did not answer within "
            f"{server.ready_seconds:.0f} s. See {self.log_file(server.name)}."
        )

    def stop(self, name: str) -> bool:
        """Stops exactly the process that was started under `name`; False if the process was not running."""
        path = self._record_file(name)
        record = _read_record(path)
        stopped = False
        if record is not None:
            stopped = end(record.identity, polite=record.stop_signal, seconds=record.stop_seconds)
            if record.is_running():
                raise LocalClusterError(f"{name} (process {record.identity.pid}) does not end, even on SIGKILL.")
        path.unlink(missing_ok=True)
        return stopped

    def tail(self, name: str) -> str:
        """The last lines of a server's log."""
        try:
            with self.log_file(name).open("rb") as handle:
                handle.seek(0, os.SEEK_END)
                handle.seek(max(0, handle.tell() - _TAIL_BYTES))
                text = handle.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def _record_file(self, name: str) -> Path:
        return self._run / f"{name}.record"


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0)


def _read_record(path: Path) -> Record | None:
    """The record of a started server; None if no server, or not even its starting shell, was started."""
    try:
        header, pid, started, *_ = path.read_text().split("\n", 2)
        head = json.loads(header)
        return Record(
            identity=Identity(int(pid), parse_started(started, boot=head["boot"])),
            fingerprint=head["fingerprint"],
            stop_signal=signal.Signals[head["stopSignal"]],
            stop_seconds=float(head["stopSeconds"]),
        )
    except (OSError, ValueError, KeyError, IndexError):
        return None
