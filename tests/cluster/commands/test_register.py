"""`gatehouse register` on the real API server, as a pipeline calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from cluster.account import Right, account
from cluster.rig import Operator
from cluster.status import Manifest
from cluster.world import MINIATURE, World, make_world
from gatehouse.cli.main import app
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

RIGHTS = tuple(
    Right(verb, kind) for kind in ("registeredmodels", "modelversions") for verb in ("get", "create", "patch")
)


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    with make_world(installed, minio) as made:
        made.apply(made.registry())
        yield made


@pytest.fixture
def pipeline(installed: RunningControlPlane, world: World, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig with the rights of a pipeline and no others."""
    with account(installed, world.namespace, RIGHTS, tmp_path) as made:
        yield made


class Register:
    """Calls the command for one version in a world."""

    def __init__(self, world: World, kubeconfig: Path) -> None:
        self._world = world
        self._kubeconfig = kubeconfig

    def arguments(self, *more: str, version: str = "1", uri: str | None = None) -> list[str]:
        """The arguments; of an option that is given twice the later one counts."""
        return [
            "register",
            "Granite",
            f"--version={version}",
            f"--uri={uri or self._world.uri('granite-1')}",
            f"--namespace={self._world.namespace}",
            f"--registry={self._world.namespace}/registry",
            f"--kubeconfig={self._kubeconfig}",
            *more,
        ]

    def __call__(self, *more: str, version: str = "1", uri: str | None = None) -> Result:
        return CliRunner().invoke(app, self.arguments(*more, version=version, uri=uri))


@pytest.fixture
def register(world: World, pipeline: Path) -> Register:
    return Register(world, pipeline)


def body(world: World, kind: str, name: str) -> Manifest:
    found = world.get(kind, name)
    assert found is not None
    return found


def test_a_folder_becomes_a_version_that_is_ready(
    world: World, operator: Operator, register: Register, tmp_path: Path
) -> None:
    card = (
        b"---\nlicense: apache-2.0\nlanguage: [en, no]\npipeline_tag: text-generation\nbase_model: ibm/granite\n---\n"
    )
    files = {**MINIATURE, "README.md": card}
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    world.upload("granite-1", files)
    said = register(f"--from={folder}", "--max-model-len=16384", "--owner=me", "--wait=ready", "-o", "json")
    assert said.exit_code == 0, said.output
    model, version = json.loads(said.stdout)["items"]
    assert model["spec"] == {
        "registryRef": {"name": "registry", "namespace": world.namespace},
        "displayName": "Granite",
        "license": "Apache-2.0",
        "tasks": ["text-generation"],
        "languages": ["en", "no"],
        "owners": ["me"],
        "state": "Live",
    }
    assert version["metadata"]["name"] == "granite-1"
    assert "managedFields" not in version["metadata"]
    assert version["status"]["phase"] == "Ready to Deploy"
    assert version["spec"]["artifact"]["quantization"] == "FP8"
    assert version["spec"]["lineage"]["baseModel"] == "ibm/granite"
    assert str(world.rows(operator)[0]["id"]) == version["status"]["registryId"]


def test_registering_again_changes_nothing_and_flags_change_what_they_name(
    world: World, operator: Operator, register: Register
) -> None:
    first = register("--license=MIT", "--wait=registered")
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines() == [
        "registeredmodel.gatehouse.dev/granite created",
        "modelversion.gatehouse.dev/granite-1 created (Artifact Missing)",
    ]
    generations = [body(world, *each)["metadata"]["generation"] for each in OBJECTS]
    again = register("--license=MIT")
    assert again.exit_code == 0, again.output
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["unchanged", "unchanged"]
    assert [body(world, *each)["metadata"]["generation"] for each in OBJECTS] == generations
    # What the first call set and the second does not name stays.
    changed = register("--owner=me", "--max-model-len=8192")
    assert [line.split()[1] for line in changed.stdout.splitlines()] == ["configured", "configured"]
    model = body(world, "RegisteredModel", "granite")
    assert (model["spec"]["license"], model["spec"]["owners"]) == ("MIT", ["me"])
    assert body(world, "ModelVersion", "granite-1")["spec"]["serving"]["maxModelLen"] == 8192


OBJECTS = (("RegisteredModel", "granite"), ("ModelVersion", "granite-1"))


def test_another_artifact_or_digest_for_a_version_is_refused_with_both(
    world: World, operator: Operator, register: Register
) -> None:
    world.upload("granite-1")
    assert register("--wait=ready").exit_code == 0
    digest = body(world, "ModelVersion", "granite-1")["status"]["artifact"]["digest"]
    before = body(world, "ModelVersion", "granite-1")
    other = register(uri=world.uri("granite-2"))
    assert (other.exit_code, other.stdout) == (2, "")
    assert f"of the artifact {world.uri('granite-1')[:-1]}; expected: {world.uri('granite-2')[:-1]}" in other.stderr
    wrong = register(f"--digest=sha256:{'0' * 64}")
    assert wrong.exit_code == 2
    assert f"of the digest {digest}; expected: sha256:{'0' * 64}" in wrong.stderr
    assert body(world, "ModelVersion", "granite-1") == before
    right = register(f"--digest={digest}", "--wait=ready")
    assert right.exit_code == 0, right.output
    assert body(world, "ModelVersion", "granite-1")["spec"]["artifact"]["digest"] == digest


def test_a_model_stays_in_its_registry(world: World, operator: Operator, register: Register) -> None:
    assert register().exit_code == 0
    moved = register("--registry=elsewhere/registry", version="2")
    assert moved.exit_code == 2
    assert f"is in the registry {world.namespace}/registry; expected: elsewhere/registry. " in moved.stderr
    assert world.get("ModelVersion", "granite-2") is None


def test_wait_ends_with_1_and_the_reason(world: World, operator: Operator, register: Register) -> None:
    late = register("--wait=ready", "--timeout=1s")
    assert late.exit_code == 1
    assert "not done after 1 s" in late.stderr
    assert "ArtifactMissing" in late.stderr
    world.upload("granite-2")
    long = register("--wait=ready", "--max-model-len=90000000", version="2", uri=world.uri("granite-2"))
    assert long.exit_code == 1
    assert "is not ready: " in long.stderr
    assert "set spec.serving.maxModelLen to at most" in long.stderr


def test_a_dry_run_in_git_is_what_register_would_make(world: World, operator: Operator, register: Register) -> None:
    printed = register("--dry-run", "-o", "yaml", "--license=MIT")
    assert printed.exit_code == 0, printed.output
    assert world.all("RegisteredModel") == []
    world.apply(*yaml.safe_load_all(printed.stdout))
    made = register("--license=MIT", "-o", "name")
    assert made.stdout.split() == ["registeredmodel.gatehouse.dev/granite", "modelversion.gatehouse.dev/granite-1"]
    assert [body(world, *each)["metadata"]["generation"] for each in OBJECTS] == [1, 1]


def test_two_pipelines_at_once_make_one_model(world: World, operator: Operator, register: Register) -> None:
    commands = [register.arguments("--wait=registered", version=str(number)) for number in range(1, 4)]
    kept = ("PATH", "HOME", "PYTHON", "COVERAGE_")
    env = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "gatehouse", *each], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for each in commands
    ]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert len(world.rows(operator, "registered_models")) == 1
    assert sorted(row["version"] for row in world.rows(operator)) == ["1", "2", "3"]


def test_what_is_refused_is_said_with_2(
    installed: RunningControlPlane, world: World, operator: Operator, register: Register, tmp_path: Path
) -> None:
    nowhere = register("--namespace=nowhere", f"--kubeconfig={installed.kubeconfig}")
    assert nowhere.exit_code == 2
    assert "namespace nowhere does not exist yet (kubectl create namespace nowhere)" in nowhere.stderr
    dots = register(uri="s3://models/../x/")
    assert dots.exit_code == 2
    assert "artifact.uri must not have '.' or '..' as a segment" in dots.stderr
    with account(installed, world.namespace, RIGHTS[:1], tmp_path) as weak:
        forbidden = register(f"--kubeconfig={weak}", "--version=9")
    assert forbidden.exit_code == 2
    assert "cannot create resource" in forbidden.stderr or "cannot get resource" in forbidden.stderr
