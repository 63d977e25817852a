"""Own rows in SQLite, a mirror on a socket: what is written, how often, and what becomes of every fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.mirrors import FULL_INTERVAL, LAST_RETRY, MOST_WRITES, PAGE, MirrorKeeper, MirrorStates
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.domain.entries.entry import NewEntry
from gatehouse.mirrors.client import open_mirror
from gatehouse.registry.entry_updates import EntryChange
from gatehouse.registry.rows import Rows
from registrycontract import NOW, Opened, open_file
from unit.mirrors.registries import TOKEN, FakeRegistry, fake_registry

NAME = ObjectName("registries", "local")


class World:
    """One registry with one mirror; ``token`` is the token that the operator reads."""

    def __init__(self, opened: Opened, mirror: FakeRegistry) -> None:
        self.opened, self.mirror = opened, mirror
        self.token = TOKEN
        self.now_ = NOW
        self.url = mirror.url
        self.changed: list[ObjectName] = []
        self.troubles: list[str] = []
        self.keeper = self.restarted()

    def restarted(self) -> MirrorKeeper:
        """A keeper as after a restart of the operator."""
        self.states = MirrorStates(changed=self.changed.append)
        self.keeper = MirrorKeeper(
            objects=Objects(self),  # type: ignore[arg-type]
            connections=self,  # type: ignore[arg-type]
            open_mirror=open_mirror,
            states=self.states,
            clock=self,
            troubles=RegistryTroubles(events=self),
        )
        return self.keeper

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry.model_validate(self.get("", "", ""))

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        mirror = {"url": self.url, "tls": "Disabled", "tokenSecret": {"name": "mirror", "key": "token"}}
        metadata = {"namespace": NAME.namespace, "name": NAME.name, "uid": "u", "generation": 1}
        return {"metadata": metadata, "spec": {"mirrors": [mirror] if self.url else []}}

    def names(self, kind: str) -> Sequence[ObjectName]:
        return [NAME]

    def revision(self, kind: str, namespace: str, name: str) -> str:
        return self.url

    def now(self) -> datetime:
        return self.now_

    def record(self, kind: str, body: Mapping[str, Any], *, type_: str, reason: str, message: str) -> None:
        self.troubles.append(message)

    async def rows(self, registry: ModelRegistry) -> Rows:
        return self.opened.rows

    async def secret(self, registry: ModelRegistry, reference: object) -> str:
        return self.token

    # what a test does

    async def record_model(self, name: str, *, versions: int = 1) -> list[int]:
        entries = self.opened.rows.entries
        model = await entries.create(NewEntry(kind="registered_model", namespace="team", name=name), actor="ann")
        ids = [model.id]
        for number in range(versions):
            version = await entries.create(
                NewEntry(
                    kind="model_version", namespace="team", name=f"{name} v{number}", parent_id=model.id, state="LIVE"
                ),
                actor="ann",
            )
            artifact = await entries.create(
                NewEntry(
                    kind="model_artifact",
                    namespace="team",
                    name=f"{name} a{number}",
                    parent_id=version.id,
                    members={"uri": "https://example.com/x"},
                ),
                actor="ann",
            )
            ids += [version.id, artifact.id]
        return ids

    async def turn(self, *, later: timedelta = timedelta(seconds=6)) -> None:
        self.now_ += later
        await self.keeper.sweep()
        assert not self.troubles

    def says(self) -> tuple[str, str, str]:
        [state] = self.states.of(self.registry)
        return state.status, state.reason, state.message


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_file(tmp_path)
    async with fake_registry() as mirror:
        yield World(opened, mirror)
    await opened.databases.aclose()


async def test_every_entry_is_copied_once_and_a_change_costs_one_write(world: World) -> None:
    ids = await world.record_model("granite", versions=2)
    assert world.says()[:2] == ("Unknown", "Copying")
    await world.turn()
    assert world.says() == ("True", "InStep", f"{world.url} has every entry")
    assert Counter(method for method, _ in world.mirror.asked) == {"POST": 5}
    assert world.mirror.named("granite a1")["artifactType"] == "model-artifact"
    assert world.mirror.named("granite v1")["parent"] == world.mirror.named("granite")["id"]
    for _ in range(3):
        queries = world.opened.counts.queries
        await world.turn()
        assert world.opened.counts.queries - queries <= 6
    assert len(world.mirror.asked) == 5
    await world.opened.rows.entries.update(
        kinds=("model_version",), id=ids[1], change=EntryChange(state="ARCHIVED"), actor="ann"
    )
    await world.turn()
    version = world.mirror.named("granite v0")
    assert (version["state"], world.mirror.asked[5:]) == ("ARCHIVED", [("PATCH", f"/model_versions/{version['id']}")])


async def test_a_restart_writes_nothing(world: World) -> None:
    await world.record_model("granite", versions=3)
    await world.turn()
    asked = len(world.mirror.asked)
    world.restarted()
    await world.turn()
    assert (len(world.mirror.asked), world.says()[0]) == (asked, "True")
    await world.turn(later=FULL_INTERVAL)
    await world.turn()
    assert len(world.mirror.asked) == asked


async def test_a_large_registry_is_copied_in_turns(world: World) -> None:
    for number in range(PAGE + 50):
        await world.record_model(f"m{number}", versions=0)
    await world.turn()
    assert (world.mirror.writes, world.says()[:2]) == (MOST_WRITES, ("Unknown", "Copying"))
    await world.turn(later=timedelta(seconds=2))
    assert (world.mirror.writes, world.says()[0]) == (PAGE + 50, "True")


async def test_entries_that_are_there_are_found_and_adopted(world: World) -> None:
    await world.record_model("granite")
    there = world.mirror.put("registered_models", "granite", owner="someone")
    await world.turn()
    assert world.says()[0] == "True"
    assert world.mirror.asked[:3] == [
        ("POST", "/registered_models"),
        ("GET", "/registered_model"),
        ("PATCH", f"/registered_models/{there}"),
    ]
    assert world.mirror.named("granite v0")["parent"] == there
    assert len(world.mirror.entries) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 429, 302, 408])
async def test_a_mirror_that_is_down_is_a_condition_and_caught_up_later(world: World, status: int) -> None:
    await world.record_model("granite")
    world.mirror.fault = lambda _method, path: web.Response(status=status) if "versions" in path else None
    await world.turn()
    assert world.says()[:2] == ("False", "MirrorUnavailable")
    assert world.changed == [NAME]
    asked = len(world.mirror.asked)
    await world.turn(later=timedelta(seconds=1))
    assert len(world.mirror.asked) == asked
    for _ in range(20):
        await world.turn(later=timedelta(seconds=5))
    assert len(world.mirror.asked) - asked <= 6
    assert world.changed == [NAME]
    world.mirror.fault = None
    await world.turn(later=LAST_RETRY)
    assert (world.says()[0], len(world.mirror.entries)) == ("True", 3)


async def test_a_mirror_that_hangs_up(world: World) -> None:
    await world.record_model("granite")
    world.mirror.hangs_up = True
    await world.turn()
    assert world.says()[:2] == ("False", "MirrorUnavailable")
    world.mirror.hangs_up = False
    await world.turn(later=LAST_RETRY)
    assert world.says()[0] == "True"


async def test_an_answer_lost_after_the_entry_was_created_makes_no_double(world: World) -> None:
    await world.record_model("granite")

    def lost(method: str, path: str) -> web.Response | None:
        if (method, path) == ("POST", "/registered_models") and not world.mirror.entries:
            world.mirror.put("registered_models", "granite")
            return web.Response(status=504)
        return None

    world.mirror.fault = lost
    await world.turn()
    await world.turn(later=LAST_RETRY)
    assert (world.says()[0], len(world.mirror.entries)) == ("True", 3)


async def test_a_wrong_token_is_a_condition_that_holds_no_secret(world: World) -> None:
    await world.record_model("granite")
    world.token = "another-secret"
    await world.turn()
    assert world.says()[:2] == ("False", "MirrorDenied")
    assert "HTTP 401" in world.says()[2]
    assert TOKEN not in world.says()[2]
    assert "another-secret" not in world.says()[2]


async def test_an_entry_that_is_not_accepted_blocks_no_other(world: World) -> None:
    await world.record_model("granite")
    await world.record_model("odd")
    posted: list[str] = []

    def refuse(method: str, path: str) -> web.Response | None:
        posted.append(path)
        return web.json_response({"message": TOKEN}, status=400) if len(posted) == 1 else None

    world.mirror.fault = refuse
    await world.turn()
    status, reason, message = world.says()
    assert (status, reason) == ("False", "EntriesRefused")
    assert "does not accept 1 entries" in message
    assert TOKEN not in message
    assert len(world.mirror.entries) == 3
    asked = len(world.mirror.asked)
    for _ in range(3):
        await world.turn()
    assert len(world.mirror.asked) == asked
    await world.turn(later=FULL_INTERVAL)
    await world.turn()
    assert (world.says()[0], len(world.mirror.entries)) == ("True", 6)


async def test_a_mirror_whose_database_was_replaced_gets_everything_again(world: World) -> None:
    ids = await world.record_model("granite")
    await world.turn()
    world.mirror.entries.clear()
    await world.opened.rows.entries.update(
        kinds=("model_version",), id=ids[1], change=EntryChange(state="ARCHIVED"), actor="ann"
    )
    await world.turn()
    await world.turn()
    assert (world.says()[0], len(world.mirror.entries)) == ("True", 3)
    assert world.mirror.named("granite v0")["state"] == "ARCHIVED"


async def test_an_answer_of_another_program(world: World) -> None:
    await world.record_model("granite")
    for answer in (b"hello", b"{}", b'{"id": "../x"}', b'{"id": 7}', b"[]"):
        world.mirror.fault = lambda _method, _path, body=answer: web.Response(status=201, body=body)  # type: ignore[misc]
        await world.turn(later=LAST_RETRY)
        assert world.says()[:2] == ("False", "MirrorUnavailable")


async def test_without_mirrors_nothing_is_said_or_asked(world: World) -> None:
    await world.record_model("granite")
    await world.turn()
    asked, world.url = len(world.mirror.asked), ""
    queries = world.opened.counts.queries
    await world.turn()
    assert list(world.states.of(world.registry)) == []
    assert (len(world.mirror.asked), world.opened.counts.queries) == (asked, queries)
