"""What runs, by Pod, beside what is approved: on the real API server and admission; KServe and the kubelet pretend."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.deployed import CHAT, MERGE, Deployed, deployed_world
from cluster.rig import Operator, until
from cluster.status import Manifest, condition
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.entries.entry import EntryKind
from gatehouse.domain.query.pages import Page
from gatehouse.registry.pool import DatabasePool
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.s3 import S3Endpoint

SERVICES: tuple[EntryKind, ...] = ("inference_service",)


@pytest.fixture
def operator(installed: RunningControlPlane, tmp_path: Path) -> Iterator[Operator]:
    made = Operator(installed, tmp_path, arguments=("--pod-interval=1s",))
    made.start()
    yield made
    made.close()


@pytest.fixture
def deployed(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[Deployed]:
    with deployed_world(installed, minio, operator) as made:
        yield made


def pods(deployed: Deployed) -> list[Manifest]:
    path = f"/api/v1/namespaces/{deployed.world.namespace}/pods?labelSelector=serving.kserve.io/inferenceservice"
    found: list[Manifest] = deployed.world.kube.request("GET", path)["items"]
    return found


def running(deployed: Deployed, version: str = "granite-1") -> list[dict[str, Any]]:
    body = deployed.world.get("ModelVersion", version)
    assert body is not None
    return list(body["status"].get("running", ()))


def listed(deployed: Deployed) -> float:
    """How often Pods were listed."""
    return deployed.operator.metrics().sum("gatehouse_api_requests_total", verb="list", resource="pods")


def written(deployed: Deployed) -> dict[str, str]:
    """The last write of each version of the namespace."""
    return {
        body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in deployed.world.all("ModelVersion")
    }


def unapproved(deployed: Deployed, **labels: str) -> float:
    metrics = deployed.operator.metrics()
    return metrics.sum("gatehouse_unapproved_pods", namespace=deployed.world.namespace, **labels)


def shown(deployed: Deployed) -> dict[str, dict[str, object]]:
    """The custom properties of each service in the registry, by the service's name."""

    async def run() -> dict[str, dict[str, object]]:
        databases = DatabasePool(data_dir=deployed.operator.data_dir, now=lambda: datetime.now(tz=UTC))
        registry = ModelRegistry.model_validate(deployed.world.registry() | {"status": {}})
        try:
            rows = await databases.open(registry, password=None, ca_pem=None)
            found = (await rows.entries.page(kinds=SERVICES, page=Page())).entries
            return {
                each.name.partition("/")[0]: {name: value.value for name, value in each.properties.items()}
                for each in found
            }
        finally:
            await databases.aclose()

    return asyncio.run(run())


def test_pods_show_what_they_loaded_beside_what_is_approved(deployed: Deployed) -> None:
    world = deployed.world
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    version = world.get("ModelVersion", "granite-1")
    assert version is not None
    digest = version["status"]["artifact"]["digest"]
    place = {"stage": "staging", "namespace": world.namespace, "service": CHAT, "digest": digest}
    wanted = {**place, "pods": 1, "ready": 1, "approved": True}
    until(lambda: running(deployed) == [wanted], what=lambda: f"{running(deployed)} is not {wanted}")
    numbers = {"gatehouse.pods": 1, "gatehouse.ready_pods": 1}
    facts = {"gatehouse.digest": digest, "gatehouse.running_digest": digest, **numbers}
    until(lambda: shown(deployed).get(CHAT, {}).items() >= facts.items(), what=lambda: f"{shown(deployed)}")
    assert unapproved(deployed) == 0

    # A person with every right in the namespace cannot make a Pod tell another digest.
    (pod,) = pods(deployed)
    path = f"/api/v1/namespaces/{world.namespace}/pods/{pod['metadata']['name']}"
    for lie in (f"sha256:{'0' * 64}", None):
        patch = {"metadata": {"annotations": {"gatehouse.dev/artifact-digest": lie}}}
        with pytest.raises(ApiRefused, match="digest of a Pod never changes"):
            world.kube.request("PATCH", path, patch, content_type=MERGE)

    world.patch("ModelVersion", "granite-1", {"spec": {"state": "Archived"}})
    until(
        lambda: [each["approved"] for each in running(deployed)] == [False],
        what=lambda: f"{running(deployed)} is approved",
    )
    archived = world.get("ModelVersion", "granite-1")
    assert archived is not None
    assert (condition(archived, "RunningUncleared") or {})["reason"] == "NotCleared"
    until(
        lambda: (
            deployed.operator.metrics().sum("gatehouse_unapproved_pods", namespace=world.namespace, service=CHAT) == 1
        ),
        what="the Pod is not counted",
    )
    assert len(pods(deployed)) == 1, "Gatehouse stops none"


def test_nothing_is_written_while_pods_stay_and_pods_that_go_are_forgotten(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    until(lambda: [each["ready"] for each in running(deployed)] == [1], what="no Pod is shown")
    deployed.operator.wait_idle()
    before = written(deployed)
    lists = listed(deployed)
    until(lambda: listed(deployed) >= lists + 6, what="Pods are not listed")
    assert written(deployed) == before
    deployed.deploy("granite-2")
    deployed.phase("Healthy", running="granite-2")
    until(lambda: [each["ready"] for each in running(deployed, "granite-2")] == [1], what="no Pod is shown")
    until(lambda: running(deployed) == [], what=lambda: f"{running(deployed)} still runs")
