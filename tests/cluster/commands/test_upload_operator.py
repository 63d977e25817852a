"""`gatehouse upload` asks the operator to check the versions of the URI, so that nobody waits for their next check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.rig import Operator
from cluster.world import MINIATURE, World
from gatehouse.cli.main import app
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

REQUESTED_AT = "gatehouse.dev/reconcile-requested-at"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    for path, data in MINIATURE.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(data)
    return made


def upload(folder: Path, world: World, store: S3Endpoint, kubeconfig: Path, *options: str) -> Result:
    where = [f"--endpoint={store.url}", f"--kubeconfig={kubeconfig}"]
    return CliRunner().invoke(
        app,
        ["upload", str(folder), world.uri("granite-1"), *where, "-o", "json", *options],
        env={"AWS_ACCESS_KEY_ID": store.credentials.access_key, "AWS_SECRET_ACCESS_KEY": store.credentials.secret_key},
    )


def test_an_upload_has_the_versions_of_its_uri_checked_now(
    installed: RunningControlPlane, world: World, minio: S3Endpoint, operator: Operator, folder: Path
) -> None:
    world.apply(world.registry(), world.model(), world.version(), world.version("other-2"))
    missing = world.phase("granite-1", "Artifact Missing")
    shown = json.dumps(missing["status"])
    assert "checks again within 30 s" in shown
    assert f"kubectl annotate modelversion granite-1 -n {world.namespace} --overwrite {REQUESTED_AT}=" in shown

    said = upload(folder, world, minio, installed.kubeconfig)

    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["asked"] == [f"{world.namespace}/granite-1"]
    assert f"requested an immediate check of {world.namespace}/granite-1" in said.stderr
    ready = world.ready()
    # It is that request that was handled, and nobody asked for the version of another URI.
    assert ready["status"]["lastHandledReconcileAt"] == ready["metadata"]["annotations"][REQUESTED_AT]
    other = world.get("ModelVersion", "other-2")
    assert other is not None
    assert REQUESTED_AT not in other["metadata"].get("annotations", {})


def test_an_upload_asks_nobody_where_it_may_not_or_there_is_no_cluster(
    installed: RunningControlPlane, world: World, minio: S3Endpoint, folder: Path, tmp_path: Path
) -> None:
    world.apply(world.registry(), world.model(), world.version())
    nowhere = tmp_path / "none.yaml"
    for kubeconfig, options in (
        (nowhere, []),
        (installed.kubeconfig, ["--no-ask"]),
        (installed.kubeconfig, ["--dry-run"]),
    ):
        said = upload(folder, world, minio, kubeconfig, *options)
        assert (said.exit_code, json.loads(said.stdout)["asked"]) == (0, []), said.output
    version = world.get("ModelVersion", "granite-1")
    assert version is not None
    assert REQUESTED_AT not in version["metadata"].get("annotations", {})
