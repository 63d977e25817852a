"""KServe's own managers on a control plane with or without a node: its full kinds, its webhooks and its controllers.

One manager is for InferenceServices, the other for LLMInferenceServices. Their manifests are read from the Go
module that the managers are built from, so all are of one release.
"""

from __future__ import annotations

import contextlib
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
from gatehouse_local.pki import ServingCertificate, ensure_certificate
from gatehouse_local.process import Server, Supervisor
from gatehouse_local.programs import PROGRAMS

__all__ = ["INITIALIZER", "KServe", "gone", "install_kserve", "kserve", "managed", "wait_gone"]

NAMESPACE: Final = "kserve"
SERVICES, LLM_SERVICES = "kserve", "kserve-llmisvc"
VERSION: Final = PROGRAMS[SERVICES].version
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Managers:
    """Managers that are not started yet: their programs, the ports of their webhooks, and one certificate."""

    home: Path
    programs: Mapping[str, Path]
    ports: Mapping[str, int]
    certificate: ServingCertificate

    def at(self, name: str, path: str) -> Mapping[str, Any]:
        """Where the API server finds a path of a manager."""
        authority = b64encode(self.certificate.authority.read_bytes()).decode()
        return {"url": f"https://127.0.0.1:{self.ports[name]}{path}", "caBundle": authority}

    @contextlib.contextmanager
    def running(self, client: KubeClient, *, kubeconfig: Path) -> Iterator[Path]:
        """The managers as processes of this machine, and their webhooks, for as long as the block lasts: a log."""
        supervisor = Supervisor(run=self.home / "run", logs=self.home / "logs")
        try:
            for name in self.programs:
                supervisor.ensure(_manager(self, name, kubeconfig))
            _adapt(client, _module(), self)
            yield supervisor.log_file(SERVICES)
        finally:
            for name in self.programs:
                supervisor.stop(name)


@contextlib.contextmanager
def _prepared(*names: str) -> Iterator[Managers]:
    programs = Binaries().obtain(names)
    home = Path(tempfile.mkdtemp(prefix="gatehouse-kserve-"))
    certificate = ensure_certificate(home / "certificates", authority="gatehouse-tests-kserve")
    try:
        yield Managers(
            home=home,
            programs={name: programs[name] for name in names},
            ports={name: free_port() for name in names},
            certificate=certificate,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def kserve() -> Iterator[KServe]:
    """A control plane with KServe and Gatehouse's kinds and policies, for as long as the block lasts."""
    with (
        _prepared(SERVICES, LLM_SERVICES) as managers,
        ephemeral.control_plane(bare=True) as plane,
        contextlib.closing(plane.client()) as client,
    ):
        install_kserve(client, conversion=managers.at(LLM_SERVICES, "/convert"))
        install_kinds(client)
        with managers.running(client, kubeconfig=plane.kubeconfig) as log:
            yield KServe(plane=plane, log=log)


def install_kserve(client: KubeClient, *, conversion: Mapping[str, Any] | None = None) -> None:
    """KServe's full kinds and its settings. Before Gatehouse, which else brings kinds of its own in miniature.

    Without the address of a ``conversion``, LLMInferenceServices are left out.
    """
    module = _module()
    _kinds(client, module, conversion=conversion)
    _settings(client, module)


@contextlib.contextmanager
def managed(client: KubeClient, *, kubeconfig: Path) -> Iterator[Path]:
    """The manager of InferenceServices for as long as the block lasts: its log."""
    with _prepared(SERVICES) as managers, managers.running(client, kubeconfig=kubeconfig) as log:
        yield log


def _module() -> Path:
    """The folder of the release's Go module; fetched where it is not there yet."""
    go = find_go(cache=default_cache(), environ=os.environ, progress=Silent())
    return module_source("github.com/kserve/kserve", of=PROGRAMS[SERVICES], go=go)


def _documents(path: Path) -> list[Manifest]:
    return [body for body in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if body]


def _kinds(client: KubeClient, module: Path, *, conversion: Mapping[str, Any] | None) -> None:
    """The full kinds that these managers know. The cache of models stays as Gatehouse has its kinds in miniature."""
    files = sorted((module / "config" / "crd" / "full").rglob("serving.kserve.io_*.yaml"))
    known = [file for file in files if conversion is not None or file.parent.name != "llmisvc"]
    bodies = [body for file in known for body in _documents(file)]
    for body in bodies:
        body.pop("status", None)
        if body["spec"]["names"]["kind"].startswith("LLM"):
            webhook = {"clientConfig": conversion, "conversionReviewVersions": ["v1", "v1beta1"]}
            body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
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


def _manager(managers: Managers, name: str, kubeconfig: Path) -> Server:
    health, metrics = free_port(), free_port()
    home, certificate = managers.home / name, managers.certificate
    # Where controller-runtime looks for them: below the folder for temporary files.
    served = home / "k8s-webhook-server" / "serving-certs"
    served.mkdir(parents=True)
    shutil.copy(certificate.certificate, served / "tls.crt")
    shutil.copy(certificate.key, served / "tls.key")
    return Server(
        name=name,
        argv=(
            str(managers.programs[name]),
            f"--webhook-port={managers.ports[name]}",
            f"--health-probe-addr=127.0.0.1:{health}",
            f"--metrics-addr=127.0.0.1:{metrics}",
        ),
        env={
            "KUBECONFIG": str(kubeconfig),
            "POD_NAMESPACE": NAMESPACE,
            "TMPDIR": str(home),
            # The presets have the names of the manifests, without a release in front of them.
            "LLM_INFERENCE_SERVICE_VERSIONED_CONFIG": "false",
        },
        ready=http_ready(health, "/readyz"),
    )


def _adapt(client: KubeClient, module: Path, managers: Managers) -> None:
    """KServe's webhooks at the addresses of the managers, and what its second manager merges into its services."""
    folder = module / "config" / "webhook"
    files = {SERVICES: folder / "manifests.yaml", LLM_SERVICES: folder / "llmisvc" / "manifests.yaml"}
    for name in managers.programs:
        for body in _documents(files[name]):
            body["metadata"].pop("creationTimestamp", None)
            for webhook in body["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                webhook["clientConfig"] = managers.at(name, path)
                webhook["admissionReviewVersions"] = ["v1", "v1beta1"]
            client.apply(body)
    if LLM_SERVICES not in managers.programs:
        return
    for file in sorted((module / "config" / "llmisvcconfig").glob("config-*.yaml")):
        for body in _documents(file):
            body["metadata"]["namespace"] = NAMESPACE
            until(lambda body=body: _applied(client, body), what=f"{file.name} is not taken")


def _applied(client: KubeClient, body: Manifest) -> bool:
    with contextlib.suppress(ApiRefused):
        client.apply(body)
        return True
    return False


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
