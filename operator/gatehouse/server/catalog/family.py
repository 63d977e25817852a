"""The two versions of the catalog's contract as families of endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from gatehouse.server.catalog.handlers import CatalogHandlers
from gatehouse.server.catalog.openapi import catalog_document
from gatehouse.server.catalog.operations import CATALOG_OPERATIONS, CATALOG_PREFIX, CatalogAction
from gatehouse.server.catalog.queries import CatalogVersion
from gatehouse.server.rendering import kubeflow_error
from gatehouse.server.routing import Endpoint, Family, Handler
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["CATALOG_DOCUMENTS", "catalog_family"]

CATALOG_DOCUMENTS: Final = "/openapi/model_catalog"
"""Below this path, the OpenAPI document of each version is ``VERSION.json``."""


def catalog_family(registry: ServedRegistry, *, version: CatalogVersion) -> Family:
    """Every operation of a version, and its OpenAPI document. All operations read."""
    prefix = f"{CATALOG_PREFIX}/{version}"
    handlers = CatalogHandlers(registry, version=version, prefix=prefix)
    actions: Mapping[CatalogAction, Handler] = {
        "sources": handlers.sources,
        "labels": handlers.labels,
        "models": handlers.models,
        "filter_options": handlers.filter_options,
        "model": handlers.model,
        "artifacts": handlers.artifacts,
        "performance": handlers.performance,
    }
    return Family(
        prefix=prefix,
        endpoints=[
            Endpoint(method="GET", path=operation.path, handler=actions[operation.action])
            for operation in CATALOG_OPERATIONS
        ],
        render=kubeflow_error,
        documents={f"{CATALOG_DOCUMENTS}/{version}.json": orjson.dumps(catalog_document(version))},
    )
