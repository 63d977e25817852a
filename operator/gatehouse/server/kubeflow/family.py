"""The two versions of the Kubeflow Model Registry's contract as families of endpoints."""

from __future__ import annotations

from typing import Final

import orjson

from gatehouse.server.kubeflow.handlers import Handlers
from gatehouse.server.kubeflow.members import ApiVersion
from gatehouse.server.kubeflow.openapi import openapi_document
from gatehouse.server.kubeflow.operations import PREFIX, operations_of
from gatehouse.server.rendering import kubeflow_error
from gatehouse.server.routing import Endpoint, Family
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["DOCUMENTS", "kubeflow_family"]

DOCUMENTS: Final = "/openapi/model_registry"
"""Below this path, the OpenAPI document of each version is ``VERSION.json``."""


def kubeflow_family(registry: ServedRegistry, *, version: ApiVersion) -> Family:
    """Every operation of a version, and its OpenAPI document."""
    handlers = Handlers(registry, version=version)
    return Family(
        prefix=f"{PREFIX}/{version}",
        endpoints=[
            Endpoint(method=operation.verb, path=operation.path, handler=handlers.handler(operation))
            for operation in operations_of(version)
        ],
        render=kubeflow_error,
        documents={f"{DOCUMENTS}/{version}.json": orjson.dumps(openapi_document(version))},
    )
