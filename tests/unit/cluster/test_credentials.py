"""Where the credentials of a cluster come from, with none of the library's clients in memory."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

TOKEN = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    for part in ({}, {"exp": 4_000_000_000}, {})
)
"""An id token that is valid for long."""
_ASK = """
import asyncio, json, sys
from pathlib import Path
from gatehouse.cluster.client import load_configuration
from kubernetes.aio.config import incluster_config

pod = Path(sys.argv[1])
incluster_config.SERVICE_TOKEN_FILENAME = str(pod / "token")
incluster_config.SERVICE_CERT_FILENAME = str(pod / "ca.crt")

async def ask(kubeconfig):
    configuration = await load_configuration(kubeconfig=kubeconfig, context=None)
    settings = await configuration.auth_settings()
    return configuration.host, [each["value"] for each in settings.values()]

print(json.dumps(asyncio.run(ask(Path(sys.argv[2]) if sys.argv[2] else None))))
print(sorted({"kubernetes.client", "kubernetes.aio.watch", "requests", "websocket"} & set(sys.modules)))
"""


def asked(folder: Path, kubeconfig: Path | None = None, **environ: str) -> list[Any]:
    """The API server, and the values of the header of a request."""
    said = subprocess.run(
        [sys.executable, "-c", _ASK, str(folder), str(kubeconfig or "")],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr
    answer, imported = said.stdout.splitlines()
    assert imported == "[]"
    found: list[Any] = json.loads(answer)
    return found


@pytest.mark.parametrize(
    ("user", "values"),
    [
        ({"token": "written"}, ["Bearer written"]),
        ({"tokenFile": "FOLDER/token"}, ["Bearer mounted"]),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "FOLDER/plugin"}}, ["Bearer made"]),
        ({"auth-provider": {"name": "oidc", "config": {"id-token": "TOKEN"}}}, ["Bearer TOKEN"]),
    ],
    ids=["token", "file", "exec", "oidc"],
)
def test_a_kubeconfig_has_a_token_a_file_or_a_command(tmp_path: Path, user: Any, values: list[str]) -> None:
    (tmp_path / "token").write_text("mounted")
    plugin = tmp_path / "plugin"
    made = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "made"}}
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(made)}'\n")
    plugin.chmod(0o755)
    told = json.loads(json.dumps(user).replace("FOLDER", str(tmp_path)).replace("TOKEN", TOKEN))
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": "https://api.example"}}],
        "users": [{"name": "me", "user": told}],
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    assert asked(tmp_path, kubeconfig) == ["https://api.example", [value.replace("TOKEN", TOKEN) for value in values]]


def test_a_pod_has_the_token_of_its_service_account(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("mounted")
    (tmp_path / "ca.crt").write_text("an authority")
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert asked(tmp_path, **pod) == ["https://10.0.0.1:443", ["bearer mounted"]]
