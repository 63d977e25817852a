"""The two versions of the Kubeflow Model Registry's contract as families of endpoints."""

from __future__ import annotations

from gatehouse.server.kubeflow.handlers import Handlers
from gatehouse.server.kubeflow.members import ApiVersion
from gatehouse.server.kubeflow.operations import PREFIX, operations_of
from gatehouse.server.rendering import kubeflow_error
from gatehouse.server.routing import Endpoint, Family
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["kubeflow_family"]


def kubeflow_family(registry: ServedRegistry, *, version: ApiVersion) -> Family:
    """Every operation of a version."""
    handlers = Handlers(registry, version=version)
    return Family(
        prefix=f"{PREFIX}/{version}",
        endpoints=[
            Endpoint(method=operation.verb, path=operation.path, handler=handlers.handler(operation))
            for operation in operations_of(version)
        ],
        render=kubeflow_error,
    )
