"""An operator that is fed hostile files goes on: it leads, others are reconciled, each file costs one version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.rig import Operator
from cluster.status import Manifest, condition
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint
from hostileartifacts import hostile_artifacts

GOOD = 5
HARMLESS = {"external-entries"}
"""What no loader minds, and what once took 199 MB."""


@pytest.fixture(scope="module")
def world(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[World]:
    with make_world(installed, minio) as made:
        made.apply(made.registry(), made.model())
        yield made


def test_hostile_files_cost_their_versions_and_nobody_else(world: World, operator: Operator) -> None:
    before = operator.metrics()
    artifacts = hostile_artifacts(MINIATURE)
    for name, (artifact_format, files) in artifacts.items():
        world.upload(name, files)
        version = world.version(name)
        version["spec"]["artifact"]["format"] = artifact_format
        world.apply(version)
    for number in range(GOOD):
        world.upload(f"good-{number}")
        world.apply(world.version(f"good-{number}"))
    for number in range(GOOD):
        world.ready(f"good-{number}")
    for name in artifacts.keys() - HARMLESS:
        invalid = world.phase(name, "Artifact Invalid")
        assert reason(invalid) == "ArtifactInvalid", name
    for name in HARMLESS:
        world.wait(name, decided, what="has no status")
    after = operator.metrics()
    assert operator.running
    assert after.sum("gatehouse_leader") == 1
    assert after.sum("gatehouse_parser_ends_total") == before.sum("gatehouse_parser_ends_total")
    assert not [record for record in operator.records() if record.get("level") == "error"]


def decided(body: Manifest) -> bool:
    return body["status"].get("observedGeneration") == 1 and body["status"].get("phase") not in {None, "Verifying"}


def reason(body: Manifest) -> str:
    stalled = condition(body, "Stalled")
    return "" if stalled is None else str(stalled["reason"])
