"""``gatehouse server`` as a process of the tests, and the accounts that call the server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatehouse_local.kube import KubeClient
from gatehouse_local.net import LOOPBACK, free_port

__all__ = ["RBAC", "ServerProcess", "bind", "make_account"]

RBAC = "rbac.authorization.k8s.io"


class ServerProcess:
    """``gatehouse server`` with nothing of our environment."""

    def __init__(
        self,
        folder: Path,
        kubeconfig: Path,
        *arguments: str,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port, self.health = port or free_port(), free_port()
        self.log = folder / "server.log"
        command = [
            sys.executable,
            "-m",
            "gatehouse",
            "server",
            f"--kubeconfig={kubeconfig}",
            f"--data-dir={folder}",
            f"--listen-address={LOOPBACK}:{self.port}",
            f"--health-address={LOOPBACK}:{self.health}",
            "--log-level=debug",
            *arguments,
        ]
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHON", "COVERAGE_"))}
        with self.log.open("wb") as log:
            env = kept | dict(environment or {})
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd="/")

    def get(self, path: str, *, port: int = 0, token: str = "") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with contextlib.closing(http.client.HTTPConnection(LOOPBACK, port or self.port, timeout=10)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def answers(self, path: str, expected: tuple[int, str]) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get(path) == expected
        return False

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def ask(
        self, method: str, path: str, body: object = None, *, token: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """A call with a JSON body; the status and the JSON of the answer."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        data = None if body is None else json.dumps(body)
        with contextlib.closing(http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)) as connection:
            connection.request(method, path, body=data, headers=sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")


def make_account(kube: KubeClient, namespace: str, name: str, *roles: str, everywhere: bool = False) -> str:
    """Makes a service account with roles and returns a token of it."""
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
    for role in roles:
        bind(kube, namespace, name, role, everywhere=everywhere)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    answer = kube.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body)
    return str(answer["status"]["token"])


def bind(kube: KubeClient, namespace: str, name: str, role: str, *, everywhere: bool = False) -> None:
    """Binds a ClusterRole to a service account, in its namespace or everywhere."""
    metadata = {"name": f"{namespace}-{name}-{role}"} | ({} if everywhere else {"namespace": namespace})
    kube.apply(
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding" if everywhere else "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
    )
