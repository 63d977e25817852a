"""`local down` leaves nothing of a node on the machine, however the node ended. The session's node makes room."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.footprint import footprint
from e2e.machine import Machine, pod
from gatehouse_local.cluster import LocalCluster
from gatehouse_local.process import Supervisor

# Kills itself with SIGKILL when a step begins that is named like its argument.
STARTER = """
import contextlib, os, signal, sys
from pathlib import Path
from gatehouse_local.cluster import LocalCluster

class KillAt:
    def step(self, what):
        if what == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        return contextlib.nullcontext()
    def say(self, line):
        pass

LocalCluster(Path(sys.argv[1]), progress=KillAt()).up(bare=True, node=True, operator=False)
"""
PAUSE = {"name": "main", "image": "localhost/pause:1"}


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A folder for a cluster, and what of nodes was on the machine before it."""

    directory: Path
    before: dict[str, list[str]]

    @property
    def cluster(self) -> LocalCluster:
        return LocalCluster(self.directory)

    def left_behind(self) -> dict[str, list[str]]:
        """What there is now and was not before."""
        now = footprint(self.directory)
        changed = {what: sorted(set(now[what]) ^ set(self.before[what])) for what in now}
        return {what: lines for what, lines in changed.items() if lines}


@pytest.fixture
def ground(aside: None) -> Iterator[Ground]:
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-e2e-"))
    directory = folder / "cluster"
    try:
        yield Ground(directory=directory, before=footprint(directory))
    finally:
        LocalCluster(directory).down(purge=True)
        shutil.rmtree(folder, ignore_errors=True)


def run_pod(machine: Machine) -> None:
    """A Pod with what a Pod may hold: memory that is mounted, a volume of the node, a token, a port of the machine."""
    namespace = f"e2e-{secrets.token_hex(4)}"
    machine.kubectl("create", "namespace", namespace)
    volumes = [{"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "data", "emptyDir": {}}]
    mounts = [{"name": "memory", "mountPath": "/memory"}, {"name": "data", "mountPath": "/data"}]
    main = {**PAUSE, "volumeMounts": mounts, "ports": [{"containerPort": 80, "hostPort": 8080}]}
    machine.apply(pod(namespace, "holder", [main], volumes=volumes))
    machine.wait(namespace, "pod/holder", "condition=Ready")


def kill(cluster: LocalCluster, *names: str) -> None:
    records = Supervisor(run=cluster.directory / "run", logs=cluster.directory / "logs").records()
    for name in names:
        os.kill(records[name].identity.pid, signal.SIGKILL)


def test_down_leaves_nothing_of_a_node_with_pods(ground: Ground) -> None:
    ground.cluster.up(bare=True, node=True, operator=False)
    run_pod(Machine(ground.cluster))
    assert {"processes", "interfaces", "cgroups"} <= ground.left_behind().keys(), "a footprint shows a node that runs"
    ground.cluster.down()
    assert ground.left_behind() == {}
    assert ground.cluster.down() == ()


def test_down_leaves_nothing_after_the_nodes_servers_were_killed(ground: Ground) -> None:
    ground.cluster.up(bare=True, node=True, operator=False)
    run_pod(Machine(ground.cluster))
    kill(ground.cluster, "kubelet", "containerd", "kube-proxy", "node-namespace")
    assert "processes" in ground.left_behind(), "the Pod outlives them"
    ground.cluster.down()
    assert ground.left_behind() == {}


def test_up_repairs_a_node_whose_namespace_was_killed_and_its_pods_run_again(ground: Ground) -> None:
    cluster = ground.cluster
    cluster.up(bare=True, node=True, operator=False)
    machine = Machine(cluster)
    machine.apply(pod("default", "again", [PAUSE], restartPolicy="Always"))
    machine.wait("default", "pod/again", "condition=Ready")
    kill(cluster, "node-namespace")
    started = cluster.up(operator=False)
    assert {"node-namespace", "containerd", "kubelet", "kube-proxy", "coredns"} <= set(started)
    machine.wait("default", "pod/again", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    machine.wait("default", "pod/again", "condition=Ready")


@pytest.mark.parametrize(
    "moment",
    [
        "starting node-namespace",
        "starting containerd",
        "starting kubelet",
        "waiting for the node to be Ready",
    ],
)
def test_down_after_up_was_killed_leaves_nothing(ground: Ground, moment: str) -> None:
    starter = subprocess.run(
        [sys.executable, "-c", STARTER, str(ground.directory), moment], capture_output=True, check=False
    )
    assert starter.returncode == -signal.SIGKILL, starter.stderr
    ground.cluster.down()
    assert ground.left_behind() == {}


def test_down_may_be_killed_too(ground: Ground) -> None:
    ground.cluster.up(bare=True, node=True, operator=False)
    run_pod(Machine(ground.cluster))
    stopper = STARTER.rpartition("LocalCluster(")[0] + "LocalCluster(Path(sys.argv[1]), progress=KillAt()).down()\n"
    moment = "stopping kube-proxy"
    killed = subprocess.run(
        [sys.executable, "-c", stopper, str(ground.directory), moment], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ground.cluster.down()
    assert ground.left_behind() == {}


def test_a_cluster_can_give_its_node_up_and_keep_the_rest(ground: Ground) -> None:
    ground.cluster.up(bare=True, node=True, operator=False)
    ground.cluster.up(node=False, operator=False)
    states = {server.name: server.answering for server in ground.cluster.status()}
    assert states == dict.fromkeys(["etcd", "kube-apiserver", "kube-controller-manager"], True)
    ground.cluster.down()
    assert ground.left_behind() == {}
