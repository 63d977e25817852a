"""``gatehouse fit`` of a ModelVersion: what its status says, and what follows from its row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import worlds
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.cli import fit as fit_command
from gatehouse.cli.fit import shipped_machines
from gatehouse.cli.main import app
from gatehouse.cluster.client import ApiError
from gatehouse.domain.version.records import StateChange
from gatehouse.registry.pool import DatabasePool
from unit.domain.hardware.fits import shipped, summary

HARDWARE = {"verdict": "Fits", "weightsBytes": 2**33, "overheadBytes": 2**29, "maxModelLen": 8192, "maxNumSeqs": 64}


class _Cluster:
    """What the API server has, by plural and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Mapping[str, Any]] = {}

    async def get(self, plural: str, namespace: str, name: str) -> Mapping[str, Any]:
        del namespace
        found = self.objects.get((plural, name))
        if found is None:
            raise ApiError(status=404, reason="NotFound", message=f"{plural} {name} not found")
        return found

    def version(self, *, status: Mapping[str, Any], **spec: Any) -> None:
        self.objects["modelversions", "granite-1"] = {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": "granite-1", "namespace": "team", "uid": "v-1", "generation": 1},
            "spec": {
                "modelRef": {"name": "granite"},
                "version": "1",
                "artifact": {"uri": "s3://models/granite-1/"},
                "hardwareProfileRef": {"name": "nvidia-l4"},
                **spec,
            },
            "status": {"registry": "team/registry", **status},
        }


@pytest.fixture(name="cluster")
def _cluster(monkeypatch: pytest.MonkeyPatch) -> _Cluster:
    made = _Cluster()

    @asynccontextmanager
    async def opened(kubeconfig: Path | None, context: str | None) -> AsyncIterator[_Cluster]:
        del kubeconfig, context
        yield made

    monkeypatch.setattr(fit_command, "cluster", opened)
    monkeypatch.chdir("/")
    return made


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> str:
    asyncio.run(_fill(tmp_path))
    (file,) = tmp_path.glob("*.db")
    return f"sqlite:///{file}"


async def _fill(folder: Path) -> None:
    databases = DatabasePool(data_dir=folder)
    registry = ModelRegistry.model_validate({"metadata": {"name": "registry", "namespace": "team"}})
    rows = await databases.open(registry, password=None, ca_pem=None)
    row = worlds.row(id=None, model_id=None, artifact=worlds.record(summary=summary()))
    change = StateChange(
        at=datetime.now(UTC), actor="test", before=None, after=row.phase, digest=None, reason="R", message=""
    )
    await rows.save_version(row, files=(), change=change)
    await databases.aclose()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["fit", *arguments])


