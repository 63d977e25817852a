"""Prometheus beside a cluster: finds Pods by their annotations, as most installations of Prometheus do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from gatehouse_local.files import make_private, write_private
from gatehouse_local.net import LOOPBACK, http_ready
from gatehouse_local.process import Server

__all__ = ["PROMETHEUS_PROGRAM", "Prometheus", "prometheus_config", "prometheus_rights"]

Manifest = dict[str, Any]

PROMETHEUS_PROGRAM: Final = "prometheus"
_META: Final = "__meta_kubernetes_pod"
_ANNOTATION: Final = f"{_META}_annotation_prometheus_io"
_RETENTION: Final = "2h"


class Prometheus:
    """The files and the server of one Prometheus.

    Args:
        home: a folder of its own.
        program: the path of the program.
        kubeconfig: how it reaches the API server.
        port: where it listens.
        address: the address of the machine that it listens on. Pods reach an address of the node's network.
        interval: the seconds between two scrapes of a Pod.
    """

    def __init__(
        self,
        home: Path,
        *,
        program: Path,
        kubeconfig: Path,
        port: int,
        address: str = LOOPBACK,
        interval: int = 15,
    ) -> None:
        self._home = home
        self._program = program
        self._kubeconfig = kubeconfig
        self._port = port
        self._address = address
        self._interval = interval

    @property
    def url(self) -> str:
        """Where clients ask it."""
        return f"http://{self._address}:{self._port}"

    def server(self) -> Server:
        """The process."""
        content = prometheus_config(self._kubeconfig, interval=self._interval)
        config = write_private(make_private(self._home) / "prometheus.yaml", content)
        return Server(
            name=PROMETHEUS_PROGRAM,
            argv=(
                str(self._program),
                f"--config.file={config}",
                f"--storage.tsdb.path={make_private(self._home / 'data')}",
                f"--storage.tsdb.retention.time={_RETENTION}",
                f"--web.listen-address={self._address}:{self._port}",
            ),
            settings=(content,),
            ready=http_ready(self._port, "/-/ready", host=self._address),
        )


def prometheus_config(kubeconfig: Path, *, interval: int) -> str:
    """A configuration that scrapes the Pods with the annotation prometheus.io/port.

    prometheus.io/path names another path than /metrics, and prometheus.io/scrape: "false" leaves a Pod out. What a Pod
    says has the labels `namespace` and `pod`, and those of the Pod, such as serving_kserve_io_inferenceservice.
    """
    relabel: list[Manifest] = [
        {"source_labels": [f"{_META}_phase"], "regex": "Pending|Succeeded|Failed", "action": "drop"},
        {"source_labels": [f"{_ANNOTATION}_scrape"], "regex": "false", "action": "drop"},
        {"source_labels": [f"{_ANNOTATION}_port"], "regex": r"\d+", "action": "keep"},
        # One target a Pod, however many ports its containers have.
        {
            "source_labels": [f"{_META}_ip", f"{_ANNOTATION}_port"],
            "separator": ":",
            "target_label": "__address__",
        },
        {"source_labels": [f"{_ANNOTATION}_path"], "regex": "(.+)", "target_label": "__metrics_path__"},
        {"regex": f"{_META}_label_(.+)", "action": "labelmap"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{_META}_name"], "target_label": "pod"},
    ]
    return yaml.safe_dump(
        {
            "global": {
                "scrape_interval": f"{interval}s",
                "scrape_timeout": f"{min(interval, 10)}s",
                "evaluation_interval": f"{interval}s",
            },
            "scrape_configs": [
                {
                    "job_name": "pods",
                    "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
                    "relabel_configs": relabel,
                }
            ],
        },
        sort_keys=False,
    )


def prometheus_rights(*, account: str, namespace: str) -> Iterator[Manifest]:
    """The rights of its ServiceAccount: to see Pods, and nothing else."""
    labels = {"app.kubernetes.io/part-of": "gatehouse"}
    group = "rbac.authorization.k8s.io"
    metadata = {"name": "gatehouse-local-prometheus", "labels": labels}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    yield {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    yield {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
