"""Writing a status on the real API server: what changed meanwhile is tried again, what is refused is not."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.operator.kubeconfigs import operator_kubeconfig
from cluster.world import World
from gatehouse.cluster.client import ApiClient
from gatehouse.cluster.writer import KubernetesWriter
from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse_local.ephemeral import RunningControlPlane

KIND = "registeredmodels"


async def test_an_object_that_changed_since_it_was_read_is_a_conflict(
    installed: RunningControlPlane, world: World
) -> None:
    world.apply(world.model())
    read = world.get("RegisteredModel", "granite")
    assert read is not None
    world.patch("RegisteredModel", "granite", {"metadata": {"labels": {"changed": "yes"}}})
    async with await ApiClient.connect(kubeconfig=operator_kubeconfig(installed)) as client:
        writer = KubernetesWriter(client, written=lambda *_: None)
        with pytest.raises(Transient) as raised:
            await writer.write_status(KIND, read, {"versions": 1})
        assert raised.value.reason == "Conflict"
        now = world.get("RegisteredModel", "granite")
        assert now is not None
        await writer.write_status(KIND, now, {"versions": 1})


async def test_a_status_that_the_schema_does_not_let_in_is_no_conflict(
    installed: RunningControlPlane, world: World
) -> None:
    # The name of the namespace, which the refusal repeats, has "test" in it.
    world.apply(world.model("test"))
    read = world.get("RegisteredModel", "test")
    assert read is not None
    async with await ApiClient.connect(kubeconfig=operator_kubeconfig(installed)) as client:
        writer = KubernetesWriter(client, written=lambda *_: None)
        with pytest.raises(Stalled) as raised:
            await writer.write_status(KIND, read, {"versions": "many"})
    assert raised.value.reason == "ApiRefused"
    assert "versions" in raised.value.message


async def test_what_the_cache_is_told_is_what_the_server_has(installed: RunningControlPlane, world: World) -> None:
    world.apply(world.model())
    read = world.get("RegisteredModel", "granite")
    assert read is not None
    told: list[tuple[str, dict[str, Any]]] = []
    async with await ApiClient.connect(kubeconfig=operator_kubeconfig(installed)) as client:
        writer = KubernetesWriter(client, written=lambda *each: told.append(each))
        await writer.write_status(KIND, read, {"versions": 3, "observedGeneration": 1})
    assert told == [(KIND, world.get("RegisteredModel", "granite"))]
    assert told[0][1]["metadata"]["resourceVersion"] != read["metadata"]["resourceVersion"]
