"""Operators that are killed, told to stop, or two at once: what they leave is exactly what an undisturbed one makes."""

from __future__ import annotations

import contextlib
import copy
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.rig import Operator, until
from cluster.servers import restartable_control_plane
from cluster.status import Manifest, condition
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

VERSIONS = int(os.environ.get("CRASH_VERSIONS", "150"))
"""More of them take longer and find more: 1,000 need some two minutes a run."""
ARTIFACTS = 10
NAMES = [f"v{number:04}" for number in range(VERSIONS)]


def artifact(number: int) -> dict[str, bytes]:
    return {**MINIATURE, "README.md": f"# Number {number}\n".encode()}


def prepare(world: World) -> None:
    """Artifacts, registry and models; one version in ten is broken."""
    for number in range(ARTIFACTS):
        files = artifact(number)
        if number == 0:
            files.pop("config.json")
        world.upload(f"artifact-{number}", files)
    world.apply(world.registry(), *(world.model(f"model-{number}") for number in range(3)))


def submit(world: World) -> None:
    for number, name in enumerate(NAMES):
        world.apply(
            world.version(
                name,
                modelRef={"name": f"model-{number % 3}"},
                artifact={"uri": world.uri(f"artifact-{number % ARTIFACTS}")},
            )
        )


def settled(world: World) -> bool:
    """Whether every version has come to an end."""
    phases = [body["status"].get("phase") for body in world.all("ModelVersion")]
    return len(phases) == VERSIONS and set(phases) == {"Ready to Deploy", "Artifact Invalid"}


def wait_settled(world: World) -> None:
    """Returns when every version has come to an end, and every model counts its own."""
    until(
        lambda: settled(world),
        what=lambda: f"versions do not come to an end: {phases(world)}",
        seconds=90 + VERSIONS / 5,
    )
    world.wait_counted()


def phases(world: World) -> dict[str, int]:
    found = [str(body["status"].get("phase")) for body in world.all("ModelVersion")]
    return {phase: found.count(phase) for phase in set(found)}


# What was made, without ids, times and the names of the world


def outcome(world: World, operator: Operator) -> dict[str, Any]:
    rows = {row["object_name"]: row for row in world.rows(operator)}
    versions = {body["metadata"]["name"]: body for body in world.all("ModelVersion")}
    config_maps = {body["metadata"]["name"]: body for body in world.all("ConfigMap")}
    assert rows.keys() == versions.keys()
    for name, row in rows.items():
        assert versions[name]["status"]["registryId"] == str(row["id"])
        assert row["uid"] == versions[name]["metadata"]["uid"]
    return {
        "rows": sorted(plain(world, without(row, "id", "model_id", "uid", "artifact")) for row in rows.values()),
        "files": sorted(plain(world, without(row, "etag")) for row in world.rows(operator, "artifact_files")),
        "models": sorted(plain(world, without(row, "id", "uid")) for row in world.rows(operator, "registered_models")),
        "history": {name: world.history(operator, name) for name in rows},
        "templates": sorted(
            plain(world, template(config_maps[f"{name}-serving"], rows[name]))
            for name, body in versions.items()
            if "template" in body["status"]
        ),
        "config maps": sorted(name for name in config_maps if name.endswith("-serving")),
        "statuses": sorted(plain(world, status(body)) for body in versions.values()),
    }


def without(row: dict[str, Any], *columns: str) -> dict[str, Any]:
    times = ("created_at", "updated_at", "archived_at", "modified", "hashed_at")
    return {column: value for column, value in row.items() if column not in {*columns, *times}}


def template(config_map: Manifest, row: dict[str, Any]) -> list[Any]:
    [owner] = config_map["metadata"]["ownerReferences"]
    assert owner["uid"] == row["uid"]
    found = [yaml.safe_load(text) for text in config_map["data"].values()]
    for body in found:
        labels = body["metadata"]["labels"]
        ids = {"registered-model-id": "model_id", "model-version-id": "id", "inference-service-id": "id"}
        for label, column in ids.items():
            assert labels.pop(f"modelregistry.opendatahub.io/{label}", str(row[column])) == str(row[column])
    return found


def status(body: Manifest) -> dict[str, Any]:
    found = copy.deepcopy(body["status"])
    found.pop("registryId", None)
    found.pop("claimedAt", None)
    found.get("template", {}).pop("digest", None)
    for each in found["conditions"]:
        del each["lastTransitionTime"]
    return {"name": body["metadata"]["name"], **found}


def plain(world: World, value: object) -> str:
    return repr(value).replace(world.namespace, "NAMESPACE")


def operator_of(world: World, plane: RunningControlPlane, folder: Path) -> Operator:
    """An operator that has nothing to do with what other tests leave."""
    return Operator(plane, folder, namespaces=(world.namespace,))