def test_without_the_row_its_status_tells(cluster: _Cluster) -> None:
    cluster.version(status={"hardware": HARDWARE})
    result = run("team/granite-1", "-o", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    [row] = found["rows"]
    assert (found["model"], row["profile"], row["verdict"]) == ("team/granite-1", "nvidia-l4", "Fits")
    assert (row["weightsBytes"], row["maxModelLen"], row["maxNumSeqs"]) == (2**33, 8192, 64)
    assert "--database" in " ".join(found["notes"])
    assert "8,192" in run("granite-1", "-n", "team").stdout


def test_a_status_that_says_it_does_not_fit_ends_with_1(cluster: _Cluster) -> None:
    cluster.version(status={"hardware": {**HARDWARE, "verdict": "DoesNotFit"}})
    assert run("team/granite-1").exit_code == 1
    cluster.version(status={})
    result = run("team/granite-1")
    assert (result.exit_code, "has no fit yet" in result.stderr) == (1, True)


def test_more_than_the_status_takes_the_row(cluster: _Cluster) -> None:
    cluster.version(status={"hardware": HARDWARE})
    for arguments in (("--max-num-seqs", "8"), ("--max-model-len", "1024"), ("--tensor-parallel-size", "2")):
        result = run("team/granite-1", *arguments)
        assert result.exit_code == 2, result.output
        assert "--database URL, or GATEHOUSE_DATABASE_URL" in " ".join(result.stderr.split())


def test_of_other_profiles_the_status_tells_whether_the_weights_are_too_large(cluster: _Cluster) -> None:
    cluster.version(status={"hardware": {**HARDWARE, "weightsBytes": 20 * 2**30, "kvCacheBytesPerToken": 2**17}})
    profiles = [f"--profile={name}" for name in ("nvidia-t4", "nvidia-h100-80gb", "nvidia-l4")]
    result = run("team/granite-1", *profiles, "-o", "json")
    assert result.exit_code == 0, result.output
    small, large, own = json.loads(result.stdout)["rows"]
    assert (small["verdict"], small["reason"]) == ("DoesNotFit", "WeightsTooLarge")
    assert (large["verdict"], large["reason"]) == ("Unknown", "StatusOnly")
    assert (own["verdict"], own["reason"]) == ("Fits", "AsInStatus")
    assert "20.0 GiB of weights and 128.0 KiB of KV cache a token" in large["found"]
    assert all("--database URL, or GATEHOUSE_DATABASE_URL" in row["remedy"] for row in (small, large))
    assert run("team/granite-1", profiles[0]).exit_code == 1


def test_of_weights_that_were_split_nothing_follows_for_other_profiles(cluster: _Cluster) -> None:
    cluster.version(status={"hardware": {**HARDWARE, "weightsBytes": 20 * 2**30, "tensorParallelSize": 2}})
    [row] = json.loads(run("team/granite-1", "--profile=nvidia-t4", "-o", "json").stdout)["rows"]
    assert (row["verdict"], row["weightsBytes"]) == ("Unknown", None)
    assert "weights of unknown size" in row["found"]


def test_what_the_status_rules_out_the_row_rules_out_too(cluster: _Cluster, database: str) -> None:
    size = summary().weights_bytes
    cluster.version(status={"hardware": {**HARDWARE, "weightsBytes": size}})
    names = sorted(shipped_machines())
    profiles = [f"--profile={name}" for name in names]
    by_status = json.loads(run("team/granite-1", *profiles, "-o", "json").stdout)["rows"]
    by_row = json.loads(run("team/granite-1", *profiles, f"--database={database}", "-o", "json").stdout)["rows"]
    fitting = {row["profile"] for row in by_row if row["verdict"] == "Fits"}
    assert [row["profile"] for row in by_status] == names
    assert not fitting & {row["profile"] for row in by_status if row["verdict"] == "DoesNotFit"}


def test_the_row_is_judged_on_every_profile(cluster: _Cluster, database: str) -> None:
    cluster.version(status={"hardware": HARDWARE}, serving={"maxModelLen": 4096, "extraArgs": ["--max-num-seqs=32"]})
    profiles = ("--profile", "nvidia-l4", "--profile", "nvidia-a10g")
    result = run("team/granite-1", f"--database={database}", *profiles, "-o", "json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [(row["profile"], row["maxModelLenAsked"], row["maxNumSeqs"]) for row in rows] == [
        ("nvidia-l4", 4096, 32),
        ("nvidia-a10g", 4096, 32),
    ]


def test_the_cluster_has_a_say_in_profiles_and_the_image(cluster: _Cluster, database: str) -> None:
    cluster.version(status={})
    body = shipped("nvidia-l4").model_dump(mode="json", by_alias=True, exclude_none=True)
    body["spec"]["accelerator"]["memory"] = "46068Mi"
    cluster.objects["hardwareprofiles", "nvidia-l4"] = {**body, "metadata": {"name": "nvidia-l4"}}
    cluster.objects["modelregistries", "registry"] = {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "ModelRegistry",
        "metadata": {"name": "registry", "namespace": "team"},
        "spec": {"serving": {"vllmImage": "vllm/vllm-openai:v0.33.0"}},
    }
    found = json.loads(run("team/granite-1", f"--database={database}", "-o", "json").stdout)
    assert found["vllm"] == "0.33.0"
    [row] = found["rows"]
    assert row["usableBytes"] > 38 * 2**30


def test_a_version_that_is_not_there_is_an_error(cluster: _Cluster) -> None:
    result = run("team/granite-2")
    assert (result.exit_code, "not found" in result.stderr) == (2, True)
    assert run("team/Granite").exit_code == 2


def test_a_profile_of_the_cluster_serves_a_configuration_too(cluster: _Cluster, tmp_path: Path) -> None:
    from modelfiles import config_json

    body = shipped("nvidia-l4").model_dump(mode="json", by_alias=True, exclude_none=True)
    cluster.objects["hardwareprofiles", "ours"] = {**body, "metadata": {"name": "ours"}}
    (tmp_path / "config.json").write_bytes(config_json())
    result = run(str(tmp_path / "config.json"), "--profile", "ours", "-o", "json")
    assert [row["profile"] for row in json.loads(result.stdout)["rows"]] == ["ours"]
    assert run(str(tmp_path / "config.json"), "--profile", "theirs").exit_code == 2
