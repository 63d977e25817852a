"""The OpenAPI documents of the catalog: valid, open to everyone, and whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gatehouse.server.catalog.openapi import CATALOG_VERSIONS, catalog_document
from gatehouse.server.catalog.operations import CATALOG_OPERATIONS
from gatehouse.server.catalog.queries import CatalogVersion
from unit.server.catalog.catalogs import Catalog
from unit.server.parts import ask


def closed(schema: Any) -> Any:
    """A schema in which objects have no member that is not described."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    return inner if "properties" not in inner else {**inner, "additionalProperties": False}


@pytest.mark.parametrize("version", CATALOG_VERSIONS)
def test_the_documents_are_valid_and_use_every_schema(version: CatalogVersion) -> None:
    document = catalog_document(version)
    OpenAPIV31SpecValidator(document).validate()
    text = json.dumps(document, allow_nan=False)
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used == set(json.loads(text)["components"]["schemas"])


@pytest.mark.parametrize("version", CATALOG_VERSIONS)
async def test_a_document_is_for_everyone(catalog: Catalog, version: CatalogVersion) -> None:
    answer = await ask(catalog.app, f"/openapi/model_catalog/{version}.json")
    assert (answer.status, answer.json()) == (200, catalog_document(version))
    assert (await ask(catalog.app, f"/openapi/model_catalog/{version}.json", method="POST")).status == 405
    assert catalog.reviews.counts.total() == 0


@pytest.mark.parametrize("version", CATALOG_VERSIONS)
async def test_every_member_of_an_answer_is_described(filled: Catalog, version: CatalogVersion) -> None:
    document: Any = catalog_document(version)
    for operation in CATALOG_OPERATIONS:
        path = operation.path.replace("{source_id}", "gatehouse").replace("{model_name+}", "granite/v1")
        status, answer = await filled.get(path, prefix=f"/api/model_catalog/{version}")
        described = document["paths"][operation.described_path(version)]["get"]["responses"][str(status)]
        schema = closed({**described["content"]["application/json"]["schema"], "components": document["components"]})
        Draft202012Validator(schema).validate(answer)
        assert answer.get("items", True), path


def described_words(version: CatalogVersion) -> set[tuple[str, str]]:
    """The words of the query, with the paths that read them."""
    paths: Any = catalog_document(version)["paths"]
    return {
        (path.rpartition(f"/{version}")[2], parameter["name"])
        for path, verbs in paths.items()
        for parameter in verbs["get"].get("parameters", ())
        if parameter["in"] == "query"
    }


def test_the_words_of_the_versions_differ_as_the_contract_says() -> None:
    words = {version: described_words(version) for version in CATALOG_VERSIONS}
    model = "/sources/{source_id}/models/{model_name}/artifacts"
    assert words["v1alpha1"] - words["v1"] == {
        (model, "artifact_type"),
        (f"{model}/performance", "artifact_type"),
        (f"{model}/performance", "recommendations"),
        ("/models", "recommendations"),
    }
    assert words["v1"] <= words["v1alpha1"]
