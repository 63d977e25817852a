"""The route of a deployment: which share of the requests of its host each service gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["DeployedRoute", "RouteMeans", "RouteMethod"]

RouteMethod = Literal["None", "HTTPRoute", "Route"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMeans:
    """How the cluster can split the requests of a deployment, and in words why. None: not at all."""

    method: RouteMethod
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedRoute:
    """The route of the deployment's name as the cluster has it.

    ``owned`` is whether the deployment controls the route. ``weights`` are percentages by the name of the
    InferenceService. ``exact`` is whether host, parent and rules are those that the operator writes for these weights.
    ``accepted`` is whether the gateway has taken up this generation, and ``told`` what the gateway says.
    """

    uid: str
    owned: bool
    weights: Mapping[str, int]
    exact: bool
    accepted: bool
    told: str = ""
