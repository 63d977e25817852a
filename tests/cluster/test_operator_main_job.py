"""The main job on the real thing: a version is applied and becomes Ready to Deploy, with its row and its template."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml
from cluster.rig import MINIATURE, Operator, World, condition, make_world, until

from gatehouse.local.databases import Database
from gatehouse.local.ephemeral import RunningControlPlane
from gatehouse.local.s3 import S3Endpoint


def submit(world: World) -> None:
    world.upload()
    world.apply(world.registry(), world.model(), world.version())


def sha256sum(folder: Path, files: dict[str, bytes]) -> str:
    """The digest as documented, by the tools that anybody has."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    names = sorted(files, key=str.encode)
    manifest = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True).stdout
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def test_a_version_becomes_ready_with_its_row_and_its_template(
    world: World, operator: Operator, tmp_path: Path
) -> None:
    submit(world)
    version = world.ready()
    status = version["status"]
    digest = sha256sum(tmp_path, dict(MINIATURE))
    assert status["artifact"]["digest"] == digest
    assert status["artifact"]["files"] == len(MINIATURE)
    assert status["artifact"]["totalBytes"] == sum(map(len, MINIATURE.values()))
    assert status["clearedFor"] == ["staging", "production"]
    assert status["hardware"]["verdict"] == "Fits"
    assert status["registry"] == f"{world.namespace}/registry"
    assert {gate["name"] for gate in status["gates"] if gate["open"]} == {
        "Registered",
        "ArtifactVerified",
        "HardwareFits",
        "TemplateEmitted",
    }
    [row] = world.rows(operator)
    assert (str(row["id"]), row["digest"], row["phase"], row["state"]) == (
        status["registryId"],
        digest,
        "Ready to Deploy",
        "LIVE",
    )
    files = world.files(operator)
    assert files == {name: hashlib.sha256(content).hexdigest() for name, content in MINIATURE.items()}


def test_the_template_is_owned_by_the_version_and_names_its_rows(world: World, operator: Operator) -> None:
    submit(world)
    version = world.ready()
    config_map = world.get("ConfigMap", version["status"]["template"]["name"])
    assert config_map is not None
    [owner] = config_map["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("ModelVersion", version["metadata"]["uid"])
    service = yaml.safe_load(config_map["data"]["inferenceservice.yaml"])
    [row] = world.rows(operator)
    labels = service["metadata"]["labels"]
    assert labels["modelregistry.opendatahub.io/registered-model-id"] == str(row["model_id"])
    assert labels["modelregistry.opendatahub.io/model-version-id"] == str(row["id"])
    assert service["spec"]["predictor"]["model"]["storageUri"] == world.uri("granite-1")


@pytest.mark.parametrize("kind", ["sqlite", "mariadb", "postgres"])
def test_every_version_costs_one_row_one_config_map_one_status_and_one_event(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, kind: str, request: pytest.FixtureRequest
) -> None:
    database: Database | None = None if kind == "sqlite" else request.getfixturevalue(kind)
    with make_world(installed, minio, database=database) as world:
        names = [f"v{number}" for number in range(5)]
        for name in names:
            world.upload(name)
        world.apply(world.registry(), world.model())
        world.wait("granite", lambda body: body["status"].get("registryId"), kind="RegisteredModel")
        settle(operator, world)
        before = operator.metrics()
        world.apply(*(world.version(name) for name in names))
        for name in names:
            world.ready(name)
        world.wait("granite", lambda body: body["status"].get("versions") == 5, kind="RegisteredModel")
        settle(operator, world)
        written = operator.metrics().since(before)
        assert written["patch modelversions"] == 5
        assert written["create configmaps"] == 5
        assert "apply configmaps" not in written
        assert written["rows model_versions"] == 5
        assert [len(world.events(name)) for name in names] == [1] * 5
        assert {event["reason"] for name in names for event in world.events(name)} == {"ReadyToDeploy"}
        assert [world.history(operator, name) for name in names] == [["Ready to Deploy"]] * 5
