"""What runs, as clients see it; and the InferenceService controllers of Kubeflow, which must never restart a model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from entriescontract import a_decided
from gatehouse.domain.entries.observed import ObservedServing
from gatehouse.domain.serving.template import render
from gatehouse.domain.version.records import VersionIds
from registrycontract import a_change
from servingcontract import URL, a_service, an_environment, running
from unit.domain.serving.serving_inputs import serving_input
from unit.server.kubeflow.inference_service_controller import PREFIX, LiveService, ReconcileFailed, reconcile
from unit.server.kubeflow.served import V1, V3, Served, served

NAMESPACES = ("team", "team-a", "production", "staging")
HOME = an_environment("team-a", "n-2")


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Served]:
    """A caller who may only read, as the controllers need no more."""
    async with served(tmp_path, verbs=("get", "list"), namespaces=NAMESPACES) as door:
        yield door


async def a_ready(door: Served) -> VersionIds:
    ids = await (await door.rows()).save_version(a_decided(), files=None, change=a_change())
    assert ids is not None
    return ids


async def shown(door: Served, serving: ObservedServing) -> None:
    await (await door.rows()).save_serving(serving)


def from_template(ids: VersionIds, **more: Any) -> LiveService:
    """The service that a developer creates from the template of the version."""
    template = render(serving_input(model_id=ids.model_id, version_id=ids.version_id)).inference_service
    labels = {name: value for name, value in template["metadata"]["labels"].items() if name.startswith(PREFIX)}
    given = {"name": "granite-v1", "namespace": "production", "uid": "u-granite-v1", "labels": dict(labels)}
    return LiveService(**given | more)


async def listed(door: Served, prefix: str = V3) -> list[dict[str, Any]]:
    answer = await door.call("GET", f"{prefix}/inference_services")
    assert answer.status == 200, answer.content
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize("prefix", [V3, V1])
async def test_what_runs_is_listed_with_its_version(door: Served, prefix: str) -> None:
    ids = await a_ready(door)
    await shown(door, running(a_service(ids.version_id)))
    (service,) = await listed(door, prefix)
    (environment,) = (await door.call("GET", f"{prefix}/serving_environments")).json()["items"]
    assert environment["name"] == "production"
    assert {name: service[name] for name in service if not name.endswith("Epoch") and name != "id"} == {
        "name": "granite-v1/u-granite-v1",
        "registeredModelId": str(ids.model_id),
        "modelVersionId": str(ids.version_id),
        "servingEnvironmentId": environment["id"],
        "runtime": "gatehouse-vllm-0123456789",
        "desiredState": "DEPLOYED",
        "customProperties": {"url": {"metadataType": "MetadataStringValue", "string_value": URL}},
    }
    version = await door.call("GET", f"{prefix}/inference_services/{service['id']}/version")
    assert version.json()["id"] == str(ids.version_id)
    nested = await door.call("GET", f"{prefix}/serving_environments/{environment['id']}/inference_services")
    assert nested.json()["items"] == [service]
    await shown(door, running())
    assert (await listed(door, prefix))[0]["desiredState"] == "UNDEPLOYED"


async def test_a_service_from_the_template_is_never_restarted(door: Served) -> None:
    """Whether the operator saw the service before the controller or not, and until the service is deleted."""
    ids = await a_ready(door)
    live = from_template(ids)
    await shown(door, running(more=(HOME,)))
    await reconcile(live, door)
    live.url = URL
    await reconcile(live, door)
    await shown(door, running(a_service(ids.version_id), more=(HOME,)))
    await reconcile(live, door)
    live.deleting = True
    await reconcile(live, door)
    assert (live.label_edits, live.finalizers) == (0, set())
    assert [item["desiredState"] for item in await listed(door)] == ["DEPLOYED"], "the cluster says what runs"
    await shown(door, running(a_service(ids.version_id, deployed=False), more=(HOME,)))
    assert [item["desiredState"] for item in await listed(door)] == ["UNDEPLOYED"]


async def test_services_of_one_version_in_several_namespaces_are_never_restarted(door: Served) -> None:
    ids = await a_ready(door)
    services = [
        from_template(ids, namespace=namespace, uid=f"u-{namespace}", url=f"http://{namespace}")
        for namespace in ("production", "staging")
    ]
    observed = [a_service(ids.version_id, namespace=one.namespace, uid=one.uid, url=one.url or "") for one in services]
    await shown(door, running(*observed, more=(HOME, an_environment("staging", "n-3"))))
    for _ in range(3):
        for live in services:
            await reconcile(live, door)
    assert [live.label_edits for live in services] == [0, 0]
    assert len(await listed(door)) == 2
    services[0].deleting = True
    await reconcile(services[0], door)
    assert services[0].finalizers == set()
    assert {item["desiredState"] for item in await listed(door)} == {"DEPLOYED"}


async def test_a_service_without_the_label_is_found_and_not_doubled(door: Served) -> None:
    """A service from an older template: the controller writes the label once, with the id of the one entry."""
    ids = await a_ready(door)
    live = from_template(ids, url=URL)
    del live.labels[f"{PREFIX}/inference-service-id"]
    await shown(door, running(a_service(ids.version_id)))
    for _ in range(3):
        await reconcile(live, door)
    (entry,) = await listed(door)
    assert (live.label_edits, live.labels[f"{PREFIX}/inference-service-id"]) == (1, entry["id"])


async def test_an_entry_that_the_controller_made_first_is_the_one_that_is_shown(tmp_path: Path) -> None:
    async with served(tmp_path, namespaces=NAMESPACES) as door:
        ids = await a_ready(door)
        live = from_template(ids)
        del live.labels[f"{PREFIX}/inference-service-id"]
        await door.made("/registered_models", {"name": "another"})
        # The server's default namespace has the environment until the operator has seen the namespace.
        await reconcile(live, door)
        (before,) = await listed(door)
        await shown(door, running(a_service(ids.version_id)))
        await reconcile(live, door)
        (after,) = await listed(door)
        assert (after["id"], live.label_edits) == (before["id"], 1)
        assert after["customProperties"]["url"]["string_value"] == URL


async def test_the_controller_waits_where_nothing_is_known_yet(door: Served) -> None:
    live = from_template(VersionIds(1, 2))
    with pytest.raises(ReconcileFailed, match=r"404|403"):
        await reconcile(live, door)
    assert live.label_edits == 0


async def test_a_client_that_may_update_adds_to_what_the_cluster_shows(tmp_path: Path) -> None:
    async with served(tmp_path, namespaces=NAMESPACES) as door:
        ids = await a_ready(door)
        # The caller of this door may update in every namespace.
        await shown(door, running(a_service(ids.version_id), more=(HOME,)))
        (entry,) = await listed(door)
        for id_ in (entry["id"], str(ids.version_id)):
            path = f"/inference_services/{id_}"
            noted = (await door.call("PATCH", path, {"description": f"for {id_}"})).json()
            assert (noted["id"], noted["description"], noted["runtime"]) == (id_, f"for {id_}", entry["runtime"])
            refused = await door.call("PATCH", path, {"runtime": "mine"})
            assert (refused.status, refused.json()["code"]) == (409, "Conflict")
            assert "as the cluster shows" in refused.json()["message"]
            stopped = await door.call("PATCH", path, {"desiredState": "UNDEPLOYED"})
            assert (stopped.status, stopped.json()["desiredState"]) == (200, "DEPLOYED")


async def test_a_reader_may_not_add_to_what_the_cluster_shows(door: Served) -> None:
    ids = await a_ready(door)
    await shown(door, running(a_service(ids.version_id)))
    (entry,) = await listed(door)
    assert (await door.call("PATCH", f"/inference_services/{entry['id']}", {"description": "d"})).status == 403
