"""An overlay on the node, and what a user does with it."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.machine import Machine
from gatehouse.install.shipped_files import documents
from gatehouse_local.miniature import miniature_granite
from openshift import ROUTES, route_kind, serving_certificate
from storeaccess import allowed

__all__ = ["COMPLETE", "CONNECTIONS", "MODEL", "OPERATOR", "READY", "SEEDED", "VERSION", "Installation", "Phases"]

OPERATOR = ("--namespace=gatehouse-system", "--selector=app.kubernetes.io/name=gatehouse-operator")
MODEL = "granite-3.1-8b-instruct-fp8"
VERSION = "granite-3.1-8b-instruct-fp8-3.1-may2025-validated"
ARTIFACT_URI = "s3://models/granite-3.1-8b-instruct-FP8-dynamic/"
ARTIFACT_KEY = f"{ARTIFACT_URI.removeprefix('s3://models/')}config.json"
"""An object that is there once a miniature was uploaded."""
COMPLETE = "Model Registration Complete"
READY = "Ready to Deploy"
CONNECTIONS = {
    "rhoai": ("rhoai-model-registries", "minio-connection"),
    "postgres": ("model-registry", "model-registry-s3"),
    "embedded": ("model-registry", "minio-connection"),
}
"""Namespace and name of the Secret that the registry reads its store with."""
SEEDED = {"rhoai": "rhoai-model-registries", "postgres": "model-registry", "embedded": "model-registry"}
"""The namespace of the seed's Job."""
SERVERS = {
    "rhoai": ("rhoai-model-registries", "private-ai-registry", "https-api"),
    "postgres": ("gatehouse-system", "gatehouse-server", "http-api"),
    "embedded": ("gatehouse-system", "gatehouse-server", "http-api"),
}
"""Namespace and name of the Service of the REST server, and its port."""
CERTIFICATE = "private-ai-registry-tls"
"""The Secret with the certificate of the Service, which OpenShift makes."""
MODEL_NAMESPACES = {"rhoai": "private-ai", "postgres": "model-registry", "embedded": "model-registry"}


