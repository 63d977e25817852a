"""The OpenAPI document of the hooks."""

from __future__ import annotations

from typing import Final

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.server.hooks.store_events import MOST_RECORDS
from gatehouse.server.openapi import OpenApiObject, described_api, reference, refusals_of, response

__all__ = ["hooks_document"]

_TAG: Final = "Hooks"
_TEXT: Final[OpenApiObject] = {"type": "string"}
_COUNT: Final[OpenApiObject] = {"type": "integer", "minimum": 0}


def hooks_document() -> OpenApiObject:
    """The OpenAPI 3.1 document of what other systems call."""
    return described_api(
        title="Gatehouse: what object stores call when something happened there",
        version="v1",
        about="An event is a hint to look. Gatehouse believes nothing of an event. "
        "The token is that in spec.hooks.tokenSecret of the ModelRegistry.",
        tag=_TAG,
        paths={"/hooks/s3/{registry}": {"post": _store_events()}},
        schemas=_schemas(),
    )


def _store_events() -> OpenApiObject:
    registry: OpenApiObject = {
        "name": "registry",
        "in": "path",
        "required": True,
        "description": "The name of the ModelRegistry.",
        "schema": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
    }
    return {
        "operationId": "storeEvents",
        "summary": "Take events of an object store, in the form of S3 and MinIO or of EventBridge",
        "tags": [_TAG],
        "parameters": [registry],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [reference("S3Events"), reference("BridgedEvent")]}}},
        },
        "responses": {
            "202": response("The number of events, and of hints that they left.", reference("TakenEvents")),
            **refusals_of((400, 401, 404, 413, 500, 503)),
        },
    }


def _schemas() -> OpenApiObject:
    return {
        "Error": _object({"error": _object({"code": _TEXT, "message": _TEXT, "traceId": _TEXT})}),
        "TakenEvents": _object({"events": _COUNT, "hints": _COUNT}),
        "S3Events": {
            "type": "object",
            "description": "Records of S3 and MinIO. The key is URL-encoded.",
            "properties": {
                "Records": {
                    "type": "array",
                    "maxItems": MOST_RECORDS,
                    "items": _object({"s3": reference("StoredObject")}),
                }
            },
            "not": {"required": ["detail"]},
        },
        "BridgedEvent": {
            **_object({"detail": reference("StoredObject")}),
            "description": "An event as EventBridge passes it on. The key is not encoded.",
        },
        "StoredObject": _object({"bucket": _object({"name": _TEXT}), "object": _object({"key": _TEXT})}),
    }


def _object(members: OpenApiObject) -> OpenApiObject:
    required: list[JsonValue] = list(members)
    return {"type": "object", "properties": {**members}, "required": required}
