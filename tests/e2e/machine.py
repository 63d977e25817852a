"""The node under test, and how tests talk to it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from gatehouse_local.cluster import LocalCluster
from gatehouse_local.images.images import load

__all__ = ["IMAGE", "SERVING_IMAGES", "Machine", "container", "job", "pod", "until"]

IMAGE = "localhost/gatehouse:0.1.0"
"""Has a shell and Python, and an unprivileged user."""
SERVING_IMAGES: Final = ("storage-initializer", "vllm-standin")
"""Those of Pods of models, which only a node that serves models needs."""

_PATIENCE: Final = 60.0
_PROBE_SECONDS: Final = 0.05
T = TypeVar("T")


def until(ask: Callable[[], T | None], *, seconds: float = _PATIENCE, pause: float = _PROBE_SECONDS) -> T:
    """The first answer that is not None."""
    deadline = time.monotonic() + seconds
    while (answer := ask()) is None:
        assert time.monotonic() < deadline, "no answer in time"
        time.sleep(pause)
    return answer


class Machine:
    """A cluster with a node."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with the contexts admin (the current one), ai-admin and ai-developer."""
        return Path(self.cluster.env()["KUBECONFIG"])

    @property
    def kubectl_program(self) -> Path:
        """The kubectl of the cluster's version."""
        program = self.cluster.kubectl()
        assert program is not None
        return program

    def load(self, archives: Mapping[str, Path]) -> None:
        """Give images to the node."""
        address = self.cluster.containerd_address()
        assert address is not None
        for archive in archives.values():
            load(archive, address=address)

    def kubectl(self, *arguments: str, given: str | None = None, context: str = "admin") -> str:
        """What kubectl prints; fails with what it complains of."""
        done = subprocess.run(
            [str(self.kubectl_program), f"--context={context}", *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply objects."""
        self.kubectl("apply", "--server-side", "--filename=-", given=yaml.safe_dump_all(manifests))

    def get(self, *arguments: str) -> Any:
        """The object or list that `kubectl get` finds."""
        return json.loads(self.kubectl("get", "--output=json", *arguments))

    def wait(self, namespace: str, what: str, condition: str, *, seconds: int = 60) -> None:
        """Wait for a condition in kubectl's words; on failure tell what happened in the namespace."""
        try:
            self.kubectl("wait", f"--namespace={namespace}", what, f"--for={condition}", f"--timeout={seconds}s")
        except AssertionError as error:
            events = self.kubectl("get", "events", f"--namespace={namespace}", "--sort-by=.lastTimestamp")
            pods = self.kubectl("get", "pods", f"--namespace={namespace}", "--output=wide")
            raise AssertionError(f"{error}\n{pods}\n{events}") from None

    def logs(self, namespace: str, what: str) -> str:
        """The logs of a Pod, or of a Job's."""
        return self.kubectl("logs", f"--namespace={namespace}", what)


def container(script: str, **more: Any) -> dict[str, Any]:
    """A container that runs a shell script."""
    return {"name": "main", "image": IMAGE, "command": ["/bin/sh", "-ec", script], **more}


def pod(namespace: str, name: str, containers: Iterable[Mapping[str, Any]], **spec: Any) -> dict[str, Any]:
    """A Pod that does not hold up its namespace's deletion."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 0, "restartPolicy": "Never", **spec},
    }


def job(
    namespace: str, name: str, script: str, *, container_spec: Mapping[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A Job that runs a shell script once."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "containers": [container(script, **(container_spec or {}))],
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 0,
                    **spec,
                }
            },
        },
    }
