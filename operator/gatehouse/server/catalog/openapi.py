"""The OpenAPI documents of the catalog, rendered from the table of its paths and from the rules of its lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, get_args

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.query.page_tokens import LONGEST_ORDER
from gatehouse.server.catalog.operations import CATALOG_OPERATIONS, CatalogOperation, ignored_words
from gatehouse.server.catalog.queries import (
    ARTIFACT_TYPES,
    ASSET_TYPES,
    LONGEST_SEARCH,
    MOST_NAMES,
    CatalogVersion,
    ListRules,
)
from gatehouse.server.kubeflow.errors import CODES
from gatehouse.server.openapi import (
    OpenApiObject,
    described_api,
    double_schema,
    error_schema,
    list_schema,
    page_word_schemas,
    property_schemas,
    query_word,
    reference,
    refusals_of,
    response,
    text_schema,
    texts_schema,
)

__all__ = ["CATALOG_VERSIONS", "catalog_document"]

CATALOG_VERSIONS: Final[tuple[CatalogVersion, ...]] = get_args(CatalogVersion)
_TAG: Final = "ModelCatalog"
_STATUSES: Final = ("available", "partially-available", "error", "disabled")
_METRICS: Final = ("performance-metrics", "accuracy-metrics", "security-metrics")
_PROPERTY_ORDER: Final = "[^\\u0000]+\\.(string|int|double|bool)_value"
_TIME: Final[OpenApiObject] = {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}
"""Milliseconds since 1970, as a text."""
_ABOUTS: Final[Mapping[str, str]] = {
    "name": "The name of the source, in any case.",
    "assetType": "Only what has assets of this kind; Gatehouse has models.",
    "filterQuery": "A filter, as in: tasks = 'text-generation' AND artifacts.accuracy.double_value > 0.9.",
    "q": "A text in the name, title, description, provider or tasks of a model, in any case.",
    "source": "Only models of these sources.",
    "sourceLabel": "Only models with one of these labels, as in Cleared for production.",
    "artifactType": "Only artifacts of these kinds.",
    "pageSize": "At most this many items; without it, all.",
    "orderBy": "The order of the items.",
    "sortOrder": "ASC or DESC.",
    "nextPageToken": "The token from the page before; empty for the first page.",
}
_IGNORED: Final = "Accepted, and without effect: no performance is measured."


def catalog_document(version: CatalogVersion) -> OpenApiObject:
    """The OpenAPI 3.1 document of one version of the catalog."""
    return described_api(
        title="Gatehouse: models that are Ready to Deploy, by the contract of the Kubeflow Model Catalog",
        version=version,
        about="Each model is a version that Gatehouse verified and cleared for at least one stage. "
        "The catalog is read; its models are changed through the registry.",
        tag=_TAG,
        paths={
            operation.described_path(version): {"get": _operation(operation, version=version)}
            for operation in CATALOG_OPERATIONS
        },
        schemas=_schemas(version),
    )


def _operation(operation: CatalogOperation, *, version: CatalogVersion) -> OpenApiObject:
    parameters: list[JsonValue] = [*(_path_names() if operation.names_model else ()), *_words(operation, version)]
    name = f"{operation.schema}List" if operation.rules else operation.schema
    missing = (404,) if operation.names_model else ()
    return {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [_TAG],
        **({"parameters": parameters} if parameters else {}),
        "responses": {
            "200": response("What the caller may read.", reference(name)),
            **refusals_of((400, 401, 403, *missing, 500, 503)),
        },
    }


def _path_names() -> Iterator[JsonValue]:
    for name, about in (
        ("source_id", "The id of the source: gatehouse."),
        ("model_name", "The name of the model, as in granite/v1; the slash may be escaped."),
    ):
        schema = text_schema(shortest=1)
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _words(operation: CatalogOperation, version: CatalogVersion) -> Iterator[JsonValue]:
    rules = operation.rules
    if rules is not None:
        for name, schema in _word_schemas(rules, version).items():
            yield query_word(name, about=_ABOUTS[name], schema=schema)
        if version == "v1alpha1" and "artifactType" in rules.words:
            schema = _word_schemas(rules, version)["artifactType"]
            word = query_word("artifact_type", about="Another name of artifactType.", schema=schema)
            yield {**word, "deprecated": True}
    for name in ignored_words(operation, version):
        yield query_word(name, about=_IGNORED, schema=text_schema())


def _word_schemas(rules: ListRules, version: CatalogVersion) -> Mapping[str, OpenApiObject]:
    # The alpha version takes its default for an order that it does not know.
    pages = {**page_word_schemas(orders=rules.orders, strict=version == "v1")}
    if rules.by_property and version == "v1":
        pattern = f"^(({'|'.join(rules.orders)})?|{_PROPERTY_ORDER})$"
        pages["orderBy"] = {"type": "string", "maxLength": LONGEST_ORDER, "pattern": pattern}
    names: OpenApiObject = {"type": "array", "maxItems": MOST_NAMES, "items": text_schema()}
    kinds: OpenApiObject = {"type": "string", "enum": ["", *ARTIFACT_TYPES]}
    own: Mapping[str, OpenApiObject] = {
        "name": text_schema(),
        "assetType": {"type": "string", "enum": ["", *ASSET_TYPES]},
        "filterQuery": pages.pop("filterQuery"),
        "q": text_schema(longest=LONGEST_SEARCH),
        "source": names,
        "sourceLabel": names,
        "artifactType": {**names, "items": kinds},
    }
    return {**{name: own[name] for name in rules.words}, **pages}


def _schemas(version: CatalogVersion) -> OpenApiObject:
    lists = sorted({operation.schema for operation in CATALOG_OPERATIONS if operation.rules})
    return {
        "Error": error_schema(CODES),
        **property_schemas(),
        "CatalogSource": _object(
            "A source of models.",
            required={
                "id": text_schema(),
                "name": text_schema(),
                "labels": texts_schema(),
                "enabled": {"type": "boolean"},
                "assetType": {"type": "string", "enum": [*ASSET_TYPES]},
                "status": {"type": "string", "enum": [*_STATUSES]},
            },
            optional={"error": text_schema()},
        ),
        "CatalogLabel": _object(
            "A label of sources and models.",
            required={"name": text_schema(), "displayName": text_schema(), "description": text_schema()},
        ),
        "CatalogModel": _model(version),
        **_artifacts(),
        **_filter_options(),
        **{f"{name}List": list_schema(name) for name in lists},
    }


def _model(version: CatalogVersion) -> JsonValue:
    texts = ("description", "readme", "provider", "license", "licenseLink", "libraryName", "logo", "maturity")
    lists = ("language", "tasks", "validatedTasks")
    return _object(
        "A version that is Ready to Deploy.",
        required={
            "id": text_schema(),
            "name": text_schema(),
            "sourceId" if version == "v1" else "source_id": text_schema(),
            **_described(),
        },
        optional={
            "externalId": text_schema(),
            **{name: text_schema() for name in texts},
            **{name: texts_schema() for name in lists},
            "artifactCounts": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
        },
    )


def _described() -> OpenApiObject:
    return {
        "customProperties": reference("CustomProperties"),
        "createTimeSinceEpoch": {**_TIME},
        "lastUpdateTimeSinceEpoch": {**_TIME},
    }


def _artifacts() -> OpenApiObject:
    shared: OpenApiObject = {"id": text_schema(), "name": text_schema(), **_described()}
    model, metrics = ARTIFACT_TYPES
    return {
        "CatalogModelArtifact": _object(
            "The files of a model.",
            required={"artifactType": {"type": "string", "enum": [model]}, "uri": text_schema(), **shared},
        ),
        "CatalogMetricsArtifact": _object(
            "What is known of a model: measured by an evaluation, or an estimate that says so.",
            required={
                "artifactType": {"type": "string", "enum": [metrics]},
                "metricsType": {"type": "string", "enum": [*_METRICS]},
                **shared,
            },
        ),
        "CatalogArtifact": {
            "oneOf": [reference("CatalogModelArtifact"), reference("CatalogMetricsArtifact")],
            "discriminator": {
                "propertyName": "artifactType",
                "mapping": {
                    model: "#/components/schemas/CatalogModelArtifact",
                    metrics: "#/components/schemas/CatalogMetricsArtifact",
                },
            },
        },
    }


def _filter_options() -> OpenApiObject:
    value: OpenApiObject = {"type": ["string", "number", "boolean", "array"]}
    return {
        "FilterOptions": _object(
            "The properties that filters know, and named filters.",
            required={
                "filters": {"type": "object", "additionalProperties": reference("FilterOption")},
                "namedQueries": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "additionalProperties": reference("FieldFilter")},
                },
            },
        ),
        "FilterOption": _object(
            "The values of a property: texts, or the range of numbers.",
            required={"type": {"type": "string", "enum": ["string", "number"]}},
            optional={
                "values": texts_schema(),
                "range": _object("The range of numbers.", required={"min": double_schema(), "max": double_schema()}),
            },
        ),
        "FieldFilter": _object(
            "What a named filter asks of a property.", required={"operator": text_schema(), "value": value}
        ),
    }


def _object(about: str, *, required: OpenApiObject, optional: OpenApiObject | None = None) -> JsonValue:
    return {
        "type": "object",
        "description": about,
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }
