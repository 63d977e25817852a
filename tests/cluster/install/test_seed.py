"""`gatehouse seed` on the real API server, with the rights of its Job and no others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.account import Right, account
from cluster.rig import Operator, until
from cluster.servers import Restartable, available, restartable_mariadb
from cluster.status import Manifest
from cluster.world import MINIATURE, World, make_world
from gatehouse.cli.main import app
from gatehouse.install.shipped_files import documents
from gatehouse_local import ephemeral
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.install import install_kinds
from gatehouse_local.net import LOOPBACK, free_port
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.s3 import S3Endpoint

MODEL = "granite-3.1-8b-instruct-fp8"
VERSION = f"{MODEL}-3.1-may2025-validated"
PREFIX = "granite-3.1-8b-instruct-FP8-dynamic"
COMPLETE = "Model Registration Complete"
RIGHTS = (
    Right("create", "hardwareprofiles", cluster=True),
    Right("patch", "hardwareprofiles", cluster=True),
    *(Right(verb, kind) for kind in ("registeredmodels", "modelversions") for verb in ("get", "create", "patch")),
)
"""What the Job needs, and all of it."""


class Seed:
    """`gatehouse seed` as a process, with what it says."""

    def __init__(self, process: subprocess.Popen[bytes], stdout: Path, stderr: Path) -> None:
        self.process = process
        self.stdout = stdout
        self.stderr = stderr

    def says(self, words: str) -> None:
        """Returns when it has said this on stderr."""
        until(lambda: words in self.stderr.read_text(), what=lambda: f"{words!r} is not in: {self.said()}")

    def said(self) -> str:
        """Everything."""
        return self.stdout.read_text() + self.stderr.read_text()

    def ended(self) -> int:
        """Its exit code."""
        until(lambda: self.process.poll() is not None, what=lambda: f"it has not ended: {self.said()}")
        return self.process.returncode


class Seeds:
    """Starts seeds, with nothing of our environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Seed] = []

    def __call__(self, kubeconfig: Path, *arguments: str) -> Seed:
        stdout, stderr = (self._folder / f"{len(self._started)}.{stream}" for stream in ("out", "err"))
        kept = ("PATH", "HOME", "PYTHON", "COVERAGE_")
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "gatehouse", "seed", f"--kubeconfig={kubeconfig}", *arguments],
                stdout=out,
                stderr=err,
                env={name: value for name, value in os.environ.items() if name.startswith(kept)},
                cwd="/",
            )
        self._started.append(Seed(process, stdout, stderr))
        return self._started[-1]

    def close(self) -> None:
        """Ends those that still run."""
        for seed in self._started:
            seed.process.kill()
            seed.process.wait(10)


@pytest.fixture
def seed(tmp_path: Path) -> Iterator[Seeds]:
    with contextlib.closing(Seeds(tmp_path)) as seeds:
        yield seeds


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    """A namespace with a registry that keeps what is below s3://models/."""
    with make_world(installed, minio) as made:
        bucket(made)
        made.apply(registry(made))
        yield made


@pytest.fixture
def kubeconfig(installed: RunningControlPlane, world: World, tmp_path: Path) -> Iterator[Path]:
    with account(installed, world.namespace, RIGHTS, tmp_path) as made:
        yield made


def bucket(world: World) -> None:
    """An empty bucket ``models``."""
    names = {each["Name"] for each in world.store.list_buckets()["Buckets"]}
    if "models" not in names:
        world.store.create_bucket(Bucket="models")
    for each in world.store.list_objects_v2(Bucket="models").get("Contents", []):
        world.store.delete_object(Bucket="models", Key=each["Key"])


def upload(world: World) -> None:
    for name, content in MINIATURE.items():
        world.store.put_object(Bucket="models", Key=f"{PREFIX}/{name}", Body=content)


def registry(world: World, **spec: object) -> Manifest:
    return world.registry(objectStores=[world.object_store(uriPrefix="s3://models/")], **spec)


def into(world: World) -> tuple[str, ...]:
    return (f"--namespace={world.namespace}", f"--registry={world.namespace}/registry")


def spec_of(world: World, kind: str, name: str) -> Manifest:
    body = world.get(kind, name)
    assert body is not None
    spec: Manifest = body["spec"]
    return spec


def revisions(world: World) -> dict[str, str]:
    """resourceVersion of everything that is seeded, but of the profile in whose status versions are counted."""
    found = {
        name: world.get(kind, name)
        for kind, name in (
            ("RegisteredModel", MODEL),
            ("ModelVersion", VERSION),
            *(("HardwareProfile", each["metadata"]["name"]) for each in documents("manifests/hardware")),
        )
        if name != "nvidia-l4"
    }
    return {name: body["metadata"]["resourceVersion"] for name, body in found.items() if body is not None}


def managers(body: Manifest | None) -> set[str]:
    assert body is not None
    return {entry["manager"] for entry in body["metadata"]["managedFields"]}


def test_the_shipped_model_is_registered_before_its_files_are_there(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    done = seed(kubeconfig, *into(world))
    assert done.ended() == 0, done.said()
    lines = done.stdout.read_text().splitlines()
    [row] = world.rows(operator)
    assert lines[0].split() == ["MODEL", "VERSION", "STATUS", "HARDWARE", "RUNTIME", "ID"]
    assert re.split(" {3,}", lines[1]) == [
        "Granite-3.1-8b-Instruct-FP8",
        "3.1-May2025-Validated",
        "Artifact Missing",
        "nvidia-l4",
        "vLLM",
        str(row["id"]),
    ]
    assert f"upload it: gatehouse upload DIR s3://models/{PREFIX}/" in done.stdout.read_text()
    assert lines[-1] == COMPLETE
    assert (row["version"], row["phase"]) == ("3.1-May2025-Validated", "Artifact Missing")
    model, version = world.get("RegisteredModel", MODEL), world.get("ModelVersion", VERSION)
    assert model is not None
    assert version is not None
    assert model["spec"]["displayName"] == "Granite-3.1-8b-Instruct-FP8"
    assert (model["spec"]["provider"], model["spec"]["license"]) == ("IBM", "Apache-2.0")
    assert version["spec"]["artifact"]["uri"] == f"s3://models/{PREFIX}/"
    assert "gatehouse-seed" in managers(model) & managers(version)


def test_a_second_seed_changes_nothing_and_says_the_same(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    first = seed(kubeconfig, *into(world))
    assert first.ended() == 0, first.said()
    world.wait(MODEL, lambda body: body["status"].get("versionsByPhase"), kind="RegisteredModel")
    operator.wait_idle()
    before = revisions(world)
    assert len(before) == 1 + len(list(documents("manifests/hardware")))
    second = seed(kubeconfig, *into(world))
    assert second.ended() == 0, second.said()
    assert revisions(world) == before
    assert second.stdout.read_text() == first.stdout.read_text()


def test_the_seeded_model_becomes_ready_when_its_files_come(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    impatient = seed(kubeconfig, *into(world), "--require-ready", "--timeout=2s")
    assert impatient.ended() == 1
    assert "not done after 2 s" in impatient.said()
    assert f"ArtifactMissing: nothing at s3://models/{PREFIX}/" in impatient.said()
    assert COMPLETE not in impatient.said()
    patient = seed(kubeconfig, *into(world), "--require-ready", "-o", "json")
    patient.says("ArtifactMissing")
    upload(world)
    world.ask(VERSION)
    assert patient.ended() == 0, patient.said()
    [version] = json.loads(patient.stdout.read_text())["versions"]
    assert (version["phase"], version["ready"]) == ("Ready to Deploy", True)
    assert version["registryId"] == str(world.rows(operator)[0]["id"])
    assert COMPLETE in patient.stderr.read_text()


def test_what_a_person_changed_is_kept_and_named(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    assert seed(kubeconfig, *into(world)).ended() == 0
    world.kube.request(
        "PATCH",
        f"{world.path('RegisteredModel', MODEL)}?fieldManager=kubectl-edit",
        # Another licence takes somebody who classifies, and vouches for the tier with it.
        {"spec": {"license": "Proprietary", "riskTier": "Medium", "classifiedBy": "admin", "owners": ["me"]}},
        content_type="application/merge-patch+json",
    )
    again = seed(kubeconfig, *into(world))
    assert again.ended() == 0, again.said()
    kept = [line for line in again.stdout.read_text().splitlines() if "stays unchanged" in line]
    assert len(kept) == 1
    assert kept[0].startswith(f"RegisteredModel {world.namespace}/{MODEL} stays unchanged: another field manager set")
    assert "kubectl-edit" in kept[0]
    assert ".spec.license" in kept[0]
    spec = spec_of(world, "RegisteredModel", MODEL)
    assert (spec["license"], spec["owners"]) == ("Proprietary", ["me"])


def test_two_seeds_at_once_make_one_row_each(world: World, operator: Operator, kubeconfig: Path, seed: Seeds) -> None:
    both = [seed(kubeconfig, *into(world)) for _ in range(2)]
    assert [each.ended() for each in both] == [0, 0], [each.said() for each in both]
    assert len(world.rows(operator)) == 1
    assert len(world.rows(operator, "registered_models")) == 1


def test_a_store_that_the_registry_does_not_have_fails_with_reason_and_remedy_and_is_mended(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    world.apply(world.registry())
    failed = seed(kubeconfig, *into(world))
    assert failed.ended() == 1, failed.said()
    assert COMPLETE not in failed.said()
    said = failed.said().splitlines()[-1]
    assert said.startswith(f"error: ModelVersion {world.namespace}/{VERSION} is not registered: UriOutsideRegistry: ")
    assert "put the artifact into one of these stores" in said
    world.apply(registry(world))
    again = seed(kubeconfig, *into(world))
    assert again.ended() == 0, again.said()


def test_a_store_that_does_not_answer_holds_up_no_registration(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    nobody = f"http://{LOOPBACK}:{free_port()}"
    world.apply(world.registry(objectStores=[world.object_store(uriPrefix="s3://models/", endpoint=nobody)]))
    done = seed(kubeconfig, *into(world), "--timeout=15s")
    assert done.ended() == 0, done.said()
    lines = done.stdout.read_text().splitlines()
    [row] = world.rows(operator)
    assert re.split(" {3,}", lines[1])[2::3] == ["Verifying", str(row["id"])]
    assert f"bucket models at {nobody}: no connection" in done.stdout.read_text()
    assert "the store has not answered yet, so the content of" in done.stdout.read_text()
    assert f"if nothing is there, upload it: gatehouse upload DIR s3://models/{PREFIX}/" in done.stdout.read_text()
    assert lines[-1] == COMPLETE


def test_a_store_that_answers_later_is_waited_for_and_the_summary_says_what_is_there(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    nobody = f"http://{LOOPBACK}:{free_port()}"
    world.apply(world.registry(objectStores=[world.object_store(uriPrefix="s3://models/", endpoint=nobody)]))
    waiting = seed(kubeconfig, *into(world))
    waiting.says(f"the operator has not checked the files of ModelVersion {world.namespace}/{VERSION} yet")
    world.apply(registry(world))
    assert waiting.ended() == 0, waiting.said()
    assert "Artifact Missing" in waiting.stdout.read_text()
    assert f"upload it: gatehouse upload DIR s3://models/{PREFIX}/" in waiting.stdout.read_text()


def test_every_right_of_the_job_is_needed(
    installed: RunningControlPlane, world: World, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatehouse.actions.apply.FORBIDDEN_SECONDS", 0.0)
    for missing in RIGHTS:
        for kind in ("RegisteredModel", "ModelVersion"):
            for body in world.all(kind):
                world.delete(kind, body["metadata"]["name"])
        # Profiles are of the whole cluster, so one of our own takes their place.
        folder = tmp_path / f"{missing.verb}-{missing.resource}"
        folder.mkdir()
        profile = {**next(documents("manifests/hardware")), "metadata": {"name": f"{world.namespace}-{missing.verb}"}}
        (folder / "profile.yaml").write_text(json.dumps(profile))
        for body in documents("manifests/seed"):
            (folder / f"{body['kind']}.yaml").write_text(json.dumps(body))
        rights = [right for right in RIGHTS if right != missing]
        with account(installed, world.namespace, rights, tmp_path) as weaker:
            said = CliRunner().invoke(
                app, ["seed", f"--kubeconfig={weaker}", f"--manifests={folder}", "--no-profiles", *into(world)]
            )
        assert said.exit_code == 2, (missing, said.output)
        assert f'cannot {missing.verb} resource "{missing.resource}"' in said.stderr
        assert "you need get, create, patch on registeredmodels" in said.stderr or missing.verb == "get"


def test_a_field_that_the_cluster_does_not_know_is_refused_at_once(
    world: World, operator: Operator, kubeconfig: Path, tmp_path: Path, seed: Seeds
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    body = {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "RegisteredModel",
        "metadata": {"name": "m", "namespace": "x"},
        "spec": {"displayname": "M"},
    }
    (folder / "model.yaml").write_text(json.dumps(body))
    refused = seed(kubeconfig, f"--manifests={folder}", *into(world))
    assert refused.ended() == 2
    assert "displayname" in refused.said()
    assert f"(from {folder / 'model.yaml'})" in refused.said()


def test_sigterm_ends_it_at_once_and_the_next_one_goes_on(
    world: World, operator: Operator, kubeconfig: Path, seed: Seeds
) -> None:
    world.delete("ModelRegistry", "registry")
    waiting = seed(kubeconfig, *into(world))
    waiting.says("RegistryNotFound")
    waiting.process.send_signal(signal.SIGTERM)
    assert waiting.ended() == 1
    assert "stopped by SIGTERM before the models were registered" in waiting.said()
    assert COMPLETE not in waiting.said()
    world.apply(registry(world))
    again = seed(kubeconfig, *into(world))
    assert again.ended() == 0, again.said()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Restartable, LocalDatabase]]:
    with available(restartable_mariadb()) as found:
        yield found


@pytest.fixture
def on_mariadb(
    server: tuple[Restartable, LocalDatabase], installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> Iterator[World]:
    with make_world(installed, minio, database=server[1]) as made:
        bucket(made)
        yield made


@pytest.fixture
def there(installed: RunningControlPlane, on_mariadb: World, tmp_path: Path) -> Iterator[Path]:
    with account(installed, on_mariadb.namespace, RIGHTS, tmp_path) as made:
        yield made


def test_a_database_that_is_down_is_waited_for_and_named(
    server: tuple[Restartable, LocalDatabase], on_mariadb: World, operator: Operator, there: Path, seed: Seeds
) -> None:
    database, address = server
    database.stop()
    world = on_mariadb
    world.apply(registry(world))
    impatient = seed(there, *into(world), "--timeout=3s")
    assert impatient.ended() == 1
    said = impatient.said().splitlines()[-1]
    assert said.startswith(f"error: not done after 3 s; RegisteredModel {world.namespace}/{MODEL} is not registered")
    assert f"{address.host}:{address.port}" in said
    assert "check the database, and host and port in the ModelRegistry" in said
    patient = seed(there, *into(world))
    patient.says("DatabaseUnavailable")
    database.start()
    assert patient.ended() == 0, patient.said()
    assert len(world.rows(operator)) == 1


def test_wrong_credentials_of_the_database_are_named_and_mended(
    server: tuple[Restartable, LocalDatabase], on_mariadb: World, there: Path, seed: Seeds
) -> None:
    database, address = server
    database.start()
    world, wrong = on_mariadb, f"wrong-{secrets.token_hex(8)}"
    world.secrets(password=wrong)
    world.apply(registry(world))
    failed = seed(there, *into(world), "--timeout=3s")
    assert failed.ended() == 1
    assert "DatabaseAccessDenied" in failed.said()
    assert "correct the password" in failed.said().splitlines()[-1]
    assert wrong not in failed.said()
    assert address.password not in failed.said()
    world.secrets()
    world.ask("registry", kind="ModelRegistry")
    again = seed(there, *into(world))
    assert again.ended() == 0, again.said()


def test_seed_that_comes_first_waits_for_kinds_namespace_operator_and_registry(
    minio: S3Endpoint, tmp_path: Path, seed: Seeds
) -> None:
    with available(ephemeral.control_plane(bare=True)) as plane, contextlib.closing(plane.client()) as kube:
        first = seed(plane.kubeconfig, "--namespace=seeded", "--registry=seeded/registry")
        first.says("waiting: the cluster does not know hardwareprofiles.gatehouse.dev yet")
        install_kinds(kube)
        first.says("waiting: namespace seeded does not exist yet (kubectl create namespace seeded)")
        kube.apply(namespace_manifest())
        with make_world(plane, minio, namespace="seeded") as world:
            bucket(world)
            first.says("the operator has not reconciled it yet")
            with contextlib.closing(Operator(plane, tmp_path)) as operator:
                operator.start()
                first.says("RegistryNotFound")
                world.apply(registry(world))
                assert first.ended() == 0, first.said()
        assert first.stdout.read_text().splitlines()[-1] == COMPLETE
