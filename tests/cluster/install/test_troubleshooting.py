"""The commands of docs/troubleshooting.md, each on the trouble that it is for: they run, and show what helps."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.rig import Operator
from cluster.status import condition
from cluster.world import World, make_world
from gatehouse_local.binaries import Binaries
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import free_port
from gatehouse_local.s3 import S3Endpoint

REPOSITORY = Path(__file__).parents[3]
DOCUMENT = (REPOSITORY / "docs/troubleshooting.md").read_text()
BINDINGS = REPOSITORY / "kustomize/base/operator/account.yaml"
"""Of the operator's ServiceAccount, as they are installed."""
COMMANDS = re.findall(r"<!-- shows (\w+): (.*?) -->\n```\n(.*?)\n```\n", DOCUMENT, re.DOTALL)
READY = re.findall(r"export READY='(.*)'", DOCUMENT)


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs, for PATH."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "kubectl").symlink_to(Binaries().obtain(["kubectl"])["kubectl"])
    (folder / "gatehouse").write_text(f'#!/bin/sh\nexec {sys.executable} -m gatehouse "$@"\n')
    (folder / "gatehouse").chmod(0o755)
    return folder


def without_secret(world: World) -> None:
    server = {"host": "127.0.0.1", "database": "x", "username": "x", "passwordSecret": {"name": "absent", "key": "x"}}
    world.apply(world.registry(mysql=server))
    world.wait("registry", lambda body: condition(body, "Ready"), kind="ModelRegistry")


def without_database(world: World) -> None:
    secret = {"name": "store", "key": "AWS_SECRET_ACCESS_KEY"}
    server = {"host": "127.0.0.1", "port": free_port(), "database": "x", "username": "x", "passwordSecret": secret}
    world.apply(world.registry(mysql=server))
    world.wait(
        "registry",
        lambda body: (condition(body, "Ready") or {}).get("reason") == "DatabaseUnavailable",
        kind="ModelRegistry",
    )


def without_model(world: World) -> None:
    world.apply(world.registry(), world.model(), world.version(modelRef={"name": "absent"}))
    world.phase("granite-1", "Waiting")


def healthy(world: World) -> None:
    world.upload()
    world.apply(world.registry(), world.model(), world.version())
    world.ready()


@pytest.fixture
def service_account(installed: RunningControlPlane) -> Iterator[None]:
    """The operator's rights for its ServiceAccount: the local control plane gives them to a user."""
    [binding] = [each for each in yaml.safe_load_all(BINDINGS.read_text()) if each["kind"] == "ClusterRoleBinding"]
    binding["metadata"] = {"name": "as-installed"}
    with contextlib.closing(installed.client()) as kube:
        path = kube.path_of(binding)
        kube.apply(binding)
        yield
        kube.request("DELETE", path)


TROUBLES = {
    "registry": without_secret,
    "database": without_database,
    "version": without_model,
    "operator": healthy,
    "refused": healthy,
}


def test_each_trouble_has_commands() -> None:
    assert {trouble for trouble, _, _ in COMMANDS} == TROUBLES.keys()


@pytest.mark.usefixtures("service_account")
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_commands_show_what_helps(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, kubectl: Path, trouble: str
) -> None:
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(make_world(installed, minio))
        TROUBLES[trouble](world)
        environment = {
            "PATH": f"{kubectl}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(kubectl),
            "KUBECONFIG": str(installed.kubeconfig),
            "NAMESPACE": world.namespace,
            "MODEL": "granite",
            "VERSION": "granite-1",
            "REGISTRY": "registry",
            "REGISTRY_NAMESPACE": world.namespace,
            "READY": READY[0],
        }
        for word, command in [(word, command) for found, word, command in COMMANDS if found == trouble]:
            ended = subprocess.run(
                ["bash", "-uc", command], env=environment, capture_output=True, text=True, check=False, timeout=60
            )
            said = ended.stdout + ended.stderr
            assert word in said, (command, said)
            # explain says by its exit code that a version is not ready, can-i that one may not, patch that it failed.
            assert ended.returncode == int("explain" in command or trouble == "refused"), (command, said)
