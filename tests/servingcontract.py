"""What every database must do for what the cluster shows of serving: run on SQLite, MariaDB and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from entriescontract import a_decided, a_new, a_recorded_version, equal, listed, names, statements
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.entries.entry import Entry, EntryKind
from gatehouse.domain.entries.observed import ObservedEnvironment, ObservedService, ObservedServing
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.entries.refusals import EntryGoverned
from gatehouse.domain.query.pages import Page
from gatehouse.domain.version.records import VersionIds
from gatehouse.registry.entry_updates import EntryChange
from gatehouse.registry.tables import entries, entry_properties
from registrycontract import DIGEST, OTHER_DIGEST, Opened, a_change

__all__ = ["ServingContract", "a_service", "an_environment", "running"]

ENVIRONMENTS: tuple[EntryKind, ...] = ("serving_environment",)
SERVICES: tuple[EntryKind, ...] = ("inference_service",)
URL = "http://granite-v1-production.example.com"


def an_environment(name: str = "production", uid: str = "n-1") -> ObservedEnvironment:
    return ObservedEnvironment(name=name, uid=uid)


def a_service(version_id: int, name: str = "granite-v1", **changes: Any) -> ObservedService:
    given = ObservedService(
        namespace="production",
        name=name,
        uid=f"u-{name}",
        version_id=version_id,
        runtime="gatehouse-vllm-0123456789",
        url=URL,
    )
    return replace(given, **changes)


def running(*services: ObservedService, more: tuple[ObservedEnvironment, ...] = ()) -> ObservedServing:
    return ObservedServing(environments=frozenset({an_environment(), *more}), services=frozenset(services))


async def a_ready(opened: Opened, number: int = 1) -> VersionIds:
    ids = await opened.rows.save_version(a_decided(number), files=None, change=a_change())
    assert ids is not None
    return ids


class ServingContract:
    """Subclasses have the fixture ``opened`` of :class:`registrycontract.RegistryContract`."""

    async def test_what_runs_is_an_entry(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        assert await opened.rows.save_serving(running(a_service(ids.version_id))) == 2
        (environment,) = await listed(opened, ENVIRONMENTS)
        (service,) = await listed(opened, SERVICES)
        assert (environment.name, environment.namespace, environment.parent_id) == ("production", "production", None)
        assert (service.name, service.namespace, service.parent_id) == (
            "granite-v1/u-granite-v1",
            "production",
            environment.id,
        )
        assert service.state == "DEPLOYED"
        assert service.members == {
            "registeredModelId": str(ids.model_id),
            "modelVersionId": str(ids.version_id),
            "runtime": "gatehouse-vllm-0123456789",
        }
        assert service.properties == {"url": Property("string", URL)}
        assert environment.governed is not None
        assert service.governed is not None
        assert (service.governed.object_name, service.governed.phase, service.governed.cleared_for) == (
            "granite-v1",
            "",
            (),
        )
        found = await opened.rows.entries.find(kinds=SERVICES, name="granite-v1/u-granite-v1", parent_id=environment.id)
        assert found == service

    async def test_nothing_is_written_when_nothing_changed(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        serving = running(a_service(ids.version_id), a_service(ids.version_id, "other"))
        assert await opened.rows.save_serving(serving) == 3
        before = opened.run(select(entries))
        with statements(opened) as seen:
            assert await opened.rows.save_serving(serving) == 0
        assert [text for text in seen if text.startswith(("INSERT", "UPDATE", "DELETE"))] == []
        assert seen != []
        assert opened.run(select(entries)) == before

    async def test_many_services_cost_as_many_statements_as_few(self, opened: Opened) -> None:
        ids = await a_ready(opened)

        async def cost(count: int, first: int) -> int:
            services = [a_service(ids.version_id, f"s{number}") for number in range(first + count)]
            with statements(opened) as seen:
                assert await opened.rows.save_serving(running(*services)) == count + (first == 0)
            return len(seen)

        assert await cost(2, 0) == pytest.approx(await cost(60, 2), abs=3)

    async def test_a_service_that_is_gone_is_undeployed_and_stays(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        await opened.rows.save_serving(running(a_service(ids.version_id), a_service(ids.version_id, "other")))
        before = {entry.name: entry for entry in await listed(opened, SERVICES)}
        assert await opened.rows.save_serving(running(a_service(ids.version_id, "other"))) == 1
        after = {entry.name: entry for entry in await listed(opened, SERVICES)}
        gone = after["granite-v1/u-granite-v1"]
        assert (gone.state, gone.id) == ("UNDEPLOYED", before[gone.name].id)
        assert gone.updated_at > before[gone.name].updated_at
        assert after["other/u-other"] == before["other/u-other"]
        assert await opened.rows.save_serving(running(a_service(ids.version_id, "other"))) == 0
        assert await opened.rows.save_serving(running(a_service(ids.version_id, deployed=False))) == 1
        assert {entry.state for entry in await listed(opened, SERVICES)} == {"UNDEPLOYED"}

    async def test_what_pods_run_is_shown_until_the_service_is_gone(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        pods = {"digest": DIGEST, "running": (DIGEST, OTHER_DIGEST), "pods": 3, "ready": 2}
        serving = running(a_service(ids.version_id, **pods))
        assert await opened.rows.save_serving(serving) == 2
        assert await opened.rows.save_serving(serving) == 0
        unknown = a_service(ids.version_id, digest=DIGEST)
        assert await opened.rows.save_serving(running(unknown)) == 0, "a restart writes nothing"
        (shown,) = await listed(opened, SERVICES)
        assert shown.properties == {
            "url": Property("string", URL),
            "gatehouse.digest": Property("string", DIGEST),
            "gatehouse.running_digest": Property("string", f"{DIGEST}, {OTHER_DIGEST}"),
            "gatehouse.pods": Property("int", 3),
            "gatehouse.ready_pods": Property("int", 2),
        }
        unready = equal("gatehouse.ready_pods", 2, typed="int")
        assert await names(opened, SERVICES, unready) == [shown.name]
        lie = EntryChange(properties={"gatehouse.pods": Property("int", 9), "team": Property("string", "red")})
        noted = await opened.rows.entries.update(kinds=SERVICES, id=shown.id, change=lie, actor="a")
        assert noted.properties == {**shown.properties, "team": Property("string", "red")}
        assert await opened.rows.save_serving(running(a_service(ids.version_id, **pods | {"ready": 3}))) == 1
        assert await names(opened, SERVICES, unready) == []
        assert await opened.rows.save_serving(running()) == 1
        (gone,) = await listed(opened, SERVICES)
        assert (gone.state, gone.properties) == (
            "UNDEPLOYED",
            {"url": Property("string", URL), "team": Property("string", "red")},
        )

    async def test_filters_find_what_runs(self, opened: Opened) -> None:
        one, two = await a_ready(opened, 1), await a_ready(opened, 2)
        await opened.rows.save_serving(running(a_service(one.version_id), a_service(two.version_id, "second", url="")))
        assert await names(opened, SERVICES, equal("modelVersionId", str(two.version_id))) == ["second/u-second"]
        assert await names(opened, SERVICES, equal("url", URL, typed="string")) == ["granite-v1/u-granite-v1"]
        await opened.rows.save_serving(running(a_service(one.version_id), a_service(one.version_id, "second", url="x")))
        assert await names(opened, SERVICES, equal("modelVersionId", str(two.version_id))) == []
        assert await names(opened, SERVICES, equal("url", "x", typed="string")) == ["second/u-second"]
        assert opened.count(entry_properties) == 8
        with statements(opened) as seen:
            await listed(opened, SERVICES, page=Page(size=10))
        assert len(seen) == 1

    async def test_the_row_that_a_client_recorded_is_taken_over(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        create = opened.rows.entries.create
        environment = await create(
            a_new("serving_environment", "production", state="", members={"description": "mine"}), actor="controller"
        )
        note = Property("string", "kept")
        recorded = await create(
            a_new(
                "inference_service",
                "granite-v1/u-granite-v1",
                parent_id=environment.id,
                state="DEPLOYED",
                members={"registeredModelId": "77", "modelVersionId": "78", "description": "d"},
                properties={"url": Property("string", "http://old"), "note": note},
            ),
            actor="controller",
        )
        assert recorded.governed is None
        assert await opened.rows.save_serving(running(a_service(ids.version_id))) == 2
        (taken,) = await listed(opened, SERVICES)
        assert (taken.id, taken.namespace, taken.members["description"]) == (recorded.id, "production", "d")
        assert taken.members["modelVersionId"] == str(ids.version_id)
        assert taken.properties == {"url": Property("string", URL), "note": note}
        (place,) = await listed(opened, ENVIRONMENTS)
        assert (place.id, place.namespace, place.members) == (environment.id, "production", {"description": "mine"})

    async def test_other_entries_of_clients_stay_recorded(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        create = opened.rows.entries.create
        lab = await create(a_new("serving_environment", "lab", state=""), actor="a")
        await create(a_new("inference_service", "granite-v1/u-granite-v1", parent_id=lab.id), actor="a")
        await opened.rows.save_serving(running(a_service(ids.version_id)))
        await opened.rows.save_serving(running())
        recorded = [entry for entry in await listed(opened, SERVICES) if entry.governed is None]
        assert [(entry.parent_id, entry.state) for entry in recorded] == [(lab.id, "LIVE")]

    async def test_a_client_does_not_overwrite_what_the_cluster_shows(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        await opened.rows.save_serving(running(a_service(ids.version_id)))
        (service,) = await listed(opened, SERVICES)

        async def change(**what: Any) -> Entry:
            return await opened.rows.entries.update(
                kinds=SERVICES, id=service.id, change=EntryChange(**what), actor="controller"
            )

        stopped = await change(state="UNDEPLOYED", properties={"url": Property("string", "http://lie")})
        assert (stopped.state, stopped.properties) == ("DEPLOYED", service.properties)
        noted = await change(properties={"team": Property("string", "red")}, members={"description": "d"})
        assert noted.properties == {"team": Property("string", "red"), **service.properties}
        assert noted.members == {**service.members, "description": "d"}
        for name in ("modelVersionId", "registeredModelId", "runtime"):
            with pytest.raises(EntryGoverned, match="as the cluster shows"):
                await change(members={name: "99"})
        assert await opened.rows.save_serving(running(a_service(ids.version_id))) == 0
        assert await listed(opened, SERVICES) == [noted]

    async def test_the_service_of_a_version_answers_under_the_id_of_the_version(self, opened: Opened) -> None:
        ids, rows = await a_ready(opened), opened.rows
        get = rows.entries.get
        assert await get(kinds=SERVICES, id=ids.version_id) is None, "no environment is known"
        await rows.save_serving(running(more=(an_environment("team-a", "n-2"),)))
        environments = {entry.name: entry.id for entry in await listed(opened, ENVIRONMENTS)}
        reserved = await get(kinds=SERVICES, id=ids.version_id)
        assert reserved is not None
        facts = {"registeredModelId": str(ids.model_id), "modelVersionId": str(ids.version_id)}
        assert (reserved.id, reserved.name, reserved.namespace) == (ids.version_id, "granite-v1", "team-a")
        assert (reserved.parent_id, reserved.state, reserved.members) == (environments["team-a"], "UNDEPLOYED", facts)
        with pytest.raises(EntryGoverned, match="No service runs the model version"):
            await rows.entries.update(
                kinds=SERVICES, id=ids.version_id, change=EntryChange(members={"description": "d"}), actor="a"
            )
        both = (a_service(ids.version_id, "first"), a_service(ids.version_id, "second"))
        home = (an_environment("team-a", "n-2"),)
        await rows.save_serving(running(*both, more=home))
        rest = {entry.name: entry for entry in await listed(opened, SERVICES)}
        assert sorted(rest) == ["first/u-first", "second/u-second"], "no list shows the version's own"
        await rows.save_serving(running(both[0], more=home))
        shown = await get(kinds=SERVICES, id=ids.version_id)
        assert shown == replace(rest["first/u-first"], id=ids.version_id)
        noted = await rows.entries.update(
            kinds=SERVICES, id=ids.version_id, change=EntryChange(members={"description": "d"}), actor="a"
        )
        assert (noted.id, noted.name, noted.members["description"]) == (ids.version_id, "first/u-first", "d")
        assert await get(kinds=SERVICES, id=ids.version_id) == noted
        await rows.save_serving(running(more=home))
        last = await get(kinds=SERVICES, id=ids.version_id)
        assert last is not None
        assert (last.state, last.name) == ("UNDEPLOYED", "second/u-second")

    async def test_the_namespace_of_an_environment_is_one_of_the_registry(self, opened: Opened) -> None:
        await opened.rows.save_serving(running())
        assert await opened.rows.namespaces() == {"production"}

    async def test_a_recorded_version_has_no_service(self, opened: Opened) -> None:
        _, version = await a_recorded_version(opened)
        await opened.rows.save_serving(running(a_service(version.id), more=(an_environment("team-a", "n-2"),)))
        assert await opened.rows.entries.get(kinds=SERVICES, id=version.id) is None

    async def test_a_version_of_another_registry_is_not_shown(self, opened: Opened) -> None:
        ids = await a_ready(opened)
        assert await opened.rows.save_serving(running(a_service(ids.version_id + 1))) == 1
        assert await listed(opened, SERVICES) == []

    async def test_an_environment_that_was_created_again_keeps_its_id(self, opened: Opened) -> None:
        await opened.rows.save_serving(running())
        (before,) = await listed(opened, ENVIRONMENTS)
        assert await opened.rows.save_serving(ObservedServing(environments=frozenset({an_environment(uid="n-9")}))) == 1
        (after,) = await listed(opened, ENVIRONMENTS)
        assert after.id == before.id
        with pytest.raises(Stalled, match="already exists"):
            await opened.rows.entries.create(a_new("serving_environment", "production", state=""), actor="a")
