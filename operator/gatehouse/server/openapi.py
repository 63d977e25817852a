"""What the OpenAPI documents of the server share: their frame, schemas of values, pages and refusals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
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
from gatehouse.domain.query.page_tokens import LONGEST_TOKEN

__all__ = [
    "REFUSALS",
    "OpenApiObject",
    "described_api",
    "double_schema",
    "error_schema",
    "list_schema",
    "page_word_schemas",
    "property_schemas",
    "query_word",
    "reference",
    "refusals_of",
    "response",
    "text_schema",
    "texts_schema",
]

OpenApiObject: TypeAlias = dict[str, JsonValue]

_NO_NUL: Final = "^[^\\u0000]*$"
_LARGEST_DOUBLE: Final = 1.7976931348623157e308
_PAGE_SIZE: Final = "^([1-9][0-9]{0,8})?$"

REFUSALS: Final[Mapping[int, str]] = {
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
"""What each status of a refusal means."""


def described_api(
    *, title: str, version: str, about: str, tag: str, paths: Mapping[str, JsonValue], schemas: Mapping[str, JsonValue]
) -> OpenApiObject:
    """An OpenAPI 3.1 document, whose callers send a bearer token."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": about,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"Bearer": []}],
        "tags": [{"name": tag}],
        "paths": {**paths},
        "components": {
            "schemas": {**schemas},
            "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def reference(name: str) -> OpenApiObject:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def response(about: str, schema: JsonValue) -> OpenApiObject:
    """An answer in JSON."""
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def refusals_of(statuses: Iterable[int]) -> OpenApiObject:
    """The refusals of an operation by their statuses, in the form of the schema ``Error``."""
    return {str(status): response(REFUSALS[status], reference("Error")) for status in statuses}


def query_word(name: str, *, about: str, schema: JsonValue) -> OpenApiObject:
    """A word of the query."""
    return {"name": name, "in": "query", "description": about, "schema": schema}


def text_schema(*, shortest: int = 0, longest: int | None = None) -> OpenApiObject:
    """A text without NUL."""
    bounds: OpenApiObject = {"minLength": shortest} if shortest else {}
    if longest is not None:
        bounds["maxLength"] = longest
    return {"type": "string", "pattern": _NO_NUL, **bounds}


def texts_schema() -> OpenApiObject:
    """A list of texts."""
    return {"type": "array", "items": text_schema()}


def double_schema() -> OpenApiObject:
    """A number that a double can hold."""
    return {"type": "number", "minimum": -_LARGEST_DOUBLE, "maximum": _LARGEST_DOUBLE}


def page_word_schemas(*, orders: Sequence[str], strict: bool) -> Mapping[str, OpenApiObject]:
    """The words of a query that ask for a page. Unless ``strict``, an unknown order means the default."""
    return {
        "filterQuery": text_schema(longest=LONGEST_QUERY),
        "pageSize": {"type": "string", "pattern": _PAGE_SIZE},
        "orderBy": {"type": "string", "enum": ["", *orders]} if strict else text_schema(),
        "sortOrder": {"type": "string", "enum": ["", "ASC", "DESC"]} if strict else text_schema(),
        "nextPageToken": {"type": "string", "maxLength": LONGEST_TOKEN, "pattern": "^[A-Za-z0-9_-]*$"},
    }


def list_schema(name: str) -> JsonValue:
    """One page of a list of the schema ``name``."""
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": reference(name)},
            "nextPageToken": {"type": "string", "maxLength": LONGEST_TOKEN},
            "pageSize": {"type": "integer", "minimum": 0},
            "size": {"type": "integer", "minimum": 0},
        },
        "required": ["items", "nextPageToken", "pageSize", "size"],
    }


def error_schema(codes: Mapping[int, str]) -> JsonValue:
    """A refusal in the form of the Kubeflow Model Registry; ``codes`` are the words by their statuses."""
    words: list[JsonValue] = list(dict.fromkeys(codes[status] for status in (*REFUSALS, HTTPStatus.METHOD_NOT_ALLOWED)))
    return {
        "type": "object",
        "properties": {"code": {"type": "string", "enum": words}, "message": {"type": "string"}},
        "required": ["code", "message"],
    }


def property_schemas() -> OpenApiObject:
    """Custom properties: the schema ``CustomProperties``, with those of the values."""
    forms = [form.metadata_type for form in PROPERTY_FORMS]
    return {
        "CustomProperties": {
            "type": "object",
            "maxProperties": MOST_PROPERTIES,
            "propertyNames": text_schema(shortest=1, longest=LONGEST_KEY),
            "additionalProperties": reference("MetadataValue"),
        },
        "MetadataValue": {
            "oneOf": [reference(name) for name in forms],
            "discriminator": {
                "propertyName": "metadataType",
                "mapping": {name: f"#/components/schemas/{name}" for name in forms},
            },
        },
        **{form.metadata_type: _property_form(form) for form in PROPERTY_FORMS},
    }


def _property_form(form: PropertyForm) -> JsonValue:
    values: dict[PropertyType, OpenApiObject] = {
        "int": {"type": "string", "pattern": SHORT_INT},
        "double": double_schema(),
        "string": text_schema(),
        "bool": {"type": "boolean"},
        "struct": {"type": "string", "pattern": BASE64},
        "proto": {"type": "string", "pattern": BASE64},
    }
    members: OpenApiObject = {name: text_schema() for name in form.members}
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
