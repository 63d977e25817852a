"""The catalog over rows: every path, with what is ready and with all that must never be listed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from entriescontract import a_new, a_recorded_version, statements
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.version.shown import ShownDecision
from registrycontract import DIGEST
from unit.server.catalog.catalogs import ALPHA, BEARER, V1, Catalog, rights
from unit.server.parts import ask


async def test_a_ready_version_is_a_model(filled: Catalog) -> None:
    status, model = await filled.get("/sources/gatehouse/models/granite/v1")
    assert status == 200
    assert (model["name"], model["source_id"], model["provider"], model["license"]) == (
        "granite/v1",
        "gatehouse",
        "IBM",
        "apache-2.0",
    )
    assert (model["tasks"], model["language"], model["description"]) == (["text-generation"], ["en"], "first light")
    assert model["artifactCounts"] == {"model-artifact": 1, "performance-metrics": 1}
    properties = model["customProperties"]
    shown = {name: properties[f"gatehouse.{name}"]["string_value"] for name in ("phase", "digest", "hardware_profile")}
    assert shown == {"phase": "Ready to Deploy", "digest": DIGEST, "hardware_profile": "nvidia-l4"}
    assert properties["gatehouse.cleared_for.production"]["bool_value"] is True
    assert "an estimate" in properties["gatehouse.fit_basis"]["string_value"]
    assert properties["origin"]["string_value"] == "lab"
    _, newer = await filled.get("/sources/gatehouse/models/granite/v1", prefix=V1)
    assert newer == {**{name: value for name, value in model.items() if name != "source_id"}, "sourceId": "gatehouse"}


async def test_sources_labels_and_stages(filled: Catalog) -> None:
    _, sources = await filled.get("/sources")
    [source] = sources["items"]
    assert (source["id"], source["status"], source["labels"]) == (
        "gatehouse",
        "available",
        ["Vetted", "Cleared for dev", "Cleared for production"],
    )
    assert (await filled.get("/sources?assetType=agents"))[1]["size"] == 0
    assert (await filled.get("/sources?name=other"))[1]["size"] == 0
    assert (await filled.get("/sources?assetType=cars"))[0] == 400
    _, labels = await filled.get("/labels?orderBy=displayName&sortOrder=DESC")
    assert [label["name"] for label in labels["items"]] == ["Vetted", "Cleared for production", "Cleared for dev"]
    assert await filled.names("?sourceLabel=Vetted") == ["granite/v1", "granite/v2"]
    assert await filled.names("?sourceLabel=Cleared+for+production") == ["granite/v1"]
    assert await filled.names("?sourceLabel=null") == []
    assert await filled.names("?source=other&source=gatehouse") == ["granite/v1", "granite/v2"]
    assert await filled.names("?source=other") == []


async def test_search_filter_order_and_pages(filled: Catalog) -> None:
    assert await filled.names("?q=IBM") == ["granite/v1", "granite/v2"]
    assert await filled.names("?q=nothing") == []
    assert await filled.names("?filterQuery=gatehouse.fit.string_value%20IN%20('Fits')") == ["granite/v1"]
    assert await filled.names("?filterQuery=tasks%3D'text-generation'&sortOrder=DESC") == ["granite/v2", "granite/v1"]
    assert await filled.names("?orderBy=gatehouse.fit.string_value") == ["granite/v1", "granite/v2"]
    assert await filled.names("?orderBy=nonsense") == ["granite/v1", "granite/v2"]
    for order in ("NAME", "ID", "CREATE_TIME", "LAST_UPDATE_TIME", "ACCURACY", "RECOMMENDED", "x.double_value"):
        for version in (ALPHA, V1):
            _, first = await filled.get(f"/models?pageSize=1&orderBy={order}", prefix=version)
            token = first["nextPageToken"]
            _, second = await filled.get(f"/models?pageSize=1&orderBy={order}&nextPageToken={token}", prefix=version)
            names = [item["name"] for item in first["items"] + second["items"]]
            assert (names, second["nextPageToken"]) == (["granite/v1", "granite/v2"], "")
    for query in ("orderBy=nonsense", "sortOrder=up"):
        status, refused = await filled.get(f"/models?{query}", prefix=V1)
        assert (status, refused["code"]) == (400, "Bad Request")
    for query in ("filterQuery=(", "pageSize=0", "nextPageToken=x", f"q={'x' * 1_001}", "q=%00"):
        assert (await filled.get(f"/models?{query}"))[0] == 400


async def test_artifacts_and_estimates(filled: Catalog) -> None:
    path = "/sources/gatehouse/models/granite/v1/artifacts"
    _, listing = await filled.get(path)
    weights, fit = listing["items"]
    assert (weights["artifactType"], weights["uri"].partition("?")[0]) == ("model-artifact", "s3://models/granite/1/")
    assert (fit["artifactType"], fit["metricsType"]) == ("metrics-artifact", "performance-metrics")
    assert "estimate" in fit["customProperties"]["gatehouse.fit_basis"]["string_value"]
    assert (await filled.get(f"{path}/performance?targetRPS=3"))[1]["items"] == [fit]
    assert (await filled.get(f"{path}?artifactType=model-artifact"))[1]["items"] == [weights]
    assert (await filled.get(f"{path}?artifact_type=model-artifact"))[1]["items"] == [weights]
    assert (await filled.get(f"{path}?artifact_type=model-artifact", prefix=V1))[1]["size"] == 2
    assert (await filled.get(f"{path}?artifactType=car"))[0] == 400
    assert (await filled.get("/sources/gatehouse/models/granite/v2/artifacts/performance"))[1]["items"] == []


async def test_facets(filled: Catalog) -> None:
    _, options = await filled.get("/models/filter_options")
    assert options["filters"]["provider"] == {"type": "string", "values": ["IBM"]}
    assert options["filters"]["gatehouse.fit.string_value"]["values"] == ["Fits"]
    assert options["filters"]["artifacts.gatehouse.fit.string_value"]["values"] == ["Fits"]
    assert options["namedQueries"]["Cleared for dev"] == {
        "gatehouse.cleared_for.dev.bool_value": {"operator": "=", "value": True}
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "ARCHIVED"},
        {"phase": "Revoked"},
        {"phase": "Pending Review"},
        {"phase": "Deprecated"},
        {"shown": ShownDecision(fit="Fits").text()},
        {"shown": None},
    ],
)
async def test_what_is_no_longer_ready_is_gone_at_once(filled: Catalog, changes: dict[str, Any]) -> None:
    await filled.ready(1, **changes)
    await assert_absent(filled, "granite/v1", others=["granite/v2"])


async def test_no_recorded_entry_appears_on_any_path(catalog: Catalog) -> None:
    lies = {
        "phase": "Ready to Deploy",
        "digest": DIGEST,
        "shown": ShownDecision(cleared_for=("production",)).text(),
        "uri": "s3://models/evil/",
    }
    await a_recorded_version(catalog.opened, members=lies)
    model = await catalog.opened.rows.entries.create(a_new(name="other"), actor="ann")
    version = a_new("model_version", "gatehouse.phase", parent_id=model.id, state="LIVE", members=lies)
    await catalog.opened.rows.entries.create(
        replace(version, properties={f"gatehouse.{name}": Property("string", value) for name, value in lies.items()}),
        actor="ann",
    )
    await assert_absent(catalog, "granite/v1", others=[])
    await assert_absent(catalog, "other/gatehouse.phase", others=[])


async def test_an_artifact_that_a_client_recorded_is_not_listed(filled: Catalog) -> None:
    [version] = [item for item in (await filled.get("/models"))[1]["items"] if item["name"] == "granite/v1"]
    recorded = a_new("model_artifact", "evil", parent_id=int(version["id"]), members={"uri": "s3://evil/"})
    await filled.opened.rows.entries.create(recorded, actor="ann")
    for ending in ("", "/artifacts", "/artifacts/performance"):
        assert "evil" not in str(await filled.get(f"/sources/gatehouse/models/granite/v1{ending}"))


async def test_who_may_not_read_sees_nothing(filled: Catalog) -> None:
    filled.reviews.allowed.clear()
    filled.reviews.allowed.update(rights("team-b"))
    await assert_absent(filled, "granite/v1", others=[])
    assert (await ask(filled.app, f"{ALPHA}/models")).status == 401


async def test_who_may_not_read_models_sees_the_version_alone(filled: Catalog) -> None:
    filled.reviews.allowed = {(name, right) for name, right in filled.reviews.allowed if "version" in right.resource}
    _, listing = await filled.get("/models")
    _, single = await filled.get("/sources/gatehouse/models/granite/v1")
    assert [("provider" in model) for model in [*listing["items"], single]] == [False, False, False]


async def test_a_list_costs_two_statements(filled: Catalog) -> None:
    for number in range(3, 40):
        await filled.ready(number)
    single = "/sources/gatehouse/models/granite/v1"
    for path, most in (
        ("/sources", 1),
        ("/labels", 1),
        ("/models", 2),
        ("/models?pageSize=5&q=granite", 2),
        ("/models/filter_options", 2),
        (single, 2),
        (f"{single}/artifacts", 2),
    ):
        with statements(filled.opened) as asked:
            assert (await filled.get(path))[0] == 200
        assert len([each for each in asked if each.lstrip().upper().startswith("SELECT")]) == most, path


async def test_other_paths_and_methods_have_kubeflows_errors(filled: Catalog) -> None:
    for path in (
        "/sources/other/models/granite/v1",
        "/sources/gatehouse/models/granite",
        "/sources/gatehouse/models/a/granite/v1",
        "/sources/preview",
    ):
        status, refused = await filled.get(path)
        assert (status, refused["code"]) == (404, "Not Found")
    for path in ("/sources/preview", "/models"):
        answer = await ask(filled.app, ALPHA + path, method="POST", headers=BEARER)
        assert answer.status in {404, 405}
        assert set(answer.json()) == {"code", "message"}


async def assert_absent(catalog: Catalog, name: str, *, others: list[str]) -> None:
    """No path of either version shows the model."""
    for prefix in (ALPHA, V1):
        assert await catalog.names(prefix=prefix) == others
        assert await catalog.names(f"?filterQuery=name%3D'{name}'", prefix=prefix) == []
        assert await catalog.names("?q=evil", prefix=prefix) == []
        for ending in ("", "/artifacts", "/artifacts/performance"):
            status, refused = await catalog.get(f"/sources/gatehouse/models/{name}{ending}", prefix=prefix)
            assert (status, refused["code"]) == (404, "Not Found")
        if not others:
            assert (await catalog.get("/models/filter_options", prefix=prefix))[1]["filters"] == {}
            assert (await catalog.get("/sources", prefix=prefix))[1]["items"][0]["labels"] == ["Vetted"]
            assert (await catalog.get("/labels", prefix=prefix))[1]["size"] == 1
