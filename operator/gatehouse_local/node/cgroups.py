"""The cgroup of a node, which holds exactly the processes of the node and of its Pods."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gatehouse_local.errors import LocalClusterError, NodeImpossible

__all__ = ["NodeCgroup"]

_PODS = "kubepods"
_SERVERS = "servers"
_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")
_KILL_SECONDS = 15.0
_PROBE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCgroup:
    """One cgroup with the same `name` in each hierarchy: cgroup v1 has many, v2 has one, some machines have both.

    The kubelet makes the Pods' cgroups below this cgroup (`cgroupRoot`); the node's own servers are in `servers`.
    """

    name: str
    hierarchies: tuple[Path, ...]
    unified: bool

    @classmethod
    def find(cls, name: str, *, mounts: str | None = None) -> Self:
        """The cgroup in the hierarchies of this machine, whether it exists or not.

        Args:
            name: the cgroup's name, below the root.
            mounts: the content of `/proc/self/mounts`, if not this machine's.

        Raises:
            NodeImpossible: no hierarchy controls memory.
        """
        listed = Path("/proc/self/mounts").read_text() if mounts is None else mounts
        entries = [line.split() for line in listed.splitlines()]
        first = [(Path(fields[1]), fields[3].split(",")) for fields in entries if fields[2] == "cgroup"]
        second = [Path(fields[1]) for fields in entries if fields[2] == "cgroup2"]
        if any("memory" in options for _, options in first):
            found = {*(path for path, _ in first), *second}
            return cls(name=name, hierarchies=tuple(sorted(found)), unified=False)
        if not second:
            raise NodeImpossible(
                "A node needs cgroups, and no hierarchy with the memory controller is mounted below /sys/fs/cgroup."
            )
        return cls(name=name, hierarchies=(second[0],), unified=True)

    @property
    def root(self) -> str:
        """The path for the kubelet's `cgroupRoot`."""
        return f"/{self.name}"

    @property
    def join_file(self) -> Path:
        """The file in which a process writes its pid to join the node's servers, with its descendants."""
        return self._tracking / self.name / _SERVERS / "cgroup.procs"

    def prepare(self) -> None:
        """Makes the cgroup, and delegates every controller to the Pods' cgroups."""
        for hierarchy in self.hierarchies:
            if self.unified:
                _enable_controllers(hierarchy)
            folder = hierarchy / self.name
            folder.mkdir(exist_ok=True)
            if self.unified:
                _enable_controllers(folder)
            (folder / _SERVERS).mkdir(exist_ok=True)
            for child in (folder, folder / _SERVERS):
                _inherit_cpuset(child)

    def processes(self) -> frozenset[int]:
        """The ids of every process in the cgroup."""
        return _processes(hierarchy / self.name for hierarchy in self.hierarchies)

    def pod_processes(self) -> frozenset[int]:
        """The ids of the processes of Pods."""
        return _processes(hierarchy / self.name / _PODS for hierarchy in self.hierarchies)

    def end_pods(self, *, seconds: float) -> None:
        """Asks the processes of Pods to end, and waits at most `seconds`."""
        self._signal(self.pod_processes(), signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.pod_processes() and time.monotonic() < deadline:
            time.sleep(_PROBE_SECONDS)

    def kill(self) -> None:
        """Kills every process in the cgroup and returns when none is left.

        Raises:
            LocalClusterError: some processes do not end.
        """
        deadline = time.monotonic() + _KILL_SECONDS
        while left := self.processes():
            if time.monotonic() >= deadline:
                listed = ", ".join(map(str, sorted(left)))
                raise LocalClusterError(f"Processes of the node do not end, even on SIGKILL: {listed}.")
            self._signal(left, signal.SIGKILL)
            time.sleep(_PROBE_SECONDS)

    def remove(self) -> None:
        """Removes the empty cgroup.

        Raises:
            LocalClusterError: the kernel keeps the cgroup.
        """
        deadline = time.monotonic() + _KILL_SECONDS
        for hierarchy in self.hierarchies:
            folder = hierarchy / self.name
            while folder.exists():
                _remove_tree(folder)
                if not folder.exists():
                    break
                if time.monotonic() >= deadline:
                    raise LocalClusterError(f"The cgroup {folder} cannot be removed: a process is still in it.")
                time.sleep(_PROBE_SECONDS)

    def _signal(self, processes: frozenset[int], number: signal.Signals) -> None:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError), _pinned(pid) as descriptor:
                # Checked again after the pid is pinned: another process may have got the pid.
                if f"/{self.name}" in Path(f"/proc/{pid}/cgroup").read_text():
                    signal.pidfd_send_signal(descriptor, number)

    @property
    def _tracking(self) -> Path:
        """The hierarchy in which the servers are found; preferably one whose limits do not affect them."""
        return next((path for path in self.hierarchies if path.name == "pids"), self.hierarchies[0])


def _processes(folders: Iterator[Path]) -> frozenset[int]:
    found: set[int] = set()
    for folder in folders:
        for path, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):  # removed meanwhile
                found.update(map(int, (Path(path) / "cgroup.procs").read_text().split()))
    return frozenset(found)


@contextlib.contextmanager
def _pinned(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_tree(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # busy for a moment after its last process ended; the caller tries again
            Path(path).rmdir()


def _enable_controllers(folder: Path) -> None:
    available = (folder / "cgroup.controllers").read_text().split()
    for controller in _CONTROLLERS:
        if controller in available:
            with contextlib.suppress(OSError):  # the kubelet reports missing controllers
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(folder: Path) -> None:
    """Copies the parent's processors: a new cpuset of cgroup v1 allows none until it is set."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        target = folder / name
        if target.exists() and not target.read_text().strip():
            target.write_text((folder.parent / name).read_text())
