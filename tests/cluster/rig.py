"""The real operator as a process, with what it logs, counts and answers."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK, free_port, http_ready

__all__ = ["PATIENCE", "PLURALS", "Metrics", "Operator", "until"]

PLURALS = {
    "ModelRegistry": "modelregistries",
    "RegisteredModel": "registeredmodels",
    "ModelVersion": "modelversions",
    "HardwareProfile": "hardwareprofiles",
    "ModelDeployment": "modeldeployments",
}
PATIENCE = 120.0
"""Seconds, and no bound on anything: beside much else an operator takes half a minute to start."""
_POLL = 0.03

T = TypeVar("T")


def until(probe: Callable[[], T | None], *, what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """The first answer of ``probe`` that is true, hence neither empty nor 0; fails after ``seconds`` with ``what``."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"after {seconds:g} s: {said}")
        time.sleep(_POLL)


_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Metrics:
    """One scrape of the operator."""

    def __init__(self, exposition: str) -> None:
        self._samples = [
            (name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _SAMPLE.findall(exposition)
        ]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples that have the labels."""
        return sum(
            value
            for found, has, value in self._samples
            if found == name and all(has.get(label) == wanted for label, wanted in labels.items())
        )

    @property
    def api_writes(self) -> dict[str, float]:
        """Requests that write, by "verb resource"; leases left out."""
        found: dict[str, float] = {}
        for name, has, value in self._samples:
            if name != "gatehouse_api_requests_total" or has["resource"] == "leases":
                continue
            if has["verb"] not in {"get", "list", "watch"}:
                key = f"{has['verb']} {has['resource']}"
                found[key] = found.get(key, 0) + value
        return found

    @property
    def row_writes(self) -> dict[str, float]:
        """Rows written, by table."""
        return {has["table"]: value for name, has, value in self._samples if name == "gatehouse_row_writes_total"}

    @property
    def store_requests(self) -> float:
        """Requests to object stores."""
        return self.sum("gatehouse_store_requests_total")

    @property
    def busy(self) -> bool:
        """Whether a key waits for a worker or is in one's hands."""
        return bool(self.sum("gatehouse_queue_depth") or self.sum("gatehouse_queue_unfinished_seconds"))

    def since(self, before: Metrics) -> dict[str, float]:
        """Writes since another scrape: "verb resource", "rows table" and "store" to their number, zeros left out."""
        now, then = self._writes(), before._writes()
        return {key: value - then.get(key, 0) for key, value in now.items() if value != then.get(key, 0)}

    def _writes(self) -> dict[str, float]:
        rows = {f"rows {table}": count for table, count in self.row_writes.items()}
        return {**self.api_writes, **rows, "store": self.store_requests}


class Operator:
    """`gatehouse run` as a process with the rights of the operator's user and nothing of our environment."""

    def __init__(
        self,
        plane: RunningControlPlane,
        folder: Path,
        *,
        namespaces: Sequence[str] = (),
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._plane = plane
        self._more = dict(environment or {})
        self._namespaces = tuple(namespaces)
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"operator-{secrets.token_hex(3)}.log"

    def start(self, *, wait: bool = True) -> Operator:
        """Starts it; with ``wait`` returns when it leads and its caches are complete."""
        assert not self.running
        self.port = free_port()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=self._environment(), cwd="/")
        if wait:
            self.wait_leading()
        return self

    def wait_leading(self, *, seconds: float = PATIENCE) -> None:
        """Returns when it leads, its caches are complete and what it found at the start is reconciled."""
        until(self._leads, what=lambda: f"the operator does not lead: {self.tail()}", seconds=seconds)
        self.wait_idle()

    def wait_idle(self) -> None:
        """Returns when each cached object was reconciled once, and no key waits or is worked on."""

        def idle() -> bool:
            self._must_run()
            now = self.metrics()
            reconciled = all(
                now.sum("gatehouse_reconciles_total", kind=kind) >= now.sum("gatehouse_cached_objects", kind=kind)
                for kind in PLURALS.values()
            )
            return reconciled and not now.busy

        until(idle, what=lambda: f"the operator is busy: {self.tail()}")

    def stop(self) -> int:
        """Tells it to stop; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._end()

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._end()

    def pause(self) -> None:
        """kill -STOP: it stands still wherever it is, and does not know."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """kill -CONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it if it runs, in peace, so that the next one need not wait for its lease to expire."""
        if self.running:
            self.stop()

    def exited(self) -> int | None:
        """Its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def metrics(self) -> Metrics:
        """What /metrics answers now."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=10) as answer:
            return Metrics(answer.read().decode())

    def text(self) -> str:
        """Everything it logged."""
        return self.log.read_text(errors="replace")

    def records(self) -> list[dict[str, Any]]:
        """What it logged, line by line; every line must be JSON."""
        return [json.loads(line) for line in self.text().splitlines()]

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.text().splitlines()[-15:])

    def _end(self) -> int:
        assert self._process is not None
        return self._process.wait(30)

    def _must_run(self) -> None:
        assert self.running, f"the operator ended with {self.exited()}: {self.tail()}"

    def _leads(self) -> bool:
        self._must_run()
        try:
            return bool(self.metrics().sum("gatehouse_leader")) and http_ready(self.port, "/readyz")()
        except OSError:
            return False

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "gatehouse",
            "run",
            f"--kubeconfig={self._plane.kubeconfig.with_name(f'{OPERATOR_USER}.kubeconfig')}",
            f"--data-dir={self.data_dir}",
            f"--health-address={LOOPBACK}:{self.port}",
            # On a machine that does much else, progress would be shown where tests count what is written.
            "--patience=10s",
            *(f"--namespace={name}" for name in self._namespaces),
            *self._arguments,
        ]

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "PYTHON", "COVERAGE_")
        return {name: value for name, value in os.environ.items() if name.startswith(kept)} | self._more
