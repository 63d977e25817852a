"""The two versions of the Kubeflow Model Registry's contract as families of endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Final

import orjson

from gatehouse.server.kubeflow.handlers import Handlers
from gatehouse.server.kubeflow.members import ApiVersion
from gatehouse.server.kubeflow.openapi import openapi_document
from gatehouse.server.kubeflow.operations import PREFIX, operations_of
from gatehouse.server.rendering import kubeflow_error
from gatehouse.server.routing import Endpoint, Family
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["DOCUMENTS", "kubeflow_family", "sunset_headers"]

DOCUMENTS: Final = "/openapi/model_registry"
"""Below this path, the OpenAPI document of each version is ``VERSION.json``."""


def kubeflow_family(registry: ServedRegistry, *, version: ApiVersion, sunset: date | None = None) -> Family:
    """Every operation of a version, and its OpenAPI document. ``sunset`` is the day on which the version ends."""
    handlers = Handlers(registry, version=version)
    return Family(
        prefix=f"{PREFIX}/{version}",
        endpoints=[
            Endpoint(method=operation.verb, path=operation.path, handler=handlers.handler(operation))
            for operation in operations_of(version)
        ],
        render=kubeflow_error,
        headers={} if sunset is None else sunset_headers(sunset),
        documents={f"{DOCUMENTS}/{version}.json": orjson.dumps(openapi_document(version))},
    )


def sunset_headers(day: date) -> Mapping[str, str]:
    """What tells the clients of a version that it ends (RFC 8594), and which version follows."""
    return {
        "Deprecation": "true",
        "Sunset": format_datetime(datetime.combine(day, time(), tzinfo=UTC), usegmt=True),
        "Link": f'<{PREFIX}/v1/>; rel="successor-version"',
    }