@pytest.fixture(scope="module")
def undisturbed(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What an operator makes that nobody disturbs."""
    with (
        make_world(installed, minio) as world,
        contextlib.closing(operator_of(world, installed, tmp_path_factory.mktemp("undisturbed"))) as operator,
    ):
        prepare(world)
        operator.start()
        submit(world)
        wait_settled(world)
        assert operator.stop() == 0
        made = outcome(world, operator)
    assert len(made["templates"]) == VERSIONS - VERSIONS // ARTIFACTS
    assert set(map(tuple, made["history"].values())) == {("Ready to Deploy",), ("Artifact Invalid",)}
    return made


@pytest.fixture
def disturbed(installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path) -> Iterator[tuple[World, Operator]]:
    with (
        make_world(installed, minio) as world,
        contextlib.closing(operator_of(world, installed, tmp_path)) as operator,
    ):
        prepare(world)
        yield world, operator


def has_written(operator: Operator, rows: int) -> bool:
    """Whether the operator has written so many rows of versions since it started."""
    with contextlib.suppress(OSError):
        return operator.metrics().row_writes.get("model_versions", 0) >= rows
    return False


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_any_moment_change_nothing_of_what_comes_out(
    undisturbed: dict[str, Any], disturbed: tuple[World, Operator], seed: int
) -> None:
    world, operator = disturbed
    draw = random.Random(seed)
    submit(world)
    for rows in (draw.randint(1, VERSIONS // 4) for _ in range(3)):
        operator.start(wait=False)
        until(partial(has_written, operator, rows), what=lambda: f"few rows: {operator.tail()}")
        operator.kill()
        release_lease(world)
    operator.start()
    wait_settled(world)
    operator.wait_idle()
    assert operator.stop() == 0
    assert outcome(world, operator) == undisturbed


def release_lease(world: World) -> None:
    """The next operator need not wait for the lease of the killed one to expire; another test does."""
    path = "/apis/coordination.k8s.io/v1/namespaces/gatehouse-system/leases/gatehouse-operator"
    world.kube.request("PATCH", path, {"spec": {"holderIdentity": ""}}, content_type="application/merge-patch+json")


def test_told_to_stop_it_ends_in_time_and_leaves_nothing_half_written(
    undisturbed: dict[str, Any], disturbed: tuple[World, Operator]
) -> None:
    world, operator = disturbed
    submit(world)
    operator.start(wait=False)
    until(partial(has_written, operator, 20), what=lambda: f"few rows: {operator.tail()}")
    assert operator.stop() == 0
    rows = {row["object_name"]: row for row in world.rows(operator)}
    versions = {body["metadata"]["name"]: body["status"] for body in world.all("ModelVersion")}
    written = {name: status for name, status in versions.items() if "phase" in status}
    assert 20 <= len(written) < VERSIONS
    assert {name: row["phase"] for name, row in rows.items()} == {name: each["phase"] for name, each in written.items()}
    emitted = {each["template"]["name"] for each in written.values() if "template" in each}
    assert set(world.templates()) == emitted
    for name in written:
        assert len(world.events(name, at_least=1)) == 1
    operator.start()
    wait_settled(world)
    operator.wait_idle()
    assert operator.stop() == 0
    assert outcome(world, operator) == undisturbed


def test_a_second_operator_takes_over_and_repeats_nothing(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(make_world(installed, minio))
        first, second = (operator_of(world, installed, tmp_path / name) for name in ("first", "second"))
        stack.enter_context(contextlib.closing(first))
        stack.enter_context(contextlib.closing(second))
        second.data_dir = first.data_dir
        world.upload()
        first.start()
        second.start(wait=False)
        world.apply(world.registry(), world.model(), world.version())
        world.ready()
        until(lambda: "waiting for leadership" in second.text(), what="the second does not wait")
        assert second.metrics().sum("gatehouse_leader") == 0
        assert second.metrics().api_writes == {}
        before = world.get("ModelVersion", "granite-1")
        world.events("granite-1", at_least=1)
        first.kill()
        world.apply(world.version("granite-2", artifact={"uri": world.uri("granite-1")}))
        second.wait_leading()
        world.ready("granite-2")
        assert world.get("ModelVersion", "granite-1") == before
        second.wait_idle()
        assert second.metrics().api_writes["create configmaps"] == 1
        assert second.metrics().api_writes["patch modelversions"] == 1
        assert [world.history(second, name) for name in ("granite-1", "granite-2")] == [["Ready to Deploy"]] * 2
        assert world.events("granite-2", at_least=1) == ["Normal ReadyToDeploy"]
        assert world.events("granite-1", at_least=1) == ["Normal ReadyToDeploy"]


def test_an_api_server_that_is_killed_and_comes_back_is_survived(minio: S3Endpoint, tmp_path: Path) -> None:
    with (
        restartable_control_plane(tmp_path) as (server, plane),
        contextlib.closing(Operator(plane, tmp_path)) as operator,
        make_world(plane, minio) as world,
    ):
        world.upload()
        operator.start()
        world.apply(world.registry(), world.model(), world.version())
        before = world.ready()
        server.kill()
        server.start()
        until(lambda: reachable(world), what="the API server does not answer")
        world.apply(world.version("granite-2", artifact={"uri": world.uri("granite-1")}))
        if operator.exited() is not None:  # it was down for longer than a lease may go without a renewal
            assert operator.exited() == 1
            operator.start()
        world.ready("granite-2")
        assert world.get("ModelVersion", "granite-1") == before
        assert operator.stop() == 0


def reachable(world: World) -> bool:
    with contextlib.suppress(OSError):
        return condition(world.get("ModelVersion", "granite-1") or {"status": {}}, "Ready") is not None
    return False
