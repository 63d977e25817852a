"""What a node could leave on the machine, as text that can be compared."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from gatehouse_local.node.node import namespace_of

__all__ = ["footprint"]

_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
_FOLDERS = ("/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/run/netns", "/var/log/pods", "/var/log/containers")
_CGROUP = re.compile(r"/gatehouse-[0-9a-f]{12}\b")
_PROGRAMS = re.compile(r"containerd-shim|kubelet|kube-proxy|coredns|^/pause")
_OURS = re.compile(r"KUBE|CNI|\b10\.(88|96)\.|kubelet|containerd|\bcni\b|netns|\bgh0\b")


def footprint(directory: Path) -> dict[str, list[str]]:
    """Processes, mounts, interfaces, routes, iptables rules, cgroups, sysctls and folders of a node.

    Args:
        directory: of the cluster; of other things that run on the machine only what could be a node's is listed.
    """
    return {
        "processes": _processes(directory),
        "mounts": _matching(Path("/proc/mounts").read_text(), directory),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "routes": _lines("ip", "-4", "route", "show", "table", "all"),
        "rules": _matching("\n".join(_lines("iptables-save") + _lines("ip6tables-save")), directory),
        "cgroups": sorted(path for path, _, _ in os.walk("/sys/fs/cgroup") if _cgroup(directory) in path),
        "sysctls": [f"{name} {(Path('/proc/sys') / name).read_text().strip()}" for name in _SYSCTLS],
        "folders": [folder for folder in _FOLDERS if Path(folder).exists()],
    }


def _processes(directory: Path) -> list[str]:
    """Processes that name the directory, are in its node's cgroup, or are called like a node's and in nobody's."""
    own = _cgroup(directory)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (process / "cgroup").read_text()
            stray = _PROGRAMS.search(command) and not _CGROUP.search(groups)
            if process.name != str(os.getpid()) and (str(directory) in command or own in groups or stray):
                found.append(f"{process.name} {command}")
    return sorted(found)


def _cgroup(directory: Path) -> str:
    return namespace_of(directory / "node").cgroup.root


def _matching(text: str, directory: Path) -> list[str]:
    return sorted(line for line in text.splitlines() if str(directory) in line or _OURS.search(line))


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
