"""The two versions of the catalog's contract as families of endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatehouse.server.catalog.handlers import CatalogHandlers
from gatehouse.server.catalog.queries import CatalogVersion
from gatehouse.server.rendering import kubeflow_error
from gatehouse.server.routing import Endpoint, Family, Handler
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["catalog_family"]

_PREFIX: Final = "/api/model_catalog"
_MODEL: Final = "/sources/{source_id}/models/{model_name+}"


def catalog_family(registry: ServedRegistry, *, version: CatalogVersion) -> Family:
    """Every operation of a version. All of them read."""
    prefix = f"{_PREFIX}/{version}"
    handlers = CatalogHandlers(registry, version=version, prefix=prefix)
    paths: Mapping[str, Handler] = {
        "/sources": handlers.sources,
        "/labels": handlers.labels,
        "/models": handlers.models,
        "/models/filter_options": handlers.filter_options,
        _MODEL: handlers.model,
        f"{_MODEL}/artifacts": handlers.artifacts,
        f"{_MODEL}/artifacts/performance": handlers.performance,
    }
    return Family(
        prefix=prefix,
        endpoints=[Endpoint(method="GET", path=path, handler=handler) for path, handler in paths.items()],
        render=kubeflow_error,
    )
