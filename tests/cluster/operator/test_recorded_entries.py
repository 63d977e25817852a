"""What clients record, beside a running operator: cleared by nothing, and taken over by the objects of its name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from cluster.rig import Operator
from cluster.status import condition
from cluster.world import World, make_world
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.entries.entry import Entry, EntryKind, NewEntry
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.query.pages import Page
from gatehouse.registry.entries import Entries
from gatehouse.registry.pool import DatabasePool
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

T = TypeVar("T")
MODELS: tuple[EntryKind, ...] = ("registered_model",)
VERSIONS: tuple[EntryKind, ...] = ("model_version",)
OWN = {"accuracy": Property("double", 0.93)}


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[World]:
    """A registry that looks at its artifacts every second."""
    with make_world(installed, minio, interval="1s") as made:
        made.upload()
        made.apply(made.registry())
        made.final("registry", kind="ModelRegistry")
        yield made


def with_entries(world: World, operator: Operator, act: Callable[[Entries], Awaitable[T]]) -> T:
    """What another process does with the entries of the registry's database."""

    async def run() -> T:
        databases = DatabasePool(data_dir=operator.data_dir, now=lambda: datetime.now(tz=UTC))
        registry = ModelRegistry.model_validate(world.registry() | {"status": {}})
        try:
            rows = await databases.open(registry, password=None, ca_pem=None)
            return await act(rows.entries)
        finally:
            await databases.aclose()

    return asyncio.run(run())


def record(world: World, operator: Operator, *, namespace: str = "") -> tuple[Entry, Entry]:
    """A model and a version as a client writes them, with every word of a version that is ready."""

    async def act(entries: Entries) -> tuple[Entry, Entry]:
        where = namespace or world.namespace
        model = await entries.create(
            NewEntry(kind="registered_model", namespace=where, name="Granite", state="LIVE", properties=OWN),
            actor="alice",
        )
        lies = {
            "phase": "Ready to Deploy",
            "digest": "sha256:" + "a" * 64,
            "state": "LIVE",
            "uri": world.uri("granite-1"),
        }
        version = await entries.create(
            NewEntry(
                kind="model_version",
                namespace=where,
                name="granite 1",
                parent_id=model.id,
                state="LIVE",
                external_id="x",
                members=lies,
                properties=OWN | {"gatehouse.phase": Property("string", "Ready to Deploy")},
            ),
            actor="alice",
        )
        await entries.create(
            NewEntry(kind="model_artifact", namespace=where, name="a", parent_id=version.id, members=lies),
            actor="alice",
        )
        return model, version

    return with_entries(world, operator, act)


def listed(world: World, operator: Operator, kinds: tuple[EntryKind, ...]) -> list[Entry]:
    async def act(entries: Entries) -> list[Entry]:
        return list((await entries.page(kinds=kinds, page=Page())).entries)

    return with_entries(world, operator, act)


def test_a_recorded_version_is_cleared_by_nothing_that_happens(world: World, operator: Operator) -> None:
    _, version = record(world, operator)
    world.upload("other-1")
    world.apply(world.model("other"), world.version("other-1", modelRef={"name": "other"}))
    world.ready("other-1")
    operator.stop()
    operator.start()
    world.ready("other-1")
    operator.wait_idle()
    (row,) = [row for row in world.rows(operator) if row["id"] == version.id]
    assert (row["state"], row["uid"], row["phase"], row["digest"], row["shown"]) == ("RECORDED", "", "", None, None)
    assert [entry for entry in listed(world, operator, VERSIONS) if entry.id == version.id] == [version]
    assert {uri for told in world.vetted() for uri in told.get("artifacts", {})} == {world.uri("other-1")}
    registry = world.get("ModelRegistry", "registry")
    assert registry is not None
    assert registry["status"]["versions"] == 1


def test_the_objects_of_the_namespace_take_over_what_a_client_recorded(world: World, operator: Operator) -> None:
    model, version = record(world, operator)
    assert (model.key, version.key) == ("granite", "granite-1")
    world.apply(world.model(), world.version())
    ready = world.ready()
    assert ready["status"]["registryId"] == str(version.id)
    owner = world.final("granite", kind="RegisteredModel")
    assert owner["status"]["registryId"] == str(model.id)
    (governed,) = listed(world, operator, VERSIONS)
    assert (governed.id, governed.name, governed.external_id) == (version.id, "granite 1", "x")
    assert governed.properties["accuracy"] == OWN["accuracy"]
    assert governed.governed is not None
    assert governed.governed.phase == "Ready to Deploy"
    assert list(governed.governed.cleared_for) == ready["status"]["clearedFor"]
    assert governed.governed.digest == ready["status"]["artifact"]["digest"]
    assert governed.governed.fit == ready["status"]["hardware"]["verdict"]
    (kept,) = listed(world, operator, MODELS)
    assert (kept.id, kept.name, kept.properties) == (model.id, "Granite", OWN)
    template = world.get("ConfigMap", "granite-1-serving")
    assert template is not None


def test_the_objects_of_another_namespace_do_not(world: World, operator: Operator) -> None:
    model, version = record(world, operator, namespace="team-elsewhere")
    world.apply(world.model(), world.version())
    waiting = world.phase("granite-1", "Waiting")
    stalled = condition(waiting, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "NameTaken"
    assert "is recorded for namespace team-elsewhere" in stalled["message"]
    assert world.templates() == []
    assert listed(world, operator, VERSIONS) == [version]
    assert listed(world, operator, MODELS) == [model]
