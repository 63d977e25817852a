"""KServe's own managers on a control plane without a node: its full kinds, its webhooks and its controllers.

One manager is for InferenceServices, the other for LLMInferenceServices. Their manifests are read from the Go
module that the managers are built from, so all are of one release.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
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
from gatehouse_local import CHECKOUT, ephemeral
from gatehouse_local.binaries import Binaries, default_cache
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.golang import find_go
from gatehouse_local.install import install_kinds
from gatehouse_local.kube import KubeClient
from gatehouse_local.net import free_port, http_ready
from gatehouse_local.pki import ServingCertificate, ensure_certificate
from gatehouse_local.process import Server, Supervisor
from gatehouse_local.programs import PROGRAMS

__all__ = ["INITIALIZER", "KServe", "gone", "kserve", "wait_gone"]

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


@contextlib.contextmanager
def kserve() -> Iterator[KServe]:
    """A control plane with KServe and Gatehouse's kinds and policies, for as long as the block lasts."""
    programs = Binaries().obtain([SERVICES, LLM_SERVICES])
    module = _module()
    home = Path(tempfile.mkdtemp(prefix="gatehouse-kserve-"))
    supervisor = Supervisor(run=home / "run", logs=home / "logs")
    certificate = ensure_certificate(home / "certificates", authority="gatehouse-tests-kserve")
    ports = {name: free_port() for name in programs}
    try:
        with ephemeral.control_plane(bare=True) as plane, contextlib.closing(plane.client()) as client:
            _kinds(client, module, conversion=_at(ports[LLM_SERVICES], "/convert", certificate))
            install_kinds(client)
            _settings(client, module)
            for name, program in programs.items():
                supervisor.ensure(
                    _manager(home / name, name, program, plane, port=ports[name], certificate=certificate)
                )
            try:
                _adapt(client, module, ports=ports, certificate=certificate)
                yield KServe(plane=plane, log=supervisor.log_file(SERVICES))
            finally:
                for name in programs:
                    supervisor.stop(name)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _module() -> Path:
    """The folder of the release's Go module; fetched where it is not there yet."""
    go = find_go(cache=default_cache(), environ=os.environ, progress=Silent())
    found = subprocess.run(
        [go.program, "mod", "download", "-json", f"github.com/kserve/kserve@{VERSION}"],
        cwd=CHECKOUT / "hack/controlplane" / "kserve",
        env={**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(json.loads(found.stdout)["Dir"])


def _documents(path: Path) -> list[Manifest]:
    return [body for body in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if body]


def _kinds(client: KubeClient, module: Path, *, conversion: Mapping[str, Any]) -> None:
    """The full kinds that these managers know. The cache of models stays as Gatehouse has its kinds in miniature."""
    files = sorted((module / "config" / "crd" / "full").rglob("serving.kserve.io_*.yaml"))
    bodies = [body for file in files for body in _documents(file)]
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


def _manager(
    home: Path, name: str, program: Path, plane: RunningControlPlane, *, port: int, certificate: ServingCertificate
) -> Server:
    health, metrics = free_port(), free_port()
    # Where controller-runtime looks for them: below the folder for temporary files.
    served = home / "k8s-webhook-server" / "serving-certs"
    served.mkdir(parents=True)
    shutil.copy(certificate.certificate, served / "tls.crt")
    shutil.copy(certificate.key, served / "tls.key")
    return Server(
        name=name,
        argv=(
            str(program),
            f"--webhook-port={port}",
            f"--health-probe-addr=127.0.0.1:{health}",
            f"--metrics-addr=127.0.0.1:{metrics}",
        ),
        env={
            "KUBECONFIG": str(plane.kubeconfig),
            "POD_NAMESPACE": NAMESPACE,
            "TMPDIR": str(home),
            # The presets have the names of the manifests, without a release in front of them.
            "LLM_INFERENCE_SERVICE_VERSIONED_CONFIG": "false",
        },
        ready=http_ready(health, "/readyz"),
    )


def _at(port: int, path: str, certificate: ServingCertificate) -> Mapping[str, Any]:
    authority = b64encode(certificate.authority.read_bytes()).decode()
    return {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}


def _adapt(client: KubeClient, module: Path, *, ports: Mapping[str, int], certificate: ServingCertificate) -> None:
    """KServe's webhooks at the addresses of the managers, and what its second manager merges into its services."""
    folder = module / "config" / "webhook"
    for name, file in ((SERVICES, folder / "manifests.yaml"), (LLM_SERVICES, folder / "llmisvc" / "manifests.yaml")):
        for body in _documents(file):
            body["metadata"].pop("creationTimestamp", None)
            for webhook in body["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                webhook["clientConfig"] = _at(ports[name], path, certificate)
                webhook["admissionReviewVersions"] = ["v1", "v1beta1"]
            client.apply(body)
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
