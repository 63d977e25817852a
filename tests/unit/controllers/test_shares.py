"""Which database each object's reconcile waits for: what keeps a silent one from holding all workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.app.cache_reader import CacheReader
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.shares import GONE, DatabaseShares
from gatehouse.controllers.table import WATCHES
from gatehouse.registry.address import address_of
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.watches import build_caches

SHARED = {"host": "db.example.com", "database": "models", "username": "gatehouse"}
OF = {
    "modelregistries": "ModelRegistry",
    "registeredmodels": "RegisteredModel",
    "modelversions": "ModelVersion",
    "hardwareprofiles": "HardwareProfile",
}


class World:
    """Caches of objects that nobody reconciles."""

    def __init__(self) -> None:
        self.caches: Caches = build_caches(WATCHES)
        self.version = 0
        self.shares = DatabaseShares(self.caches, objects=Objects(CacheReader(self.caches)), describe=describe)

    def put(self, kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> ObjectKey:
        self.version += 1
        body = {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": OF[kind],
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": name,
                "resourceVersion": str(self.version),
                "generation": 1,
                **metadata,
            },
            "spec": spec,
        }
        self.caches[kind].apply("ADDED", body)
        return ObjectKey(kind, "team", name)

    def registry(self, name: str, spec: dict[str, Any] | None = None, **metadata: Any) -> ObjectKey:
        return self.put("modelregistries", name, spec or {}, **metadata)

    def model(self, name: str, registry: str | None, **metadata: Any) -> ObjectKey:
        reference = {} if registry is None else {"registryRef": {"name": registry}}
        return self.put("registeredmodels", name, reference, **metadata)

    def version_of(self, model: str, name: str, **metadata: Any) -> ObjectKey:
        spec = {
            "modelRef": {"name": model},
            "version": name,
            "artifact": {"uri": f"s3://models/{name}/"},
            "hardwareProfileRef": {"name": "l4"},
        }
        return self.put("modelversions", name, spec, **metadata)


def describe(registry: ModelRegistry) -> str:
    return str(address_of(registry, data_dir=Path("/data")))


@pytest.fixture
def world() -> World:
    return World()


def test_an_object_waits_for_the_database_of_its_registry(world: World) -> None:
    mysql = "mysql://db.example.com:3306/models"
    registry = world.registry("served", {"mysql": SHARED})
    world.registry("local", annotations={"gatehouse.dev/default-registry": "true"})
    named, default = world.model("granite", "served"), world.model("llama", None)
    of = world.shares.of
    assert (of(registry), of(named), of(world.version_of("granite", "granite-1"))) == (mysql, mysql, mysql)
    local = "sqlite:////data/team.local.db"
    assert (of(default), of(world.version_of("llama", "llama-1"))) == (local, local)
    assert world.shares.groups.count() == 2


def test_two_registries_in_one_database_share_its_part(world: World) -> None:
    one, two = (world.registry(name, {"postgres": {**SHARED, "database": "models"}}) for name in ("one", "two"))
    assert world.shares.of(one) == world.shares.of(two) == "postgresql://db.example.com:5432/models"


@pytest.mark.parametrize(
    "make",
    [
        lambda world: world.model("granite", "nowhere"),
        lambda world: world.model("granite", None),
        lambda world: world.version_of("nowhere", "granite-1"),
        lambda world: world.put("modelversions", "broken", {}),
        lambda world: world.registry("odd", {"mysql": {"host": 1}}),
        lambda _: ObjectKey("modelregistries", "team", "gone"),
        lambda world: world.put("hardwareprofiles", "l4", {}),
    ],
    ids=["no registry", "no default", "no model", "no spec", "unreadable", "a registry that is gone", "a profile"],
)
def test_what_waits_for_no_database_is_in_no_group(world: World, make: Callable[[World], ObjectKey]) -> None:
    key = make(world)
    if key.kind == "hardwareprofiles":
        with pytest.raises(LookupError):
            world.caches["hardwareprofiles"].indexed(key, "model")
        return
    assert world.shares.of(key) is None


def test_objects_that_are_gone_wait_for_every_database(world: World) -> None:
    world.registry("served", {"mysql": SHARED})
    world.model("granite", "served")
    going = world.version_of("granite", "granite-1", deletionTimestamp="2026-01-01T00:00:00Z")
    assert world.shares.of(going) == GONE
    assert world.shares.of(ObjectKey("modelversions", "team", "gone")) == GONE
    assert world.shares.of(ObjectKey("registeredmodels", "team", "gone")) == GONE
