"""The handlers behind the whole application: what follows from one call for others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest

from unit.server.kubeflow.served import V1, V3, Served, made_run, served


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as door:
        yield door


async def test_artifacts_of_a_run_name_the_run_and_its_experiment(door: Served) -> None:
    run = await made_run(door)
    path = f"/experiment_runs/{run['id']}/artifacts"
    made = await door.made(path, {"artifactType": "doc-artifact", "name": "notes", "uri": "https://x/y"})
    alone = await door.made("/artifacts", {"artifactType": "parameter", "name": "rate", "value": "0.1"})
    assert "experimentRunId" not in alone
    attached = await door.made(path, {**alone, "value": "0.2"})
    for artifact in (made, attached):
        assert (artifact["experimentRunId"], artifact["experimentId"]) == (run["id"], run["experimentId"])
        assert (await door.call("GET", f"/artifacts/{artifact['id']}")).json()["experimentRunId"] == run["id"]
    answer = await door.call("GET", f"{V1}/artifacts/{made['id']}")
    assert "experimentRunId" not in answer.json()


async def test_a_model_artifact_of_a_run_stays_recorded(door: Served) -> None:
    run = await made_run(door)
    path = f"/experiment_runs/{run['id']}/artifacts"
    sent = {"artifactType": "model-artifact", "name": "weights", "uri": "s3://models/run-1/"}
    made = await door.made(path, sent)
    changed = await door.call("PATCH", f"/model_artifacts/{made['id']}", {"uri": "s3://models/run-2/"})
    assert (changed.status, changed.json()["uri"].partition("?")[0]) == (200, "s3://models/run-2/")
    again = await door.made(path, {**sent, "id": made["id"], "uri": "s3://models/run-3/"})
    assert (again["id"], again["experimentRunId"]) == (made["id"], run["id"])


async def test_the_history_of_a_run_keeps_every_value_of_a_metric(door: Served) -> None:
    run = await made_run(door)
    path = f"/experiment_runs/{run['id']}/artifacts"
    metric = await door.made(path, {"artifactType": "metric", "name": "loss", "value": 0.9, "step": 1})
    for step, value in ((2, 0.5), (3, 0.25)):
        sent = {"artifactType": "metric", "id": metric["id"], "name": "loss", "value": value, "step": step}
        changed = await door.made(path, sent)
        assert (changed["id"], changed["value"]) == (metric["id"], value)
    unchanged = {"artifactType": "metric", "description": "the same value"}
    assert (await door.call("PATCH", f"/artifacts/{metric['id']}", unchanged)).status == 200
    await door.made(path, {"artifactType": "metric", "name": "accuracy", "value": 0.7, "step": 2})

    async def values(query: str = "", *, of: str = f"/experiment_runs/{run['id']}") -> list[tuple[str, float, int]]:
        listing = (await door.call("GET", f"{of}/metric_history{query}")).json()
        return [(item["name"], item["value"], item["step"]) for item in listing["items"]]

    whole = [("loss", 0.9, 1), ("loss", 0.5, 2), ("loss", 0.25, 3), ("accuracy", 0.7, 2)]
    assert await values() == await values(of="/experiment_runs") == whole
    assert await values("?name=loss") == whole[:3]
    assert await values("?name=loss&stepIds=1,3") == [whole[0], whole[2]]
    assert await values("?stepIds=2") == [whole[1], whole[3]]
    assert await values("?pageSize=2") == whole[:2]
    assert [item["name"] for item in (await door.call("GET", path)).json()["items"]] == ["loss", "accuracy"]
    assert (await door.call("GET", "/artifacts?artifactType=metric")).json()["size"] == 2


async def test_curl_archives_with_its_own_media_type_and_a_page_in_a_browser_does_not(door: Served) -> None:
    model = await door.made("/registered_models", {"name": "old"})
    form, path = {"content-type": "application/x-www-form-urlencoded"}, f"/registered_models/{model['id']}"
    for browser in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"cookie": "session=1"}):
        answer = await door.call("PATCH", path, {"state": "ARCHIVED"}, headers={**form, **browser})
        assert answer.status == 415
    assert (await door.call("PATCH", path, {"state": "ARCHIVED"}, headers=form)).json()["state"] == "ARCHIVED"


async def test_the_documents_are_served_without_credentials(door: Served) -> None:
    for version in ("v1alpha3", "v1"):
        path = f"/openapi/model_registry/{version}.json"
        answer = await door.public("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json()["info"]["version"] == version
        refused = await door.public("POST", path)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await door.public("GET", "/openapi/model_registry")).status == 404


async def test_a_version_that_ends_says_so_in_every_answer(tmp_path: Path) -> None:
    async with served(tmp_path, sunset=date(2027, 6, 30)) as door:
        for path in ("/registered_models", "/registered_models/5", "/nothing"):
            headers = (await door.call("GET", path)).headers
            assert (headers["deprecation"], headers["sunset"]) == ("true", "Wed, 30 Jun 2027 00:00:00 GMT")
            assert headers["link"] == '</api/model_registry/v1/>; rel="successor-version"'
            assert "sunset" not in (await door.call("GET", f"{V1}{path}")).headers
        assert (await door.public("GET", f"{V3}/registered_models")).headers["deprecation"] == "true"


async def test_no_version_ends_by_default(door: Served) -> None:
    assert not {"deprecation", "sunset", "link"} & set((await door.call("GET", "/registered_models")).headers)


async def test_an_artifact_stays_in_its_namespace(door: Served) -> None:
    model = await door.made("/registered_models", {"name": "granite"})
    version = await door.made("/model_versions", {"name": "1", "registeredModelId": model["id"]})
    alone = await door.made("/artifacts?namespace=other", {"artifactType": "doc-artifact", "name": "notes"})
    path = f"/model_versions/{version['id']}/artifacts"
    refused = await door.call("POST", path, {**alone, "description": "taken"})
    assert (refused.status, refused.json()["code"]) == (409, "Conflict")
    assert "is in namespace other, and model version" in refused.json()["message"]
    assert (await door.call("GET", path)).json()["items"] == []
    assert "description" not in (await door.call("GET", f"/artifacts/{alone['id']}")).json()
