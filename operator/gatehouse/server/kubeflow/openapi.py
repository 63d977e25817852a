"""The OpenAPI documents of the contract, rendered from the declarations of `resources` and `operations`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.entries.custom_properties import (
    BASE64,
    LONGEST_KEY,
    MOST_PROPERTIES,
    PROPERTY_FORMS,
    SHORT_INT,
    PropertyForm,
)
from gatehouse.domain.entries.properties import PropertyType
from gatehouse.domain.query.filter_query import LONGEST_QUERY
from gatehouse.domain.query.page_tokens import LONGEST_TOKEN, ORDERS
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

__all__ = ["openapi_document"]

_Object: TypeAlias = dict[str, JsonValue]

_NO_NUL: Final = "^[^\\u0000]*$"
_LARGEST_DOUBLE: Final = 1.7976931348623157e308
_OPTIONAL_ID: Final = "^([1-9][0-9]{0,8})?$"
_SUFFIXES: Final[Mapping[BodyForm, str]] = {"create": "Create", "update": "Update", "upsert": "Upsert"}
_FORM_ABOUTS: Final[Mapping[BodyForm, str]] = {
    "create": "to be created",
    "update": "after a change: members that are left out stay as they are",
    "upsert": "to be created, or to be changed if it has an id",
}
_ALWAYS: Final = frozenset({"id", "name", "customProperties", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"})
"""Members that every answer has."""


def openapi_document(version: ApiVersion) -> _Object:
    """The OpenAPI 3.1 document of one version of the contract."""
    paths: dict[str, _Object] = {}
    for operation in operations_of(version):
        verbs = paths.setdefault(operation.described_path(version), {})
        verbs[operation.verb.lower()] = _operation(operation, version=version)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gatehouse: models, versions and artifacts by the contract of the Kubeflow Model Registry",
            "version": version,
            "description": "An entry that no Kubernetes object stands for is only recorded, and never ready. "
            "Custom properties that begin with gatehouse. show what Gatehouse established; only Gatehouse writes them.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"Bearer": []}],
        "tags": [{"name": "ModelRegistry"}],
        "paths": {**paths},
        "components": {
            "schemas": _schemas(version),
            "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _reference(name: str) -> _Object:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(operation: RestOperation, *, version: ApiVersion) -> _Object:
    document: _Object = {
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
            "content": {"application/json": {"schema": _reference(_name(operation) + _SUFFIXES[operation.form])}},
        }
    return document


def _name(operation: RestOperation) -> str:
    return operation.resources[0].schema if len(operation.resources) == 1 else "Artifact"


def _responses(operation: RestOperation, *, version: ApiVersion) -> _Object:
    schema = _reference(_name(operation) + ("List" if operation.answers_list else ""))
    answers = {
        str(status): _response("The entries." if operation.answers_list else "The entry.", schema)
        for status in operation.statuses(version)
    }
    refusals = {str(status): _response(_REFUSALS[status], _reference("Error")) for status in operation.refusals}
    return {**answers, **refusals}


def _response(about: str, schema: _Object) -> JsonValue:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


_REFUSALS: Final[Mapping[int, str]] = {
    400: "The request is not valid.",
    401: "The caller is unknown.",
    403: "The caller may not do this.",
    404: "The entry does not exist, or the caller may not read it.",
    409: "The request conflicts with the entry, with another entry of the name, or with a rule.",
    413: "The body is too large.",
    415: "The body is of another media type than JSON.",
    422: "A required member is missing or empty, or a rule of the cluster or of the database refuses the values.",
    429: "The caller asks too often; try again after the time in Retry-After.",
    500: "The server failed.",
    503: "The database or the Kubernetes API cannot be reached; try again after the time in Retry-After.",
}

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
    return {"name": name, "in": "query", "description": _WORD_ABOUTS[name], "schema": _word_schema(name, version)}


def _word_schema(name: WordName, version: ApiVersion) -> _Object:
    if name in {"orderBy", "sortOrder"}:
        values: list[JsonValue] = list(ORDERS) if name == "orderBy" else ["ASC", "DESC"]
        # The alpha version takes its default for a value that it does not know.
        return {"type": "string", "enum": ["", *values]} if version == "v1" else _text()
    schemas: dict[WordName, _Object] = {
        "artifactType": {"type": "string", "enum": ["", *(resource.artifact_type for resource in ARTIFACTS)]},
        "parentResourceId": {"type": "string", "pattern": _OPTIONAL_ID},
        "filterQuery": _text(longest=LONGEST_QUERY),
        "stepIds": {"type": "string", "pattern": "^([0-9]{1,9}(,[0-9]{1,9})*)?$"},
        "pageSize": {"type": "string", "pattern": _OPTIONAL_ID},
        "nextPageToken": {"type": "string", "maxLength": LONGEST_TOKEN, "pattern": "^[A-Za-z0-9_-]*$"},
        "namespace": {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"},
    }
    return schemas.get(name, _text())


def _schemas(version: ApiVersion) -> _Object:
    resources = [resource for resource in RESOURCES if version in resource.versions]
    forms = _forms(version)
    schemas: _Object = {"Error": _error(), "MetadataValue": _metadata_value(), "CustomProperties": _properties()}
    schemas |= {form.metadata_type: _property_form(form) for form in PROPERTY_FORMS}
    for resource in resources:
        schemas[resource.schema] = _answer(resource, version=version)
        for form in _SUFFIXES:
            if (resource.schema, form) in forms or (resource.artifact_type and ("Artifact", form) in forms):
                schemas[resource.schema + _SUFFIXES[form]] = _body(resource, form, version=version)
    schemas["Artifact"] = {
        "oneOf": [_reference(resource.schema) for resource in ARTIFACTS],
        "discriminator": {
            "propertyName": "artifactType",
            "mapping": {resource.artifact_type: f"#/components/schemas/{resource.schema}" for resource in ARTIFACTS},
        },
    }
    for form in _SUFFIXES:
        schemas[f"Artifact{_SUFFIXES[form]}"] = {
            "oneOf": [
                {"allOf": [_reference(resource.schema + _SUFFIXES[form]), {"required": ["artifactType"]}]}
                for resource in ARTIFACTS
            ]
        }
    listed = {_name(operation) for operation in operations_of(version) if operation.answers_list}
    return schemas | {f"{name}List": _list(name) for name in sorted(listed)}


def _forms(version: ApiVersion) -> frozenset[tuple[str, BodyForm]]:
    return frozenset(
        (_name(operation), operation.form) for operation in operations_of(version) if operation.form is not None
    )


def _answer(resource: RestResource, *, version: ApiVersion) -> _Object:
    members = resource.of_version(version)
    always = [member.name for member in members if member.name in _ALWAYS or member.default or member.required]
    return {
        "type": "object",
        "description": resource.about,
        "properties": {member.name: _member(member, version=version) for member in members},
        "required": list(always),
    }


def _body(resource: RestResource, form: BodyForm, *, version: ApiVersion) -> _Object:
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
    default: _Object = {"default": member.default} if member.default else {}
    return {**schema, "description": member.about, **default}


def _member_schema(member: Member, *, version: ApiVersion) -> _Object:
    text = _text(shortest=member.shortest, longest=member.longest)
    whole: _Object = {"type": "string", "pattern": INT64}
    schemas: dict[MemberType, _Object] = {
        "text": text,
        "texts": {"type": "array", "maxItems": MOST_TEXTS, "items": text},
        "id": {"type": "string", "pattern": ID},
        "enum": {"type": "string", "enum": list(member.values)},
        "artifact_type": {"type": "string", "enum": list(member.values)},
        "number": _double(),
        "step": whole if version == "v1" else {"type": "integer", "minimum": -LARGEST_STEP, "maximum": LARGEST_STEP},
        "int64": whole,
        "time": _text(),
        "properties": _reference("CustomProperties"),
    }
    return schemas[member.type]


def _text(*, shortest: int = 0, longest: int | None = None) -> _Object:
    bounds: _Object = {"minLength": shortest} if shortest else {}
    if longest is not None:
        bounds["maxLength"] = longest
    return {"type": "string", "pattern": _NO_NUL, **bounds}


def _double() -> _Object:
    return {"type": "number", "minimum": -_LARGEST_DOUBLE, "maximum": _LARGEST_DOUBLE}


def _properties() -> JsonValue:
    return {
        "type": "object",
        "maxProperties": MOST_PROPERTIES,
        "propertyNames": _text(shortest=1, longest=LONGEST_KEY),
        "additionalProperties": _reference("MetadataValue"),
    }


def _metadata_value() -> JsonValue:
    return {
        "oneOf": [_reference(form.metadata_type) for form in PROPERTY_FORMS],
        "discriminator": {
            "propertyName": "metadataType",
            "mapping": {form.metadata_type: f"#/components/schemas/{form.metadata_type}" for form in PROPERTY_FORMS},
        },
    }


def _property_form(form: PropertyForm) -> JsonValue:
    values: dict[PropertyType, _Object] = {
        "int": {"type": "string", "pattern": SHORT_INT},
        "double": _double(),
        "string": _text(),
        "bool": {"type": "boolean"},
        "struct": {"type": "string", "pattern": BASE64},
        "proto": {"type": "string", "pattern": BASE64},
    }
    members: _Object = {name: _text() for name in form.members}
    return {
        "type": "object",
        "properties": {
            **members,
            "metadataType": {"type": "string", "enum": [form.metadata_type]},
            form.member: values[form.type],
        },
        "required": list(form.members),
        "additionalProperties": False,
    }


def _error() -> JsonValue:
    codes: list[JsonValue] = list(dict.fromkeys(CODES[status] for status in (*_REFUSALS, 405)))
    return {
        "type": "object",
        "properties": {"code": {"type": "string", "enum": codes}, "message": {"type": "string"}},
        "required": ["code", "message"],
    }


def _list(name: str) -> JsonValue:
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": _reference(name)},
            "nextPageToken": {"type": "string", "maxLength": LONGEST_TOKEN},
            "pageSize": {"type": "integer", "minimum": 0},
            "size": {"type": "integer", "minimum": 0},
        },
        "required": ["items", "nextPageToken", "pageSize", "size"],
    }
