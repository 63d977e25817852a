"""Checks before any start whether this machine can run a node."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gatehouse_local.errors import NodeImpossible
from gatehouse_local.node import network

__all__ = ["check", "cni_folder", "missing", "refuse_interface", "refuse_missing", "refuse_routes", "search_path"]

# Programs by Debian package.
_PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "containerd": ("containerd", "ctr"),
    "runc": ("runc",),
    "iptables": ("iptables", "iptables-save", "iptables-restore"),
    "iproute2": ("ip",),
    "util-linux": ("unshare", "nsenter"),
    "mount": ("mount",),
}
_CNI_PACKAGE: Final = "containernetworking-plugins"
_CNI_PLUGINS: Final = ("ptp", "host-local", "loopback", "portmap")
_CNI_FOLDERS: Final = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def search_path(environ: Mapping[str, str] = os.environ) -> str:
    """The PATH of the node's programs: the user's PATH, and the administrator's folders."""
    return os.pathsep.join([environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def cni_folder(folders: Sequence[Path] = _CNI_FOLDERS) -> Path:
    """The folder of the CNI plugins: the first usual folder that has them, else the first usual folder."""
    return next((folder for folder in folders if all((folder / name).exists() for name in _CNI_PLUGINS)), folders[0])


def missing(
    *, which: Callable[[str], str | None] | None = None, cni_folders: Sequence[Path] = _CNI_FOLDERS
) -> dict[str, list[str]]:
    """The programs that a node needs and this machine lacks, by Debian package."""
    find = which or _which
    found = {package: [name for name in names if find(name) is None] for package, names in _PACKAGES.items()}
    folder = cni_folder(cni_folders)
    found[_CNI_PACKAGE] = [f"{name} (in {folder})" for name in _CNI_PLUGINS if not (folder / name).exists()]
    return {package: names for package, names in found.items() if names}


def check(*, alias: str, machine: str = sys.platform, user: int | None = None) -> None:
    """Checks that a node can be started here.

    Args:
        alias: the mark of the node's own interface; an interface of another owner is a conflict.
        machine: the platform, as in `sys.platform`.
        user: the effective user id; the caller's if None.

    Raises:
        NodeImpossible: a node cannot be started; names everything that the user must change.
    """
    if machine != "linux":
        raise NodeImpossible(
            f"A node needs Linux, and this is {machine}. Leave --node out: the API server, the object store and the "
            "operator run without it."
        )
    found = os.geteuid() if user is None else user
    if found != 0:
        raise NodeImpossible(
            f"A node needs root, and this is user {found}: it makes namespaces, cgroups and interfaces. Use sudo, "
            "or leave --node out."
        )
    refuse_missing(missing())
    refuse_interface(network.interface_alias(), alias=alias)
    refuse_routes(network.overlapping(network.routes()))


def refuse_missing(lacking: Mapping[str, Iterable[str]]) -> None:
    """Raises NodeImpossible if programs are missing."""
    if lacking:
        listed = "; ".join(f"{', '.join(names)} from {package}" for package, names in lacking.items())
        raise NodeImpossible(
            f"A node needs programs that are not installed: {listed}. "
            f"On Debian or Ubuntu: apt-get install {' '.join(lacking)}"
        )


def refuse_interface(owner: str | None, *, alias: str) -> None:
    """Raises NodeImpossible if the interface exists and `owner`, its alias, names another owner."""
    if owner is not None and owner != alias:
        whose = f"the node of another cluster, {owner}" if owner else "another program"
        raise NodeImpossible(
            f"The network interface {network.INTERFACE} belongs to {whose}. A machine has one node at a time. Stop "
            "the other node first: gatehouse local down --dir DIR"
        )


def refuse_routes(found: Sequence[str]) -> None:
    """Raises NodeImpossible if foreign routes lead into the node's networks."""
    if found:
        raise NodeImpossible(
            f"A node needs the networks {network.LINK}, {network.PODS} and {network.SERVICES} for itself, and this "
            f"machine has routes into them: {', '.join(found)}. Disconnect the network that added "
            "these routes, for example a VPN."
        )


def _which(name: str) -> str | None:
    return shutil.which(name, path=search_path())
