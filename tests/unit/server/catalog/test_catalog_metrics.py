"""What evaluations measured and what the fit estimates, on every path of the catalog that shows or compares it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from gatehouse.domain.entries.measurements import Estimate, Measurement
from gatehouse.domain.version.shown import ShownDecision
from unit.server.catalog.catalogs import ALPHA, V1, Catalog

ESTIMATED = Estimate(accelerators=2, max_model_len=16_384, sequences=4)


def measured(name: str = "arc", **changes: Any) -> Measurement:
    given = {
        "name": name,
        "kind": "Task",
        "suite": "lm-evaluation-harness",
        "task": "arc_challenge",
        "dataset": "arc",
        "at": "2026-11-29T12:00:00Z",
        "metrics": (("acc", 0.5), ("acc_norm", 0.75)),
    }
    return Measurement(**given | changes)


def shown(*results: Measurement, **changes: Any) -> str:
    given = {"cleared_for": ("dev", "production"), "fit": "Fits", "estimate": ESTIMATED, "measured": results}
    return ShownDecision(**given | changes).text()


async def artifacts(catalog: Catalog, number: int = 1, query: str = "", prefix: str = ALPHA) -> list[dict[str, Any]]:
    status, listing = await catalog.get(f"/sources/gatehouse/models/granite/v{number}/artifacts{query}", prefix=prefix)
    assert status == 200, listing
    items: list[dict[str, Any]] = listing["items"]
    return items


def said(artifact: dict[str, Any]) -> dict[str, object]:
    """The custom properties of an artifact without their types."""
    properties: dict[str, dict[str, object]] = artifact["customProperties"]
    return {name: next(v for key, v in kept.items() if key != "metadataType") for name, kept in properties.items()}


@pytest.mark.parametrize("prefix", [ALPHA, V1])
async def test_an_evaluation_is_an_artifact_of_accuracy(catalog: Catalog, prefix: str) -> None:
    await catalog.ready(1, shown=shown(measured(), measured("toxic", kind="Safety", metrics=(("acc", 0.9),))))
    _, _, accuracy, safety = await artifacts(catalog, prefix=prefix)
    assert (accuracy["artifactType"], accuracy["metricsType"]) == ("metrics-artifact", "accuracy-metrics")
    assert said(accuracy) == {
        "acc": 0.5,
        "acc_norm": 0.75,
        "overall_average": 0.75,
        "gatehouse.evaluation": "arc",
        "gatehouse.evaluation_kind": "Task",
        "gatehouse.evaluated_at": "2026-11-29T12:00:00Z",
        "gatehouse.suite": "lm-evaluation-harness",
        "gatehouse.task": "arc_challenge",
        "gatehouse.dataset": "arc",
    }
    assert (said(safety)["acc"], "overall_average" in said(safety)) == (0.9, False)
    assert (await catalog.get("/sources/gatehouse/models/granite/v1", prefix=prefix))[1]["artifactCounts"] == {
        "model-artifact": 1,
        "performance-metrics": 1,
        "accuracy-metrics": 2,
    }
    assert len(await artifacts(catalog, query="?artifactType=metrics-artifact", prefix=prefix)) == 3
    assert len({artifact["id"] for artifact in await artifacts(catalog, prefix=prefix)}) == 4


async def test_the_fit_is_an_estimate_with_its_figures(catalog: Catalog) -> None:
    await catalog.ready(1, shown=shown())
    await catalog.ready(2, shown=shown(estimate=None))
    fit = said((await artifacts(catalog))[1])
    assert "an estimate" in str(fit.pop("gatehouse.fit_basis"))
    assert fit == {
        "gatehouse.fit": "Fits",
        "gatehouse.hardware_profile": "nvidia-l4",
        "hardware_type": "nvidia-l4",
        "hardware_count": "2",
        "gatehouse.estimated_max_model_len": "16384",
        "gatehouse.estimated_concurrent_requests": "4",
    }
    assert "hardware_count" not in said((await artifacts(catalog, 2))[1])


async def test_accuracy_orders_models(catalog: Catalog) -> None:
    results = {
        1: [measured(metrics=(("acc", 0.6),)), measured("other", metrics=(("acc", 0.2),))],
        2: [measured(metrics=(("acc", 0.4),))],
        3: [measured(metrics=(("perplexity", 11.0),))],
        4: [measured(metrics=(("overall_average", 0.3), ("acc", 0.99)))],
    }
    for number, of in results.items():
        await catalog.ready(number, shown=shown(*of))
    for order in ("ACCURACY", "artifacts.overall_average.double_value"):
        for prefix in (ALPHA, V1):
            upward = await catalog.names(f"?orderBy={order}", prefix=prefix)
            assert upward == ["granite/v1", "granite/v4", "granite/v2", "granite/v3"], "the least value counts"
            downward = await catalog.names(f"?orderBy={order}&sortOrder=DESC", prefix=prefix)
            assert downward == ["granite/v1", "granite/v2", "granite/v4", "granite/v3"], "the greatest value counts"
    paged, token = [], ""
    for _ in range(4):
        _, page = await catalog.get(f"/models?pageSize=1&orderBy=ACCURACY&sortOrder=DESC&nextPageToken={token}")
        paged += [item["name"] for item in page["items"]]
        token = page["nextPageToken"]
    assert (paged, token) == (downward, "")


async def test_filters_and_facets_compare_what_was_measured(catalog: Catalog) -> None:
    await catalog.ready(1, shown=shown(measured()))
    await catalog.ready(2, shown=shown(measured(metrics=(("acc", 0.2),), suite="lighteval")))
    _, options = await catalog.get("/models/filter_options")
    filters = options["filters"]
    assert filters["artifacts.acc.double_value"] == {"type": "number", "range": {"min": 0.2, "max": 0.5}}
    assert filters["artifacts.overall_average.double_value"]["range"] == {"min": 0.2, "max": 0.75}
    assert filters["artifacts.gatehouse.suite.string_value"]["values"] == ["lighteval", "lm-evaluation-harness"]
    assert filters["artifacts.hardware_count.int_value"]["range"] == {"min": 2, "max": 2}
    for name, option in filters.items():
        value = f"'{option['values'][0]}'" if option["type"] == "string" else option["range"]["max"]
        query = quote(f"{name} = {value}")
        assert await catalog.names(f"?filterQuery={query}") != [], f"{name} is a word of filterQuery"
    assert await catalog.names(f"?filterQuery={quote('artifacts.acc.double_value > 0.4')}") == ["granite/v1"]


async def test_a_stage_lists_its_models_with_what_was_measured(catalog: Catalog) -> None:
    await catalog.ready(1, shown=shown(measured(), cleared_for=("dev",)))
    await catalog.ready(2, shown=shown(measured()))
    assert await catalog.names("?sourceLabel=Cleared+for+production&orderBy=ACCURACY") == ["granite/v2"]
    assert await catalog.names("?sourceLabel=Cleared+for+dev") == ["granite/v1", "granite/v2"]


@pytest.mark.parametrize("changes", [{"state": "ARCHIVED"}, {"phase": "Rejected"}, {"phase": "Pending Review"}])
async def test_what_was_measured_goes_with_its_version(catalog: Catalog, changes: dict[str, Any]) -> None:
    await catalog.ready(1, shown=shown(measured()))
    assert (await catalog.get("/models/filter_options"))[1]["filters"] != {}
    await catalog.ready(1, shown=shown(measured()), **changes)
    for prefix in (ALPHA, V1):
        assert await catalog.names(prefix=prefix) == []
        assert (await catalog.get("/models/filter_options", prefix=prefix))[1]["filters"] == {}
        for ending in ("", "/artifacts", "/artifacts/performance"):
            status, _ = await catalog.get(f"/sources/gatehouse/models/granite/v1{ending}", prefix=prefix)
            assert status == 404


async def test_a_revoked_evaluation_is_gone_and_its_version_stays(catalog: Catalog) -> None:
    await catalog.ready(1, shown=shown(measured()))
    await catalog.ready(1, shown=shown())
    assert [artifact.get("metricsType") for artifact in await artifacts(catalog)] == [None, "performance-metrics"]


async def test_no_metric_takes_a_name_of_gatehouse(catalog: Catalog) -> None:
    await catalog.ready(1, shown=shown(measured(metrics=(("gatehouse.suite", 1.0), ("acc", 0.5)))))
    assert said((await artifacts(catalog))[2])["gatehouse.suite"] == "lm-evaluation-harness"
