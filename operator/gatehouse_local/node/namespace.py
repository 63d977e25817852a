"""The node's mount and network namespaces, kept by one process that sleeps in them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatehouse_local.files import make_private
from gatehouse_local.node import network
from gatehouse_local.node.cgroups import NodeCgroup
from gatehouse_local.process import Server

__all__ = ["HOLDER", "Namespace"]

HOLDER: Final = "node-namespace"

_JOIN: Final = 'echo $$ >"$1"; shift; exec "$@"'
# 9 is the machine's network namespace.
_OPEN: Final = 'exec 9</proc/self/ns/net; exec unshare --mount --net --propagation slave /bin/sh -euc "$@"'

# The folders that programs require are kept in the cluster's directory. `created` lists the folders that the machine
# lacked, for their later removal.
# The kubelet sets a few sysctls of the whole machine. Files mounted over these sysctls already have the kubelet's
# values, so the kubelet changes nothing.
# The machine's end of the pair gets its alias before it is moved there, so it never appears without its owner.
_SET_UP: Final = r"""
home=$1 alias=$2
umask 022
mount --make-rshared /
bind() {
  mkdir -p "$home/$1"
  [ -d "$2" ] || { echo "$2" >>"$home/created"; mkdir -p "$2"; }
  mount --bind "$home/$1" "$2"
}
bind run/containerd /run/containerd
bind run/cni /var/lib/cni
bind kubelet /var/lib/kubelet
bind logs/pods /var/log/pods
bind logs/containers /var/log/containers
pretend() {
  [ -e "/proc/sys/$1" ] || return 0
  file="$home/run/sysctl-$(basename "$1")"
  echo "$2" >"$file"
  mount --bind "$file" "/proc/sys/$1"
}
pretend vm/overcommit_memory 1
pretend vm/panic_on_oom 0
pretend kernel/panic 10
pretend kernel/panic_on_oops 1
pretend kernel/keys/root_maxkeys 1000000
pretend kernel/keys/root_maxbytes 25000000
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
ip link add INTERFACE type veth peer name eth0
ip link set dev INTERFACE alias "$alias"
ip address add NODE/30 dev eth0
ip link set eth0 up
ip route add SERVICES via HOST
ip link set INTERFACE netns /proc/self/fd/9
nsenter --net=/proc/self/fd/9 /bin/sh -euc '
  ip address add HOST/30 dev INTERFACE
  ip link set INTERFACE up
  ip route add PODS via NODE dev INTERFACE
  ip route add SERVICES via NODE dev INTERFACE
'
exec 9<&-
: >"$home/run/ready"
exec sleep infinity
"""
_WORDS: Final = {
    "INTERFACE": network.INTERFACE,
    "HOST": network.HOST_ADDRESS,
    "NODE": network.NODE_ADDRESS,
    "PODS": network.PODS,
    "SERVICES": network.SERVICES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """The namespaces of one node.

    `home` is the node's folder. `alias` marks the machine's end of the veth pair as this node's.
    """

    home: Path
    cgroup: NodeCgroup
    alias: str

    def holder(self) -> Server:
        """The process that makes and keeps the namespaces."""
        script = _SET_UP
        for word, value in _WORDS.items():
            script = script.replace(word, value)
        return Server(
            name=HOLDER,
            argv=self._joined("/bin/sh", "-c", _OPEN, "open", script, "set-up", str(self.home), self.alias),
            ready=(self.home / "run" / "ready").exists,
            stop_seconds=1,
            ready_seconds=20,
        )

    def inside(self, holder: int, *argv: str) -> tuple[str, ...]:
        """The command `argv`, run in the namespaces that the process `holder` keeps."""
        return self._joined("nsenter", f"--target={holder}", "--mount", "--net", "--", *argv)

    def clear(self) -> None:
        """Ends every process of the node and removes the node's remains from the machine.

        The kernel removes the namespaces with their last process, and their mounts, interfaces and iptables rules.

        Raises:
            LocalClusterError: a process or a remaining resource cannot be removed.
        """
        self.cgroup.kill()
        self.cgroup.remove()
        network.remove_interface(self.alias)
        # Only now: while a namespace exists, a file below could be the other end of one of its mounts.
        shutil.rmtree(self.home / "run", ignore_errors=True)
        created = self.home / "created"
        for folder in _lines(created):
            with contextlib.suppress(OSError):  # another program now uses it
                Path(folder).rmdir()
        created.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Makes the holder's folders and the cgroup."""
        make_private(self.home)
        make_private(self.home / "run")
        self.cgroup.prepare()

    def _joined(self, *argv: str) -> tuple[str, ...]:
        return ("/bin/sh", "-c", _JOIN, "join", str(self.cgroup.join_file), *argv)


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return ()
