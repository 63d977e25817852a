"""A node that serves models: KServe, a gateway, Prometheus and Gatehouse with its admission, all of them real.

KServe, Traefik and Prometheus are processes of this machine beside the node. Gatehouse, the object store and the models
are Pods; where vLLM would run, there is the stand-in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from cluster.status import Manifest
from e2e.installation import READY, Installation
from e2e.kserve_manager import install_kserve, managed
from e2e.machine import SERVING_IMAGES, Machine, until
from gatehouse.install.shipped_files import documents
from gatehouse.printing.progress import Silent
from gatehouse_local.accounts import PROGRAMS_NAMESPACE, account_kubeconfig
from gatehouse_local.binaries import Binaries, default_cache
from gatehouse_local.cluster import LocalCluster
from gatehouse_local.gateway import GATEWAY_MODULE, GATEWAY_PROGRAM, Gateway, gateway_objects, gateway_rights
from gatehouse_local.golang import find_go, module_source
from gatehouse_local.images.images import Images
from gatehouse_local.images.recipes import RECIPES
from gatehouse_local.kube import KubeClient
from gatehouse_local.miniature import miniature_granite
from gatehouse_local.net import free_port
from gatehouse_local.node.network import HOST_ADDRESS
from gatehouse_local.node.objects import NODE_NAME
from gatehouse_local.process import Supervisor
from gatehouse_local.programs import PROGRAMS
from gatehouse_local.prometheus import PROMETHEUS_PROGRAM, Prometheus, prometheus_rights
from gatehouse_local.standin.behaviour import KEY

__all__ = ["GATEWAY", "MODEL", "NAMESPACE", "SERVED", "STAGE", "Serving", "serving"]

MODEL: Final = "granite"
SERVED: Final = "granite"
STAGE: Final = "staging"
NAMESPACE: Final = "chatbots"
GATEWAY: Final = "public"
PROFILE: Final = "small-l4"
IMAGES: Final = ("gatehouse", "minio", *SERVING_IMAGES)
_GPUS: Final = "8"
"""Of the pretended ones: as many revisions may run at a time."""
NAMESPACE_OF_GATEHOUSE: Final = "gatehouse-system"
_INTERVAL: Final = 1
_MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The node and what runs on it and beside it."""

    node: Machine
    installation: Installation
    gateway: Gateway
    prometheus: Prometheus

    def version(self, name: str, *, seed: int, misbehaving: Mapping[str, Any] | None = None) -> str:
        """A version that is Ready to Deploy; its digest. ``misbehaving`` is what the stand-in does with its files."""
        files = miniature_granite(seed=seed)
        config = json.loads(files["generation_config.json"])
        files["generation_config.json"] = json.dumps(config | {KEY: dict(misbehaving or {})}).encode()
        with tempfile.TemporaryDirectory() as folder:
            for file, content in files.items():
                (Path(folder) / file).write_bytes(content)
            uri = f"s3://models/{name}/"
            self.installation.gatehouse("upload", folder, uri, env=self.installation.store("minio", "minio-uploader"))
        self.node.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "ModelVersion",
                "metadata": {"name": name, "namespace": self.installation.models},
                "spec": {
                    "modelRef": {"name": MODEL},
                    "version": name,
                    "artifact": {"uri": uri, "format": "safetensors", "quantization": "FP8-dynamic"},
                    "hardwareProfileRef": {"name": PROFILE},
                    "runtime": "vLLM",
                    "serving": {"maxModelLen": 16384},
                    "lineage": {"baseModel": "ibm-granite/granite-3.1-8b-instruct"},
                },
            }
        )
        return str(self.installation.wait_phase(READY, name)["artifact"]["digest"])

    def deploy(self, name: str, version: str, **spec: Any) -> None:
        """A ModelDeployment of the version."""
        self.node.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "modelRef": {"name": MODEL, "namespace": self.installation.models},
                    "versionRef": {"name": version},
                    "servedName": SERVED,
                    "progressDeadline": "3m",
                    **spec,
                },
            }
        )

    def annotate(self, name: str, **values: str) -> None:
        """Annotations of Gatehouse on a deployment; ``_`` stands for a dash."""
        said = [f"gatehouse.dev/{key.replace('_', '-')}={value}" for key, value in values.items()]
        self.node.kubectl("annotate", "modeldeployment", name, f"--namespace={NAMESPACE}", "--overwrite", *said)

    def paused(self, name: str, step: int) -> Manifest:
        """The deployment as soon as it waits at a step."""

        def waits(status: Manifest) -> bool:
            at = ((status.get("canary") or {}).get("step") or {}).get("index")
            return (status.get("phase"), at) == ("Paused", step)

        return self.wait_deployment(name, waits)

    def resume(self, name: str, step: int) -> None:
        """Lets a deployment go on that waits at a step."""
        self.annotate(name, resume=f"{self.paused(name, step)['status']['canary']['revision']}/{step}")

    def kill_operator(self) -> None:
        """Kills the operator's process at once."""
        where = f"--namespace={NAMESPACE_OF_GATEHOUSE}"
        self.node.kubectl(
            "delete",
            "pods",
            where,
            "--selector=app.kubernetes.io/name=gatehouse-operator",
            "--grace-period=0",
            "--force",
        )

    def wait_healthy(self, name: str, version: str, *, seconds: int = 120) -> Manifest:
        """The deployment as soon as it runs the version."""
        return self.wait_deployment(
            name,
            lambda status: status.get("phase") == "Healthy" and (status.get("stable") or {}).get("version") == version,
            seconds=seconds,
        )

    def wait_deployment(self, name: str, holds: Any, *, seconds: int = 120) -> Manifest:
        """The deployment as soon as its status holds."""

        def asked() -> Manifest | None:
            found: Manifest = self.node.get("modeldeployment", name, f"--namespace={NAMESPACE}")
            return found if holds(found.get("status", {})) else None

        try:
            return until(asked, seconds=seconds, pause=0.5)
        except AssertionError:
            raise AssertionError(self._told(name)) from None

    def query(self, expression: str) -> list[Manifest]:
        """What Prometheus answers."""
        url = f"{self.prometheus.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            found: list[Manifest] = json.load(answer)["data"]["result"]
        return found

    def _told(self, name: str) -> str:
        """What helps when a deployment does not get where it should."""
        where = f"--namespace={NAMESPACE}"
        return "\n".join(
            (
                json.dumps(self.node.get("modeldeployment", name, where).get("status", {}), indent=1),
                self.node.kubectl("get", "inferenceservices,deployments,pods", where, "--output=wide"),
                self.node.kubectl("get", "events", where, "--sort-by=.lastTimestamp"),
            )
        )


