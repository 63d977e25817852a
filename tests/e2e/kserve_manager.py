"""KServe's own manager on a control plane with or without a node: its full kinds, its webhooks and its controllers.

Its manifests are read from the Go module that the manager is built from, so the two are of one release.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from cluster.rig import until
from cluster.status import Manifest
from gatehouse.printing.progress import Silent
from gatehouse_local import ephemeral
from gatehouse_local.binaries import Binaries, default_cache
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.golang import find_go, module_source
from gatehouse_local.install import install_kinds
from gatehouse_local.kube import KubeClient
from gatehouse_local.net import free_port, http_ready
from gatehouse_local.pki import ensure_certificate
from gatehouse_local.process import Server, Supervisor
from gatehouse_local.programs import PROGRAMS

__all__ = ["INITIALIZER", "KServe", "gone", "install_kserve", "kserve", "managed", "wait_gone"]

NAMESPACE: Final = "kserve"
VERSION: Final = PROGRAMS["kserve"].version
INITIALIZER: Final = f"kserve/storage-initializer:{VERSION}"
CONFIG: Final = "inferenceservice-config"
_MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class KServe:
    """A running manager."""

    plane: RunningControlPlane
    log: Path

    def configure(self, client: KubeClient, **sections: Mapping[str, Any]) -> None:
        """Lays settings over sections of KServe's ConfigMap; its webhooks read it at each request."""
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG}"
        data = client.request("GET", path)["data"]
        changed = {name: json.dumps(json.loads(data[name]) | dict(given)) for name, given in sections.items()}
        client.request("PATCH", path, {"data": changed}, content_type=_MERGE)


@contextlib.contextmanager
def kserve() -> Iterator[KServe]:
    """A control plane with KServe and Gatehouse's kinds and policies, for as long as the block lasts."""
    with ephemeral.control_plane(bare=True) as plane, contextlib.closing(plane.client()) as client:
        install_kserve(client)
        install_kinds(client)
        with managed(client, kubeconfig=plane.kubeconfig) as log:
            yield KServe(plane=plane, log=log)


def install_kserve(client: KubeClient) -> None:
    """KServe's full kinds and its settings. Before Gatehouse, which else brings kinds of its own in miniature."""
    module = _module()
    _kinds(client, module)
    _settings(client, module)


@contextlib.contextmanager
def managed(client: KubeClient, *, kubeconfig: Path) -> Iterator[Path]:
    """The manager, as a process of this machine, and its webhooks for as long as the block lasts: its log."""
    program = Binaries().obtain(["kserve"])["kserve"]
    home = Path(tempfile.mkdtemp(prefix="gatehouse-kserve-"))
    supervisor = Supervisor(run=home / "run", logs=home / "logs")
    try:
        webhooks, server = _manager(home, program, kubeconfig)
        supervisor.ensure(server)
        try:
            for body in _webhooks(_module(), port=webhooks, authority=home / "certificates" / "ca.crt"):
                client.apply(body)
            yield supervisor.log_file("kserve")
        finally:
            supervisor.stop("kserve")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _module() -> Path:
    """The folder of the release's Go module; fetched where it is not there yet."""
    go = find_go(cache=default_cache(), environ=os.environ, progress=Silent())
    return module_source("github.com/kserve/kserve", of=PROGRAMS["kserve"], go=go)


def _documents(path: Path) -> list[Manifest]:
    return [body for body in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if body]


def _kinds(client: KubeClient, module: Path) -> None:
    """The full kinds that this manager knows; those of its other managers stay as Gatehouse has them in miniature."""
    files = sorted((module / "config" / "crd" / "full").rglob("serving.kserve.io_*.yaml"))
    bodies = [body for file in files if file.parent.name != "llmisvc" for body in _documents(file)]
    for body in bodies:
        body.pop("status", None)
    client.wait_served([client.apply(body) for body in bodies], seconds=120)


def _settings(client: KubeClient, module: Path) -> None:
    client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    [config] = _documents(module / "config" / "configmap" / "inferenceservice.yaml")
    config["metadata"] = {"name": CONFIG, "namespace": NAMESPACE}
    changes: Mapping[str, Mapping[str, Any]] = {
        "storageInitializer": {"image": INITIALIZER},
        "deploy": {"defaultDeploymentMode": "Standard"},
        "ingress": {"disableIngressCreation": True, "disableIstioVirtualHost": True},
    }
    for section, given in changes.items():
        config["data"][section] = json.dumps(json.loads(config["data"][section]) | dict(given))
    client.apply(config)
    [container] = _documents(module / "config" / "storagecontainers" / "default.yaml")
    container["spec"]["container"]["image"] = INITIALIZER
    client.apply(container)


def _manager(home: Path, program: Path, kubeconfig: Path) -> tuple[int, Server]:
    webhooks, health, metrics = free_port(), free_port(), free_port()
    certificate = ensure_certificate(home / "certificates", authority="gatehouse-tests-kserve")
    # Where controller-runtime looks for them: below the folder for temporary files.
    served = home / "k8s-webhook-server" / "serving-certs"
    served.mkdir(parents=True)
    shutil.copy(certificate.certificate, served / "tls.crt")
    shutil.copy(certificate.key, served / "tls.key")
    server = Server(
        name="kserve",
        argv=(
            str(program),
            f"--webhook-port={webhooks}",
            f"--health-probe-addr=127.0.0.1:{health}",
            f"--metrics-addr=127.0.0.1:{metrics}",
        ),
        env={"KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": NAMESPACE, "TMPDIR": str(home)},
        ready=http_ready(health, "/readyz"),
    )
    return webhooks, server


def _webhooks(module: Path, *, port: int, authority: Path) -> list[Manifest]:
    """KServe's webhooks, at the address of the manager."""
    bodies = [copy.deepcopy(body) for body in _documents(module / "config" / "webhook" / "manifests.yaml")]
    for body in bodies:
        body["metadata"].pop("creationTimestamp", None)
        for webhook in body["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {
                "url": f"https://127.0.0.1:{port}{path}",
                "caBundle": b64encode(authority.read_bytes()).decode(),
            }
            webhook["admissionReviewVersions"] = ["v1", "v1beta1"]
    return bodies


def gone(client: KubeClient, path: str) -> bool:
    """Whether nothing is there."""
    try:
        client.request("GET", path)
    except ApiRefused as refused:
        if refused.status != 404:
            raise
        return True
    return False


def wait_gone(client: KubeClient, path: str) -> None:
    """Until nothing is there."""
    until(lambda: gone(client, path), what=f"{path} is still there")
