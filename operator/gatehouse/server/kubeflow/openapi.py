"""The OpenAPI documents of the contract, rendered from the declarations of `resources` and `operations`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.query.page_tokens import ORDERS
from gatehouse.server.kubeflow.errors import CODES
from gatehouse.server.kubeflow.members import (
    ID,
    INT64,
    LARGEST_STEP,
    MOST_TEXTS,
    ApiVersion,
    BodyForm,
    Member,
    MemberType,
)
from gatehouse.server.kubeflow.operations import RestOperation, WordName, operations_of
from gatehouse.server.kubeflow.resources import ARTIFACTS, RESOURCES, RestResource
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
)

__all__ = ["openapi_document"]

_OPTIONAL_ID: Final = "^([1-9][0-9]{0,8})?$"
_SUFFIXES: Final[Mapping[BodyForm, str]] = {"create": "Create", "update": "Update", "upsert": "Upsert"}
_FORM_ABOUTS: Final[Mapping[BodyForm, str]] = {
    "create": "to be created",
    "update": "after a change: members that are left out stay as they are",
    "upsert": "to be created, or to be changed if it has an id",
}
_ALWAYS: Final = frozenset({"id", "name", "customProperties", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"})
"""Members that every answer has."""


def openapi_document(version: ApiVersion) -> OpenApiObject:
    """The OpenAPI 3.1 document of one version of the contract."""
    paths: dict[str, OpenApiObject] = {}
    for operation in operations_of(version):
        verbs = paths.setdefault(operation.described_path(version), {})
        verbs[operation.verb.lower()] = _operation(operation, version=version)
    return described_api(
        title="Gatehouse: models, versions and artifacts by the contract of the Kubeflow Model Registry",
        version=version,
        about="An entry that no Kubernetes object stands for is only recorded, and never ready. "
        "Custom properties that begin with gatehouse. show what Gatehouse established; only Gatehouse writes them.",
        tag="ModelRegistry",
        paths=paths,
        schemas=_schemas(version),
    )


def _operation(operation: RestOperation, *, version: ApiVersion) -> OpenApiObject:
    document: OpenApiObject = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": ["ModelRegistry"],
        "responses": _responses(operation, version=version),
    }
    parameters: list[JsonValue] = []
    if "{id}" in operation.path:
        parameters.append(
            {
                "name": operation.path_name(version),
                "in": "path",
                "required": True,
                "description": "The id of the entry.",
                "schema": {"type": "string", "pattern": ID},
            }
        )
    parameters += [_word(name, version=version) for name in operation.words]
    if parameters:
        document["parameters"] = parameters
    if operation.form is not None:
        document["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": reference(_name(operation) + _SUFFIXES[operation.form])}},
        }
    return document


def _name(operation: RestOperation) -> str:
    return operation.resources[0].schema if len(operation.resources) == 1 else "Artifact"


def _responses(operation: RestOperation, *, version: ApiVersion) -> OpenApiObject:
    schema = reference(_name(operation) + ("List" if operation.answers_list else ""))
    answers = {
        str(status): response("The entries." if operation.answers_list else "The entry.", schema)
        for status in operation.statuses(version)
    }
    return {**answers, **refusals_of(operation.refusals)}


_WORD_ABOUTS: Final[Mapping[WordName, str]] = {
    "name": "The name of the entry.",
    "externalId": "The external id of the entry.",
    "parentResourceId": "The id of the entry that the name belongs to.",
    "artifactType": "Only artifacts of this kind.",
    "filterQuery": "A filter, as in: name LIKE 'granite%' AND (state = 'LIVE' OR accuracy.double_value > 0.9).",
    "stepIds": "Only values of these steps, as in 1,2,3.",
    "pageSize": "At most this many entries; without it, all.",
    "orderBy": f"The order of the entries: {', '.join(ORDERS)}.",
    "sortOrder": "ASC or DESC.",
    "nextPageToken": "The token from the page before; empty for the first page.",
    "namespace": "The namespace of the entry; without it, the registry's default.",
}


def _word(name: WordName, *, version: ApiVersion) -> JsonValue:
    return query_word(name, about=_WORD_ABOUTS[name], schema=_word_schema(name, version))


def _word_schema(name: WordName, version: ApiVersion) -> OpenApiObject:
    # The alpha version takes its default for an order that it does not know.
    pages = page_word_schemas(orders=ORDERS, strict=version == "v1")
    schemas: dict[WordName, OpenApiObject] = {
        "artifactType": {"type": "string", "enum": ["", *(resource.artifact_type for resource in ARTIFACTS)]},
        "parentResourceId": {"type": "string", "pattern": _OPTIONAL_ID},
        "stepIds": {"type": "string", "pattern": "^([0-9]{1,9}(,[0-9]{1,9})*)?$"},
        "namespace": {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"},
    }
    return schemas.get(name) or pages.get(name) or text_schema()


def _schemas(version: ApiVersion) -> OpenApiObject:
    resources = [resource for resource in RESOURCES if version in resource.versions]
    forms = _forms(version)
    schemas: OpenApiObject = {"Error": error_schema(CODES), **property_schemas()}
    for resource in resources:
        schemas[resource.schema] = _answer(resource, version=version)
        for form in _SUFFIXES:
            if (resource.schema, form) in forms or (resource.artifact_type and ("Artifact", form) in forms):
                schemas[resource.schema + _SUFFIXES[form]] = _body(resource, form, version=version)
    schemas["Artifact"] = {
        "oneOf": [reference(resource.schema) for resource in ARTIFACTS],
        "discriminator": {
            "propertyName": "artifactType",
            "mapping": {resource.artifact_type: f"#/components/schemas/{resource.schema}" for resource in ARTIFACTS},
        },
    }
    for form in _SUFFIXES:
        schemas[f"Artifact{_SUFFIXES[form]}"] = {
            "oneOf": [
                {"allOf": [reference(resource.schema + _SUFFIXES[form]), {"required": ["artifactType"]}]}
                for resource in ARTIFACTS
            ]
        }
    listed = {_name(operation) for operation in operations_of(version) if operation.answers_list}
    return schemas | {f"{name}List": list_schema(name) for name in sorted(listed)}


def _forms(version: ApiVersion) -> frozenset[tuple[str, BodyForm]]:
    return frozenset(
        (_name(operation), operation.form) for operation in operations_of(version) if operation.form is not None
    )


def _answer(resource: RestResource, *, version: ApiVersion) -> OpenApiObject:
    members = resource.of_version(version)
    always = [member.name for member in members if member.name in _ALWAYS or member.default or member.required]
    return {
        "type": "object",
        "description": resource.about,
        "properties": {member.name: _member(member, version=version) for member in members},
        "required": list(always),
    }


def _body(resource: RestResource, form: BodyForm, *, version: ApiVersion) -> OpenApiObject:
    members = resource.of_body(form, version=version).values()
    required = [member.name for member in members if member.required and form != "update"]
    return {
        "type": "object",
        "description": f"{resource.schema} {_FORM_ABOUTS[form]}.",
        "properties": {member.name: _member(member, version=version) for member in members},
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def _member(member: Member, *, version: ApiVersion) -> JsonValue:
    schema = _member_schema(member, version=version)
    default: OpenApiObject = {"default": member.default} if member.default else {}
    return {**schema, "description": member.about, **default}


def _member_schema(member: Member, *, version: ApiVersion) -> OpenApiObject:
    text = text_schema(shortest=member.shortest, longest=member.longest)
    whole: OpenApiObject = {"type": "string", "pattern": INT64}
    schemas: dict[MemberType, OpenApiObject] = {
        "text": text,
        "texts": {"type": "array", "maxItems": MOST_TEXTS, "items": text},
        "id": {"type": "string", "pattern": ID},
        "enum": {"type": "string", "enum": list(member.values)},
        "artifact_type": {"type": "string", "enum": list(member.values)},
        "number": double_schema(),
        "step": whole if version == "v1" else {"type": "integer", "minimum": -LARGEST_STEP, "maximum": LARGEST_STEP},
        "int64": whole,
        "time": text_schema(),
        "properties": reference("CustomProperties"),
    }
    return schemas[member.type]