@contextlib.contextmanager
def serving() -> Iterator[Serving]:
    """All of it on a node of its own, for as long as the block lasts."""
    # Pods of any user read below it, and pytest's own folders are closed to them.
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-serving-"))
    cluster = LocalCluster(folder / "cluster")
    programs = Binaries().obtain([GATEWAY_PROGRAM, PROMETHEUS_PROGRAM])
    archives = Images().obtain(IMAGES)
    try:
        cluster.up(bare=True, node=True, gpu=True, operator=False)
        node = Machine(cluster)
        node.load(archives)
        with (
            contextlib.closing(cluster.client()) as client,
            _kserve(client, node),
            _beside(client, node, programs, folder=folder) as (gateway, prometheus),
        ):
            _more_gpus(client)
            installation = Installation(node=node, overlay="embedded")
            installation.deploy()
            _furnish(installation)
            _connect(node, prometheus)
            yield Serving(node=node, installation=installation, gateway=gateway, prometheus=prometheus)
    finally:
        cluster.down(purge=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _kserve(client: KubeClient, node: Machine) -> Iterator[None]:
    install_kserve(client)
    with managed(client, kubeconfig=node.kubeconfig):
        yield


@contextlib.contextmanager
def _beside(
    client: KubeClient, node: Machine, programs: Mapping[str, Path], *, folder: Path
) -> Iterator[tuple[Gateway, Prometheus]]:
    """The gateway with its kinds, and Prometheus, where Pods reach both."""
    plane = yaml.safe_load(node.kubeconfig.read_text())["clusters"][0]["cluster"]
    url, authority = plane["server"], Path(plane["certificate-authority"])

    def kubeconfig(name: str) -> Path:
        return account_kubeconfig(client, name, url=url, authority=authority, path=folder / f"{name}.kubeconfig")

    _gateway_kinds(client)
    for rights in (gateway_rights, prometheus_rights):
        account = GATEWAY_PROGRAM if rights is gateway_rights else PROMETHEUS_PROGRAM
        for manifest in rights(account=account, namespace=PROGRAMS_NAMESPACE):
            client.apply(manifest)
    port = free_port()
    gateway = Gateway(
        folder / GATEWAY_PROGRAM,
        program=programs[GATEWAY_PROGRAM],
        kubeconfig=kubeconfig(GATEWAY_PROGRAM),
        port=port,
        ping_port=free_port(avoid=frozenset({port})),
        address=HOST_ADDRESS,
    )
    prometheus = Prometheus(
        folder / PROMETHEUS_PROGRAM,
        program=programs[PROMETHEUS_PROGRAM],
        kubeconfig=kubeconfig(PROMETHEUS_PROGRAM),
        port=free_port(avoid=frozenset({port})),
        address=HOST_ADDRESS,
        interval=_INTERVAL,
    )
    supervisor = Supervisor(run=folder / "run", logs=folder / "logs")
    try:
        for server in (gateway.server(), prometheus.server()):
            supervisor.ensure(server)
        for manifest in gateway_objects(GATEWAY, namespace=PROGRAMS_NAMESPACE, port=port):
            client.apply(manifest)
        node.wait(PROGRAMS_NAMESPACE, f"gateway/{GATEWAY}", "condition=Programmed")
        yield gateway, prometheus
    finally:
        for name in supervisor.records():
            supervisor.stop(name)


def _gateway_kinds(client: KubeClient) -> None:
    """The kinds of the standard channel, of the version that the gateway is built with."""
    go = find_go(cache=default_cache(), environ=os.environ, progress=Silent())
    module = module_source(GATEWAY_MODULE, of=PROGRAMS[GATEWAY_PROGRAM], go=go)
    files = sorted((module / "config" / "crd" / "standard").glob("*.yaml"))
    bodies = [body for file in files for body in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader) if body]
    kinds = [body for body in bodies if body["kind"] == "CustomResourceDefinition"]
    client.wait_served([client.apply({key: kind[key] for key in kind if key != "status"}) for kind in kinds])


