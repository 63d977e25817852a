"""The node's addresses, and a check that they are free on this machine.

A veth pair leads from the machine (`gh0`) into the network namespace of the node (`eth0`). Pods get addresses behind
the node, each with its own veth and no bridge: every packet is routed, so that kube-proxy's rules apply.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gatehouse_local.errors import LocalClusterError

__all__ = [
    "API_SERVICE_ADDRESS",
    "CLUSTER_DOMAIN",
    "DNS_SERVICE_ADDRESS",
    "HOST_ADDRESS",
    "INTERFACE",
    "LINK",
    "NODE_ADDRESS",
    "PODS",
    "SERVICES",
    "interface_alias",
    "overlapping",
    "remove_interface",
    "routes",
]

INTERFACE: Final = "gh0"
HOST_ADDRESS: Final = "10.88.0.1"
NODE_ADDRESS: Final = "10.88.0.2"
LINK: Final = "10.88.0.0/30"
PODS: Final = "10.88.1.0/24"
SERVICES: Final = "10.96.0.0/24"
API_SERVICE_ADDRESS: Final = "10.96.0.1"
DNS_SERVICE_ADDRESS: Final = "10.96.0.10"
CLUSTER_DOMAIN: Final = "cluster.local"

_GONE_SECONDS: Final = 10.0
_PROBE_SECONDS: Final = 0.02


def interface_alias() -> str | None:
    """The alias of the machine's end of the pair, which names its owner; "" without alias, None without interface.

    Raises:
        LocalClusterError: the output of `ip` is unexpected.
    """
    shown = _ip("-json", "link", "show", "dev", INTERFACE)
    if shown.returncode != 0:
        return None
    try:
        (link,) = json.loads(shown.stdout)
        return str(link.get("ifalias", ""))
    except (ValueError, AttributeError) as error:
        raise LocalClusterError(f"`ip -json link show dev {INTERFACE}` printed no list with one link.") from error


def remove_interface(alias: str) -> None:
    """Removes the interface with this alias, and returns after its removal.

    Raises:
        LocalClusterError: the interface remains.
    """
    deadline = time.monotonic() + _GONE_SECONDS
    while interface_alias() == alias:
        # The interface may vanish by itself: its other end is in a namespace that the kernel is removing.
        _ip("link", "delete", "dev", INTERFACE)
        if time.monotonic() >= deadline:
            raise LocalClusterError(
                f"The interface {INTERFACE} is still there. Remove it with: ip link delete {INTERFACE}"
            )
        time.sleep(_PROBE_SECONDS)


def routes() -> list[dict[str, Any]]:
    """The machine's IPv4 routes, as `ip -json route show` prints them.

    Raises:
        LocalClusterError: `ip` failed.
    """
    shown = _ip("-json", "-4", "route", "show")
    if shown.returncode != 0:
        raise LocalClusterError(f"`ip -json -4 route show` failed: {shown.stderr.strip()}")
    listed: list[dict[str, Any]] = json.loads(shown.stdout or "[]")
    return listed


def overlapping(listed: Sequence[Mapping[str, Any]], networks: Sequence[str] = (LINK, PODS, SERVICES)) -> list[str]:
    """The routes, as text, that lead addresses of `networks` elsewhere.

    A route to a larger network does not count: the node's narrower routes take precedence.
    """
    own = [ipaddress.IPv4Network(network) for network in networks]
    found = []
    for route in listed:
        try:
            destination = ipaddress.IPv4Network(str(route.get("dst", "")))
        except ValueError:  # "default"
            continue
        if route.get("dev") != INTERFACE and any(destination.subnet_of(network) for network in own):
            found.append(f"{destination} dev {route.get('dev', '?')}")
    return found


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
