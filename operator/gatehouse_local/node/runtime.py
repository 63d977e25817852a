"""The configuration of containerd with runc, and of the Pods' network."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gatehouse_local.files import make_private, write_private
from gatehouse_local.node import network
from gatehouse_local.node.preflight import search_path

__all__ = ["CONTAINERD_SOCKET", "containerd_answers", "containerd_config", "network_config", "write_runtime_files"]

# Its name in the node's namespace.
CONTAINERD_SOCKET: Final = "/run/containerd/containerd.sock"
_PAUSE_IMAGE: Final = "localhost/pause:1"
_CNI_NETWORK: Final = "gatehouse"


def containerd_config(*, root: Path, cni_plugins: Path, cni_config: Path) -> str:
    """The configuration of containerd, in TOML."""
    # Without CAP_SYS_RESOURCE no OOM score can be lowered, and every sandbox fails without this setting.
    return f"""\
version = 2
root = {json.dumps(str(root))}
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{_PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {json.dumps(str(cni_plugins))}
    conf_dir = {json.dumps(str(cni_config))}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "/run/containerd/runc"
"""


def network_config() -> str:
    """The CNI configuration: a veth pair for each Pod, routed by the node."""
    addresses = {
        "type": "host-local",
        # Removed with the namespace, like the Pods' addresses.
        "dataDir": "/run/containerd/addresses",
        "ranges": [[{"subnet": network.PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": _CNI_NETWORK, "plugins": plugins}, indent=2)


def write_runtime_files(home: Path, *, cni_plugins: Path) -> Path:
    """Writes both configurations below `home`; returns containerd's."""
    cni = make_private(home / "cni")
    write_private(cni / "10-gatehouse.conflist", network_config())
    root = make_private(home / "containerd")
    return write_private(
        home / "containerd.toml", containerd_config(root=root, cni_plugins=cni_plugins, cni_config=cni)
    )


def containerd_answers(address: Path) -> Callable[[], bool]:
    """A check that reads the version of the containerd at the socket `address`."""

    def answers() -> bool:
        # ctr would wait for a missing socket.
        return (
            address.exists()
            and not subprocess.run(
                ["ctr", f"--address={address}", "--timeout=2s", "version"],
                env={"PATH": search_path()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            ).returncode
        )

    return answers
