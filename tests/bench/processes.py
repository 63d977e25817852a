"""The operator and the server as processes of their own, and what /proc tells of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

from bench.scrape import Samples, parse
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK, free_port
from gatehouse_local.process import base_environment
from gatehouse_local.users import SERVER_USER

__all__ = [
    "MIB",
    "GatehouseProcess",
    "MachineUsage",
    "Operator",
    "ProcessDied",
    "RestServer",
    "Usage",
    "is_idle",
    "machine_usage",
    "until_next_look",
    "usage",
]

_TICKS = os.sysconf("SC_CLK_TCK")
_SHORTEST_POLL, _LONGEST_POLL = 0.1, 2.0
_STOP_SECONDS = 30.0
_OF_THE_IMAGE = {"MALLOC_ARENA_MAX": "1"}
"""Variables of the image that a figure depends on."""
MIB = 1024 * 1024


class ProcessDied(Exception):
    """A process ended by itself; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of user and system, resident bytes now and at most."""

    cpu: float
    resident: int
    peak: int


def usage(pid: int) -> Usage:
    """What a process has used so far."""
    proc = Path("/proc") / str(pid)
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
    resident, peak = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, resident, peak)


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """CPU seconds so far: of the servers by their program, of this process, and of everything that runs."""

    servers: Mapping[str, float]
    own: float
    all: float

    def since(self, before: MachineUsage) -> MachineUsage:
        """What was used since an earlier look. Servers that have ended meanwhile are left out."""
        servers = {name: cpu - before.servers.get(name, 0.0) for name, cpu in self.servers.items()}
        return MachineUsage(servers, self.own - before.own, self.all - before.all)


def machine_usage(marks: Collection[str], *, besides: int = 0) -> MachineUsage:
    """What was used so far. A server is a process, besides this one and another, whose command line has a mark."""
    servers: Counter[str] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (folder / "cmdline").read_text(errors="replace").split("\0")
            if int(folder.name) not in {os.getpid(), besides} and any(
                mark in part for mark in marks for part in command
            ):
                servers[Path(command[0]).name] += usage(int(folder.name)).cpu  # type: ignore[assignment] # typed for int
    user, nice, system, _idle, _wait, *other = (int(ticks) for ticks in Path("/proc/stat").read_text().split()[1:9])
    return MachineUsage(servers, time.process_time(), (user + nice + system + sum(other[:2])) / _TICKS)


class GatehouseProcess:
    """A command of ``gatehouse`` that serves until it is stopped; use it as an asynchronous context manager.

    ``user`` is the one whose rights it has. ``wrapper`` are arguments of Python before ``-m gatehouse``, as those of a
    profiler.
    """

    def __init__(
        self,
        plane: RunningControlPlane,
        command: str,
        *arguments: str,
        user: str,
        data: Path,
        log: Path,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self._name = command
        self._port = free_port()
        self._log = log
        self._command = [
            sys.executable,
            *wrapper,
            "-m",
            "gatehouse",
            command,
            f"--kubeconfig={plane.kubeconfig.with_name(f'{user}.kubeconfig')}",
            f"--data-dir={data}",
            f"--health-address={LOOPBACK}:{self._port}",
            *arguments,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._started = 0.0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        with self._log.open("ab") as log:
            self._started = time.monotonic()
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=base_environment() | _OF_THE_IMAGE
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, _STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise RuntimeError(f"gatehouse {self._name} was not started")
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started

    @property
    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.pid)

    def forget_peak(self) -> None:
        """Has the kernel begin the peak of the memory anew."""
        (Path("/proc") / str(self.pid) / "clear_refs").write_text("5")

    async def samples(self) -> Samples:
        """Its metrics; nothing while it does not answer."""
        if self._process is None or self._session is None:
            raise RuntimeError(f"gatehouse {self._name} was not started")
        if self._process.poll() is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise ProcessDied(f"gatehouse {self._name} ended with code {self._process.returncode}:\n{tail}")
        with suppress(aiohttp.ClientConnectionError):
            async with self._session.get(f"http://{LOOPBACK}:{self._port}/metrics") as response:
                return parse(await response.text(), names=("gatehouse_",))
        return Samples()

    async def until(self, reached: Callable[[Samples], float], *, what: str, within: float) -> Samples:
        """Waits until the share of the work that its metrics show as done is 1.

        Raises ``TimeoutError`` with what the metrics said last.
        """
        last = Samples()
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            last = await self.samples()
            share = reached(last)
            if share >= 1:
                return last
            await asyncio.sleep(until_next_look(self.age, share))
        said = {name: last.sum(name) for name in sorted({name for name, _ in last.values}) if "bucket" not in name}
        raise TimeoutError(f"waited {within:.0f} s for {what}; the metrics of gatehouse {self._name}: {said}")


class Operator(GatehouseProcess):
    """``gatehouse run`` with the rights of the operator's own user."""

    def __init__(self, plane: RunningControlPlane, *, data: Path, log: Path, wrapper: tuple[str, ...] = ()) -> None:
        super().__init__(plane, "run", user=OPERATOR_USER, data=data, log=log, wrapper=wrapper)


class RestServer(GatehouseProcess):
    """``gatehouse server`` with the rights of the server's own user."""

    def __init__(self, plane: RunningControlPlane, *, data: Path, log: Path, wrapper: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        address = f"--listen-address={LOOPBACK}:{self.port}"
        super().__init__(plane, "server", address, user=SERVER_USER, data=data, log=log, wrapper=wrapper)


def until_next_look(age: float, share: float) -> float:
    """Seconds after which to look again at work of which a share is done ``age`` seconds after its begin.

    Half of those that the rest takes at the rate so far: looks, which cost servers some milliseconds, come closer
    together the nearer the end is.
    """
    rest = age * (1 - share) / share if share > 0 else age / 2
    return min(max(rest / 2, _SHORTEST_POLL), _LONGEST_POLL)


def is_idle(samples: Samples) -> bool:
    """Nothing is ready and nothing is in hand."""
    return (
        samples.sum("gatehouse_queue_depth") == 0
        and samples.sum("gatehouse_queue_unfinished_seconds") == 0
        and samples.sum("gatehouse_reconciles_total") > 0
    )