@dataclass(kw_only=True)
class Installation:
    """One overlay with MinIO beside it, driven by the `gatehouse` command."""

    node: Machine
    overlay: str

    @property
    def models(self) -> str:
        """The namespace of the seed's models."""
        return MODEL_NAMESPACES[self.overlay]

    def gatehouse(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """What the command prints on stdout; fails unless it ends with the code."""
        done = subprocess.run(
            [sys.executable, "-m", "gatehouse", *arguments],
            env={**os.environ, "KUBECONFIG": str(self.node.kubeconfig), **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (
            f"gatehouse {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def shell(self, script: str) -> str:
        """What a script of the docs prints, with this installation's names; fails when the script does."""
        folders = [str(self.node.kubectl_program.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
        names = {"VERSION": VERSION, "NAMESPACE": self.models, "REGISTRY_NAMESPACE": SEEDED[self.overlay]}
        done = subprocess.run(
            ["bash", "-euc", script],
            env={**os.environ, **names, "PATH": os.pathsep.join(folders), "KUBECONFIG": str(self.node.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def deploy(self) -> str:
        """Install or upgrade. The overlay rhoai finds what OpenShift would give."""
        if self.overlay == "rhoai":
            namespace, service, _ = SERVERS[self.overlay]
            self.node.apply(route_kind())
            there = ("get", "secret", CERTIFICATE, f"--namespace={namespace}", "--output=name", "--ignore-not-found")
            if not self.node.kubectl(*there):
                self.node.apply(*serving_certificate(namespace, service, secret=CERTIFICATE, clients="minio"))
            self.node.wait(namespace, f"crd/{ROUTES}", "condition=Established")
        return self.gatehouse("deploy", self.overlay, "--object-store", "minio")

    def undeploy(self, *options: str) -> str:
        """Take it off, and with the data what OpenShift would take away."""
        if self.overlay == "rhoai" and "--delete-data" in options:
            where = f"--namespace={SERVERS[self.overlay][0]}"
            self.node.kubectl("delete", "secret", CERTIFICATE, where, "--ignore-not-found")
        said = self.gatehouse("undeploy", self.overlay, "--object-store", "minio", *options)
        if self.overlay == "rhoai" and "--delete-data" in options:
            self.node.kubectl("delete", "crd", ROUTES, "--ignore-not-found")
        return said

    def rest(self, path: str, *, token: str = "") -> tuple[int, Any]:
        """The answer of the REST server, reached by its Service as dashboards find it."""
        namespace, name, port = SERVERS[self.overlay]
        spec = self.node.get("service", name, f"--namespace={namespace}")["spec"]
        [number] = [each["port"] for each in spec["ports"] if each["name"] == port]
        scheme = port.partition("-")[0]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"{scheme}://{spec['clusterIP']}:{number}{path}", headers=headers)  # noqa: S310
        context = ssl.create_default_context()
        # Its name is that of the Service, and its authority is one of the tests.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=30, context=context if scheme == "https" else None
            ) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def token(self, account: str, *roles: str) -> str:
        """A token of a new account that has roles in the namespace of the models."""
        where = f"--namespace={self.models}"
        self.node.kubectl("create", "serviceaccount", account, where)
        for role in roles:
            subject = f"--serviceaccount={self.models}:{account}"
            self.node.kubectl("create", "rolebinding", f"{account}-{role}", where, f"--clusterrole={role}", subject)
        return self.node.kubectl("create", "token", account, where).strip()

    def upload(self, folder: Path, uri: str = ARTIFACT_URI, *, label: str = "") -> str:
        """Put a miniature of the model into the cluster's MinIO, as its owner would."""
        folder.mkdir(exist_ok=True)
        for name, content in miniature_granite().items():
            (folder / name).write_bytes(content)
        (folder / "README.md").write_text(f"# A miniature {label}\n")
        return self.gatehouse("upload", str(folder), uri, env=self.store("minio", "minio-uploader"))

    def store(self, namespace: str, secret: str) -> dict[str, str]:
        """The variables with which S3 clients find the cluster's MinIO, as the user whose key a Secret has."""
        service = self.node.get("service", "minio", "--namespace=minio")
        data = self.node.get("secret", secret, f"--namespace={namespace}")["data"]
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return {
            "AWS_ENDPOINT_URL": f"http://{service['spec']['clusterIP']}:9000",
            "AWS_REGION": "us-east-1",
            **{key: base64.b64decode(data[key]).decode() for key in keys},
        }

    def may(self, namespace: str, secret: str, *, key: str = ARTIFACT_KEY) -> set[str]:
        """What the user whose key a Secret has is let do in the cluster's MinIO."""
        return allowed(self.store(namespace, secret), bucket="models", key=key)

    def version(self, name: str = VERSION) -> dict[str, Any]:
        """A version's status."""
        found: dict[str, Any] = self.node.get("modelversion", name, f"--namespace={self.models}")
        return found.get("status", {})

    def look_again(self, name: str = VERSION) -> str:
        """Ask for a reconcile now, as the docs tell; what it is told apart by."""
        asked = os.urandom(4).hex()
        annotation = f"gatehouse.dev/reconcile-requested-at={asked}"
        self.node.kubectl("annotate", "modelversion", name, f"--namespace={self.models}", "--overwrite", annotation)
        return asked

    def wait_handled(self, asked: str, name: str = VERSION) -> None:
        """Wait until somebody looked as asked."""
        handled = f"jsonpath={{.status.lastHandledReconcileAt}}={asked}"
        self.node.wait(self.models, f"modelversion/{name}", handled)

    def wait_phase(self, phase: str, name: str = VERSION, *, seconds: int = 90) -> dict[str, Any]:
        """Wait for a phase."""
        try:
            self.node.wait(self.models, f"modelversion/{name}", f"jsonpath={{.status.phase}}={phase}", seconds=seconds)
        except AssertionError as error:
            shut = [gate for gate in self.version(name).get("gates", ()) if not gate["open"]]
            raise AssertionError(f"{json.dumps(shut, indent=2)}\n{error}") from None
        return self.version(name)

    def wait_counted(self, *, seconds: int = 30) -> None:
        """Wait until the seed's model counts its ready version: the last that the operator writes by itself."""
        latest = f"jsonpath={{.status.latestReady}}={VERSION}"
        self.node.wait(self.models, f"registeredmodel/{MODEL}", latest, seconds=seconds)

    def submit(self, name: str, uri: str) -> None:
        """Another version of the seed's model, as the seed has it: the default policies ask the same of both."""
        [seed] = (body for body in documents("manifests/seed") if body["kind"] == "ModelVersion")
        spec = {**seed["spec"], "version": name, "artifact": {**seed["spec"]["artifact"], "uri": uri}}
        self.node.apply({**seed, "metadata": {"name": name, "namespace": self.models}, "spec": spec})

    def leader(self) -> str:
        """The name of the Pod that leads."""
        lease = self.node.get("lease", "gatehouse-operator", "--namespace=gatehouse-system")
        return str(lease["spec"]["holderIdentity"]).rpartition("_")[0]

    def wait_operator(self) -> None:
        """Wait until the operator's Deployment is as wanted."""
        self.node.kubectl(
            "rollout", "status", "deployment/gatehouse-operator", "--namespace=gatehouse-system", "--timeout=90s"
        )


@dataclass(kw_only=True)
class Phases:
    """Every phase that a watch saw, by version."""

    seen: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def watched(cls, node: Machine, namespace: str) -> Iterator[Phases]:
        """Watch for as long as the block lasts."""
        phases = cls()
        columns = r"jsonpath={.metadata.name}{'='}{.status.phase}{'\n'}"
        started = threading.Event()
        with subprocess.Popen(
            [
                str(node.kubectl_program),
                "get",
                "modelversions",
                f"--namespace={namespace}",
                "--watch",
                "--output",
                columns,
            ],
            env={**os.environ, "KUBECONFIG": str(node.kubeconfig)},
            stdout=subprocess.PIPE,
            text=True,
        ) as watch:
            reader = threading.Thread(target=phases._read, args=(watch, started.set))
            reader.start()
            try:
                assert started.wait(30), "the watch shows nothing"
                yield phases
                assert watch.poll() is None, "the watch ended before the test did"
            finally:
                watch.terminate()
                reader.join()

    def _read(self, watch: subprocess.Popen[str], started: Callable[[], None]) -> None:
        for line in watch.stdout or ():
            name, _, phase = line.strip().partition("=")
            self.seen.setdefault(name, []).append(phase)
            started()
