"""The source in OpenShift AI's catalog: what is written, what never is, and what is told where nothing can be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
import yaml

from entriescontract import a_decided, a_recorded_version
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers import catalog_sources
from gatehouse.controllers.catalog_sources import CatalogSources
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.domain.catalog.sources_file import MODELS_KEY, SOURCES_KEY
from gatehouse.domain.common.errors import Superseded
from gatehouse.registry.rows import Rows
from registrycontract import Opened, a_change, open_file

REGISTRY = "registries/local"
OTHERS = "catalogs:\n- {id: team, type: yaml, enabled: no}\n"


@dataclass
class World:
    """A registry with real rows in SQLite, and the ConfigMap of the sources; ``meanwhile`` is another program."""

    opened: Opened
    data: dict[str, str] | None = field(default_factory=lambda: {SOURCES_KEY: OTHERS, "team.yaml": "models: []"})
    version: int = 1
    writes: list[str] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    meanwhile: str | None = None

    def __post_init__(self) -> None:
        self.sources = self.of(REGISTRY)

    def of(self, registry: str) -> CatalogSources:
        return CatalogSources(
            registry=registry,
            objects=Objects(self),  # type: ignore[arg-type]
            connections=self,  # type: ignore[arg-type]
            config_maps=self,
            troubles=RegistryTroubles(events=self),
        )

    async def ready(self, number: int = 1, **changes: Any) -> None:
        held = await self.opened.rows.load_version(model="granite", version=f"v{number}")
        ids = {} if held is None else {"id": held.id, "model_id": held.model_id}
        await self.opened.rows.save_version(a_decided(number, **ids, **changes), files=None, change=a_change())

    def models(self) -> list[str]:
        assert self.data is not None
        return [model["name"] for model in yaml.safe_load(self.data[MODELS_KEY])["models"]]

    # the ConfigMap

    async def read(self, namespace: str) -> Mapping[str, Any] | None:
        assert namespace == "registries"
        if self.data is None:
            return None
        return {
            "metadata": {"namespace": namespace, "uid": "u", "resourceVersion": str(self.version)},
            "data": {**self.data},
        }

    async def put_data(self, config_map: Mapping[str, Any], key: str, text: str) -> Mapping[str, Any]:
        self._write(key, text)
        found = await self.read("registries")
        assert found is not None
        if self.meanwhile is not None:
            self._write(SOURCES_KEY, self.meanwhile)
        return found

    async def replace_data(self, config_map: Mapping[str, Any], key: str, text: str) -> None:
        if config_map["metadata"]["resourceVersion"] != str(self.version):
            raise Superseded(reason="Conflict", message="changed")
        self._write(key, text)

    def _write(self, key: str, text: str) -> None:
        assert self.data is not None
        self.data[key] = text
        self.version += 1
        self.writes.append(key)

    # the cache and the connections

    def names(self, kind: str) -> Sequence[ObjectName]:
        return [ObjectName("registries", "local"), ObjectName("registries", "other")]

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        stores = [{"uriPrefix": "s3://models/", "endpoint": "https://s3.example.com"}]
        return {"metadata": {"namespace": namespace, "name": name}, "spec": {"objectStores": stores}}

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return "1"

    async def rows(self, registry: ModelRegistry) -> Rows:
        assert registry.metadata.name == "local"
        return self.opened.rows

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        self.events.append((reason, message))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_file(tmp_path)
    yield World(opened)
    await opened.databases.aclose()


async def test_what_is_ready_is_a_source_and_others_stay(world: World) -> None:
    await world.ready(1)
    await world.sources.sweep()
    assert world.data is not None
    assert world.data["team.yaml"] == "models: []"
    entries = yaml.safe_load(world.data[SOURCES_KEY])["catalogs"]
    assert entries[0] == {"id": "team", "type": "yaml", "enabled": False}
    assert (entries[1]["id"], entries[1]["properties"]) == ("gatehouse", {"yamlCatalogPath": MODELS_KEY})
    (model,) = orjson.loads(world.data[MODELS_KEY])["models"]
    assert (model["name"], model["description"], "id" in model) == ("granite/v1", "first light", False)
    weights, fit = model["artifacts"]
    assert weights["uri"] == "s3://models/granite/1/?endpoint=https://s3.example.com&defaultRegion=us-east-1"
    assert "estimate" in fit["customProperties"]["gatehouse.fit_basis"]["string_value"]
    assert world.events == []


async def test_nothing_is_written_when_nothing_changed(world: World) -> None:
    await world.ready(1)
    await world.sources.sweep()
    assert world.writes == [MODELS_KEY, SOURCES_KEY]
    await world.sources.sweep()
    assert world.writes == [MODELS_KEY, SOURCES_KEY]
    await world.ready(2)
    await world.sources.sweep()
    assert (world.writes[2:], world.models()) == ([MODELS_KEY], ["granite/v2", "granite/v1"])


@pytest.mark.parametrize("changes", [{"state": "ARCHIVED"}, {"phase": "Rejected"}, {"shown": None}])
async def test_what_is_no_longer_ready_leaves_the_file(world: World, changes: dict[str, Any]) -> None:
    await world.ready(1)
    await world.sources.sweep()
    await world.ready(1, **changes)
    await world.sources.sweep()
    assert world.models() == []


async def test_no_recorded_entry_is_in_the_file(world: World) -> None:
    await a_recorded_version(world.opened)
    await world.sources.sweep()
    assert world.models() == []


async def test_only_the_named_registry_is_a_source(world: World) -> None:
    await world.of("registries/unknown").sweep()
    assert world.writes == []


async def test_a_list_that_another_program_changes_meanwhile_is_not_overwritten(world: World) -> None:
    world.meanwhile = "catalogs:\n- {id: newer}\n"
    await world.sources.sweep()
    assert world.data is not None
    assert world.data[SOURCES_KEY] == world.meanwhile
    await world.sources.sweep()
    assert [entry["id"] for entry in yaml.safe_load(world.data[SOURCES_KEY])["catalogs"]] == ["newer", "gatehouse"]
    assert world.events == []


async def test_a_malformed_list_is_left_alone_and_told_once(world: World) -> None:
    assert world.data is not None
    world.data[SOURCES_KEY] = "catalogs: ["
    for _ in range(3):
        await world.sources.sweep()
    assert world.data[SOURCES_KEY] == "catalogs: ["
    ((reason, message),) = world.events
    assert reason == "CatalogSourceNotKept"
    assert "sources.yaml" in message
    assert "well-formed YAML" in message
    world.data[SOURCES_KEY] = OTHERS
    await world.sources.sweep()
    assert "gatehouse" in world.data[SOURCES_KEY]


async def test_a_missing_config_map_is_told_and_never_made(world: World) -> None:
    world.data = None
    await world.sources.sweep()
    assert world.writes == []
    ((_, message),) = world.events
    assert "no ConfigMap of the catalog's sources" in message


async def test_a_config_map_without_room_gets_the_newest_models_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 30):
        await world.ready(number)
    monkeypatch.setattr(catalog_sources, "ROOM", 40_000)
    await world.sources.sweep()
    assert world.data is not None
    assert sum(len(text.encode()) + len(key) for key, text in world.data.items()) <= 40_000
    names = world.models()
    assert names == [f"granite/v{number}" for number in range(29, 29 - len(names), -1)]
    assert 0 < len(names) < 29
    ((_, message),) = world.events
    assert f"room for the newest {len(names)} models" in message
    assert "gatehouse" in world.data[SOURCES_KEY]


async def test_others_may_fill_the_config_map(world: World) -> None:
    assert world.data is not None
    world.data["team.yaml"] = "x" * 1_048_000
    await world.ready(1)
    await world.sources.sweep()
    assert world.models() == []
    assert len(world.events) == 1
