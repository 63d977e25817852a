"""Which Pods count as running a version, and which run what is not cleared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import worlds
from gatehouse.api.model_version import ModelVersion
from gatehouse.controllers.ports import ObjectName
from gatehouse.domain.common.errors import Transient
from gatehouse.domain.serving.running import RunningPods
from unit.controllers.service_caches import Cluster, Served, pods, version

URI, DIGEST, OTHER = worlds.URI, worlds.DIGEST, worlds.OTHER_DIGEST
RIGHT, OTHER_BYTES = Served(URI, DIGEST), Served(URI, OTHER)
LABELS = {
    "a": ("production", None),
    "b": ("staging", None),
    "warn": ("production", "Warn"),
    "off": ("production", "Off"),
    "free": ("", None),
}


def cleared(name: str = "v1", uri: str = URI, *, digest: str = DIGEST, stages: Sequence[str] = ("production",)) -> Any:
    return version(name, uri, recordedDigest=digest, clearedFor=list(stages))


async def swept(*running: RunningPods, versions: Sequence[Any] = (cleared(),)) -> Cluster:
    cluster = Cluster(LABELS, *versions)
    cluster.running = running
    await cluster.pods.sweep()
    return cluster


def running(cluster: Cluster, name: str = "v1") -> list[tuple[str, str, str]] | None:
    """Stage, namespace and digest of the Pods of a version."""
    body = cluster.caches["modelversions"].get("team", name)
    assert body is not None
    found = cluster.pods.of_version(ModelVersion.model_validate(body | {"status": {}}))
    return None if found is None else [(stage, each.namespace, each.digest) for stage, each in found]


async def test_pods_of_a_version_are_those_of_its_folder_and_digest_in_a_stage() -> None:
    cluster = await swept(
        pods("s", RIGHT),
        pods("s", RIGHT, at="b"),
        pods("s", RIGHT, at="free"),
        pods("s", RIGHT, at="unknown"),
        pods("s", Served("s3://models/other/", DIGEST)),
    )
    assert running(cluster) == [("production", "a", DIGEST), ("staging", "b", DIGEST)]


async def test_pods_with_other_bytes_are_those_of_every_version_of_the_folder_that_may_have_had_them() -> None:
    versions = (cleared("v1"), cleared("v2"), cleared("v3", digest=OTHER))
    cluster = await swept(pods("s", RIGHT), pods("t", OTHER_BYTES), pods("u", Served(URI, "")), versions=versions)
    assert running(cluster, "v1") == running(cluster, "v2") == [("production", "a", DIGEST), ("production", "a", "")]
    assert running(cluster, "v3") == [("production", "a", OTHER), ("production", "a", "")]
    one = await swept(pods("t", OTHER_BYTES))
    assert running(one) == [("production", "a", OTHER)]


async def test_nothing_is_known_before_the_first_list_and_kserves_absence_is_an_answer() -> None:
    cluster = Cluster(LABELS, cleared())
    assert running(cluster) is None
    assert cluster.pods.of_service(ObjectName("a", "s")) is None
    cluster.served = None
    await cluster.pods.sweep()
    assert (running(cluster), cluster.unapproved) == (None, None)
    cluster.served = False
    await cluster.pods.sweep()
    assert (running(cluster), cluster.unapproved) == ([], {})
    assert cluster.lists == 0


async def test_an_outage_keeps_what_is_known() -> None:
    cluster = await swept(pods("s", RIGHT))
    cluster.running = Transient(reason="ApiUnavailable", message="down")
    with pytest.raises(Transient):
        await cluster.pods.sweep()
    assert running(cluster) == [("production", "a", DIGEST)]


async def test_versions_are_enqueued_only_when_their_pods_change() -> None:
    other = Served("s3://models/other/", OTHER)
    versions = (cleared("v1"), cleared("v2", other.uri, digest=OTHER))
    cluster = await swept(pods("s", RIGHT, count=2, ready=1), pods("t", other), versions=versions)
    assert cluster.settle() == ["v1", "v2"]
    await cluster.pods.sweep()
    assert cluster.settle() == []
    cluster.running = [pods("s", RIGHT, count=2), pods("t", other)]
    await cluster.pods.sweep()
    assert cluster.settle() == ["v1"]
    cluster.running = [pods("s", RIGHT, count=2)]
    await cluster.pods.sweep()
    assert cluster.settle() == ["v2"]


@pytest.mark.parametrize(
    ("pod", "counts"),
    [
        (pods("s", RIGHT, count=3), False),
        (pods("s", RIGHT, at="b", count=3), True),  # cleared for another stage
        (pods("s", OTHER_BYTES, count=3), True),
        (pods("s", Served(URI, ""), count=3), True),
        (pods("s", Served("", DIGEST), count=3), True),
        (pods("s", Served("s3://models/nobody/", DIGEST), count=3), True),
        (pods("s", OTHER_BYTES, at="warn", count=3), True),
        (pods("s", OTHER_BYTES, at="off", count=3), False),
        (pods("s", OTHER_BYTES, at="free", count=3), False),
        (pods("s", OTHER_BYTES, at="unknown", count=3), False),
    ],
)
async def test_pods_without_clearance_are_told_by_service(pod: RunningPods, *, counts: bool) -> None:
    cluster = await swept(pod)
    assert cluster.unapproved == ({(pod.namespace, "s"): 3} if counts else {})


async def test_a_clearance_that_ends_is_told_without_a_change_of_pods() -> None:
    cluster = await swept(pods("s", RIGHT), pods("s", OTHER_BYTES))
    assert cluster.unapproved == {("a", "s"): 1}
    cluster.tell("MODIFIED", "modelversions", cleared(stages=()))
    await cluster.pods.sweep()
    assert cluster.unapproved == {("a", "s"): 2}
