"""The kinds of routes for an API server that has none: a part of the Gateway API's, and of OpenShift's."""

from __future__ import annotations

from pathlib import Path

import yaml

from cluster.status import Manifest
from gatehouse_local.kube import KubeClient

__all__ = ["route_kinds", "serve_routes"]

_FOLDER = Path(__file__).parent / "kinds"


def route_kinds() -> list[Manifest]:
    """The definitions of HTTPRoute and Route."""
    return [yaml.safe_load((_FOLDER / name).read_text()) for name in ("httproutes.yaml", "routes.yaml")]


def serve_routes(client: KubeClient) -> None:
    """Returns when the API server serves both kinds."""
    client.wait_served([client.apply(each) for each in route_kinds()])
