"""What the tests of KServe's managers do to a namespace, and ask about its services."""

from __future__ import annotations

import contextlib
from typing import Final

from typer.testing import CliRunner

from cluster.gated import Gate, send
from cluster.status import Manifest
from gatehouse.cli.main import app
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

__all__ = ["MERGE", "PERSIST", "furnish", "items", "ready", "said", "sent"]

PERSIST: Final = "fieldManager=test"
MERGE: Final = "application/merge-patch+json"


def furnish(gate: Gate) -> None:
    for key in ("minio-connection", "evil"):
        made = CliRunner().invoke(
            app,
            [
                *("connection", "create", key, f"--namespace={gate.namespace}", "--endpoint=http://minio.minio:9000"),
                *(f"--kubeconfig={gate.plane.kubeconfig}", "--context=admin"),
            ],
            env={"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "x"},
        )
        assert made.exit_code == 0, made.output
    send(gate.developer, gate.runtime(), query=PERSIST)
    for version, kind, name, spec in (
        ("scheduling.k8s.io/v1", "PriorityClass", "inference", {"value": 1000, "preemptionPolicy": "Never"}),
        ("node.k8s.io/v1", "RuntimeClass", "nvidia", {"handler": "nvidia"}),
    ):
        gate.admin.apply({"apiVersion": version, "kind": kind, "metadata": {"name": name}, **spec})


def items(gate: Gate, path: str) -> list[Manifest]:
    found: list[Manifest] = gate.admin.request("GET", path)["items"]
    return found


def ready(gate: Gate, path: str) -> bool:
    conditions = gate.admin.request("GET", path).get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def said(gate: Gate, path: str) -> str:
    return str(gate.admin.request("GET", path).get("status"))


def sent(client: KubeClient, body: Manifest) -> bool:
    with contextlib.suppress(ApiRefused):
        send(client, body, query=PERSIST)
        return True
    return False
