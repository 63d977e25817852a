"""The conditions of OpenShift AI's ModelRegistries, with the cluster and the cache as a fake."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.opendatahub import OpenDataHubRegistries
from gatehouse.domain.common.errors import Transient

DATABASE = {"host": "db.private-ai.svc", "port": 3306, "database": "model_registry", "username": "mlmd"}
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@dataclass
class Cluster:
    """The objects of the other kind by name, and whether Gatehouse's registry of that name is ready."""

    foreign: dict[str, dict[str, Any]] = field(default_factory=dict)
    ready: dict[str, str] = field(default_factory=dict)
    listing: Exception | None = None
    refused: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    time: datetime = NOW
    revisions: int = 0

    def add(self, name: str, **status: Any) -> None:
        metadata = {"namespace": "registries", "name": name, "generation": 3, "resourceVersion": "1"}
        self.foreign[name] = {"metadata": metadata, "spec": {"mysql": DATABASE}, "status": status}

    async def registries(self) -> Sequence[Mapping[str, Any]]:
        if self.listing is not None:
            raise self.listing
        return copy.deepcopy(list(self.foreign.values()))

    async def create(self, registry: Mapping[str, Any]) -> None:
        name = registry["metadata"]["name"]
        if name in self.refused:
            raise Transient(reason="Forbidden", message="the API server refuses", remedy="grant the right")
        self.made.append(name)
        self.ready[name] = "Unknown"

    async def write_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        if name in self.refused:
            raise Transient(reason="Forbidden", message="the API server refuses", remedy="grant the right")
        self.written.append(name)
        self.foreign[name]["status"] = status

    def now(self) -> datetime:
        return self.time

    # the cache

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if name not in self.ready:
            return None
        condition = {
            "type": "Ready",
            "status": self.ready[name],
            "observedGeneration": 1,
            "lastTransitionTime": "2026-12-01T00:00:00Z",
            "reason": "Connected",
            "message": "",
        }
        return {
            "metadata": {"namespace": namespace, "name": name, "generation": 1},
            "spec": {"mysql": DATABASE},
            "status": {"conditions": [condition]},
        }

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        self.revisions += 1
        return str(self.revisions) if name in self.ready else None


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def sweeping(cluster: Cluster) -> OpenDataHubRegistries:
    return OpenDataHubRegistries(api=cluster, objects=Objects(cluster), clock=cluster)  # type: ignore[arg-type]


def available(cluster: Cluster, name: str) -> dict[str, Any]:
    [condition] = [each for each in cluster.foreign[name]["status"]["conditions"] if each["type"] == "Available"]
    return condition  # type: ignore[no-any-return]


async def test_only_differences_are_written_and_a_time_changes_with_its_status(cluster: Cluster) -> None:
    cluster.add("one")
    cluster.add("alone")
    cluster.ready["one"] = "True"
    sweep = sweeping(cluster)
    for _ in range(3):
        await sweep.sweep()
        cluster.time += timedelta(minutes=1)
    assert cluster.written == ["one", "alone"]
    assert available(cluster, "one") == {
        "type": "Available",
        "status": "True",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-12-01T00:00:00Z",
        "reason": "Connected",
        "message": "",
    }
    assert available(cluster, "alone")["reason"] == "NoRegistry"
    cluster.ready["one"] = "False"
    await sweep.sweep()
    assert cluster.written == ["one", "alone", "one"]
    assert available(cluster, "one")["lastTransitionTime"] == "2026-12-01T00:03:00Z"


async def test_what_others_wrote_into_the_status_stays(cluster: Cluster) -> None:
    other = {
        "type": "Progressing",
        "status": "False",
        "lastTransitionTime": "2026-11-01T00:00:00Z",
        "reason": "Done",
        "message": "by somebody else",
    }
    cluster.add("one", conditions=[other], hosts=["a.example.com"])
    cluster.ready["one"] = "True"
    await sweeping(cluster).sweep()
    status = cluster.foreign["one"]["status"]
    assert status["hosts"] == ["a.example.com"]
    assert [each["type"] for each in status["conditions"]] == ["Progressing", "Available"]
    assert status["conditions"][0] == other


async def test_a_refusal_for_one_object_keeps_no_other_from_its_turn(cluster: Cluster) -> None:
    for name in ("first", "second"):
        cluster.add(name)
    cluster.refused.add("first")
    await sweeping(cluster).sweep()
    assert cluster.written == ["second"]


async def test_an_object_that_is_being_deleted_is_left_alone(cluster: Cluster) -> None:
    cluster.add("one")
    cluster.foreign["one"]["metadata"]["deletionTimestamp"] = "2026-12-01T00:00:00Z"
    await sweeping(cluster).sweep()
    assert cluster.written == []


@pytest.mark.parametrize("alone", [True, False])
async def test_an_object_of_another_operator_is_left_alone_and_said_once(cluster: Cluster, *, alone: bool) -> None:
    cluster.add("one")
    cluster.foreign["one"]["metadata"] |= {
        "finalizers": ["modelregistry.opendatahub.io/finalizer"],
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    if not alone:
        cluster.ready["one"] = "True"
    sweep = sweeping(cluster)
    with capture_logs() as logs:
        for _ in range(3):
            await sweep.sweep()
    assert (cluster.written, cluster.made) == ([], [])
    assert [entry["registry"] for entry in logs] == ["registries/one"]


async def test_an_api_server_that_does_not_answer_is_asked_again_at_the_next_sweep(cluster: Cluster) -> None:
    cluster.add("one")
    cluster.listing = Transient(reason="ApiServerUnavailable", message="no answer", remedy="wait")
    await sweeping(cluster).sweep()
    assert cluster.written == []
    cluster.listing = None
    await sweeping(cluster).sweep()
    assert cluster.written == ["one"]


async def test_a_registry_is_made_of_an_object_that_stands_alone_once(cluster: Cluster) -> None:
    cluster.add("alone")
    cluster.foreign["alone"]["metadata"]["creationTimestamp"] = "2026-11-30T23:59:30Z"
    registries = OpenDataHubRegistries(api=cluster, objects=Objects(cluster), clock=cluster)  # type: ignore[arg-type]
    await registries.sweep()
    assert cluster.made == []
    cluster.time = NOW + timedelta(seconds=31)
    cluster.refused.add("alone")
    await registries.sweep()
    assert cluster.made == []
    cluster.refused.clear()
    for _ in range(3):
        await registries.sweep()
    assert cluster.made == ["alone"]
    [condition] = cluster.foreign["alone"]["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Available", "Unknown")
