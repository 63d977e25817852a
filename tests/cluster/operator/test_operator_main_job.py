"""The main job on the real thing: a version is applied and becomes Ready to Deploy, with its row and its template."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.rig import Operator, until
from cluster.status import condition, kstatus
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK
from gatehouse_local.s3 import S3Endpoint


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
        "PolicyCompliant",
        "Approved",
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


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_rows_are_kept_in_a_database_server(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, kind: str, request: pytest.FixtureRequest
) -> None:
    database: LocalDatabase = request.getfixturevalue(kind)
    with make_world(installed, minio, database=database) as world:
        submit(world)
        status = world.ready()["status"]
        [row] = world.rows(operator)
        assert (str(row["id"]), row["digest"]) == (status["registryId"], status["artifact"]["digest"])
        registry = world.final("registry", kind="ModelRegistry")["status"]
        assert (
            registry["database"]
            == f"{'mysql' if kind == 'mariadb' else 'postgresql'}://{LOOPBACK}:{database.port}/gatehouse"
        )
        assert database.password not in operator.text()


def test_every_kind_ends_in_a_status_that_kstatus_reads(world: World, operator: Operator) -> None:
    submit(world)
    world.ready()
    model = world.wait("granite", lambda body: body["status"].get("latestReady") == "granite-1", kind="RegisteredModel")
    assert model["status"]["versionsByPhase"] == [{"phase": "Ready to Deploy", "count": 1}]
    registry = world.wait("registry", lambda body: body["status"].get("versions") == 1, kind="ModelRegistry")
    assert registry["status"]["objectStores"] == [
        {"uriPrefix": f"s3://{world.bucket}/", "reachable": True, "message": ""}
    ]
    profile = world.get("HardwareProfile", "nvidia-l4")
    for body in (model, registry, profile):
        assert body is not None
        assert kstatus(body) == []
        ready = condition(body, "Ready")
        assert ready is not None
        assert ready["status"] == "True"


def test_a_declared_digest_that_matches_is_accepted(world: World, operator: Operator, tmp_path: Path) -> None:
    digest = sha256sum(tmp_path, dict(MINIATURE))
    world.upload()
    world.apply(world.registry(), world.model())
    world.apply(world.version(artifact={"uri": world.uri("granite-1"), "digest": digest}))
    assert world.ready()["status"]["artifact"]["digest"] == digest


def test_a_declared_digest_that_does_not_match_is_refused_with_both(
    world: World, operator: Operator, tmp_path: Path
) -> None:
    wanted = f"sha256:{'0' * 64}"
    world.upload()
    world.apply(world.registry(), world.model())
    world.apply(world.version(artifact={"uri": world.uri("granite-1"), "digest": wanted}))
    version = world.phase("granite-1", "Artifact Changed")
    ready = condition(version, "Ready")
    assert ready is not None
    assert ready["reason"] == "ArtifactChanged"
    assert wanted in ready["message"]
    assert sha256sum(tmp_path, dict(MINIATURE)) in ready["message"]
    [row] = world.rows(operator)
    assert row["digest"] is None
    assert world.templates() == []


def test_logs_are_json_and_name_the_object(world: World, operator: Operator) -> None:
    submit(world)
    world.ready()
    world.events("granite-1", at_least=1)
    [ready] = [
        record
        for record in operator.records()
        if (record["event"], record.get("kind"), record.get("namespace"))
        == ("transition", "modelversions", world.namespace)
    ]
    assert (ready["name"], ready["phase"]) == ("granite-1", "Ready to Deploy")
    assert {"timestamp", "level", "logger"} <= ready.keys()
    assert ready["digest"] == world.rows(operator)[0]["digest"]


def test_metrics_count_versions_by_phase(world: World, operator: Operator) -> None:
    # No other test of this module has a draft.
    world.apply(world.registry(), world.model(), world.version(state="Draft"))
    world.phase("granite-1", "Draft")
    assert operator.metrics().sum("gatehouse_versions", phase="Draft") == 1
    world.delete("ModelVersion", "granite-1")
    until(lambda: operator.metrics().sum("gatehouse_versions", phase="Draft") == 0, what="the draft is still counted")
