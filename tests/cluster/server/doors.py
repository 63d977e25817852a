"""A world with a running operator and server, and the people who call the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_registry import ModelRegistry

from cluster.rig import Operator, until
from cluster.server.processes import ServerProcess, make_account
from cluster.tokens import account_kubeconfig
from cluster.world import World, make_world
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

__all__ = ["CATALOG", "V1", "V3", "Doors", "open_doors"]

V3, V1 = "/api/model_registry/v1alpha3", "/api/model_registry/v1"
CATALOG = "/api/model_catalog/v1alpha1"


@dataclass
class Doors:
    """The parts, with tokens of a person who may submit and of a person who may read."""

    world: World
    operator: Operator
    server: ServerProcess
    submitter: str
    viewer: str

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, token: str) -> ModelRegistry:
        """The real client of Kubeflow."""
        return ModelRegistry(
            self.url,
            author="ann",
            user_token=token,
            log_level=40,
            # By default the client patches asyncio of the whole process, and leaves its loop open.
            async_runner=asyncio.run,
        )


@contextlib.contextmanager
def open_doors(
    plane: RunningControlPlane,
    endpoint: S3Endpoint,
    operator: Operator,
    folder: Path,
    *,
    database: LocalDatabase | None = None,
) -> Iterator[Doors]:
    """The doors of a fresh world with one uploaded artifact, ``granite-1/``."""
    with make_world(plane, endpoint, database=database, interval="1s") as world:
        world.upload()
        defaults = {"namespace": world.namespace, "hardwareProfileRef": "nvidia-l4"}
        world.apply(world.registry(defaults=defaults))
        world.final("registry", kind="ModelRegistry")
        make_account(world.kube, world.namespace, "server", "gatehouse-server", everywhere=True)
        if database is not None:
            make_account(world.kube, world.namespace, "server", "gatehouse-registry-secrets")
        kubeconfig = account_kubeconfig(plane, world.namespace, "server", folder=folder)
        arguments = [f"--registry={world.namespace}/registry", f"--data-dir={operator.data_dir}"]
        with contextlib.closing(ServerProcess(folder, kubeconfig, *arguments)) as server:
            until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)
            yield Doors(
                world=world,
                operator=operator,
                server=server,
                submitter=make_account(world.kube, world.namespace, "submitter", "gatehouse-submitter"),
                viewer=make_account(world.kube, world.namespace, "viewer", "gatehouse-viewer"),
            )