def _more_gpus(client: KubeClient) -> None:
    count = {"nvidia.com/gpu": _GPUS}
    patch = {"status": {"capacity": count, "allocatable": count}}
    client.request("PATCH", f"/api/v1/nodes/{NODE_NAME}/status", patch, content_type=_MERGE)


def _connect(node: Machine, prometheus: Prometheus) -> None:
    """Tells the operator of the gateway and of Prometheus."""
    where = f"--namespace={NAMESPACE_OF_GATEHOUSE}"
    node.kubectl(
        *("set", "env", "deployment/gatehouse-operator", where, "--containers=operator"),
        f"GATEHOUSE_DEPLOYMENT_GATEWAY={PROGRAMS_NAMESPACE}/{GATEWAY}",
        f"GATEHOUSE_PROMETHEUS_ADDRESS={prometheus.url}",
    )
    node.kubectl("rollout", "status", "deployment/gatehouse-operator", where, "--timeout=120s")


def _furnish(installation: Installation) -> None:
    """A model, the hardware that this node has room for, the stand-in as the registry's image, and a stage."""
    node = installation.node
    image = {"spec": {"serving": {"vllmImage": RECIPES["vllm-standin"].reference}}}
    where = f"--namespace={installation.models}"
    node.kubectl("patch", "modelregistry", "model-registry", where, "--type=merge", f"--patch={json.dumps(image)}")
    [profile] = (each for each in documents("manifests/hardware") if each["metadata"]["name"] == "nvidia-l4")
    asked = {"cpu": "20m", "memory": "64Mi"}
    resources = {"requests": asked, "limits": {"cpu": "2", "memory": "512Mi"}}
    node.apply(
        {**profile, "metadata": {"name": PROFILE}, "spec": {**profile["spec"], "resources": resources}},
        {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "RegisteredModel",
            "metadata": {"name": MODEL, "namespace": installation.models},
            "spec": {
                "displayName": "Granite",
                "description": "A miniature.",
                "license": "Apache-2.0",
                # One other person approves production; the stage here is before it.
                "riskTier": "Medium",
                "tasks": ["text-generation"],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"gatehouse.dev/stage": STAGE}},
        },
    )
    installation.gatehouse(
        *("connection", "create", "--registry=model-registry/model-registry", f"--namespace={NAMESPACE}"),
        "--credentials-secret=minio/minio-serving",
    )
