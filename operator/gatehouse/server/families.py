"""The table of the families of routes: one line for each API that the server speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from gatehouse.server.catalog.family import catalog_family
from gatehouse.server.hooks.family import hooks_family
from gatehouse.server.kubeflow.family import kubeflow_family
from gatehouse.server.routing import Family
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["FAMILIES", "FamilyParts", "families"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyParts:
    """What the handlers of families are built with. What differs from call to call is in the call.

    ``sunset`` is the day on which v1alpha3 of the registry ends, if one is set.
    """

    registry: ServedRegistry
    sunset: date | None = None


FAMILIES: Final[Sequence[Callable[[FamilyParts], Family]]] = (
    lambda parts: kubeflow_family(parts.registry, version="v1alpha3", sunset=parts.sunset),
    lambda parts: kubeflow_family(parts.registry, version="v1"),
    lambda parts: catalog_family(parts.registry, version="v1alpha1"),
    lambda parts: catalog_family(parts.registry, version="v1"),
    lambda parts: hooks_family(parts.registry),
)


def families(parts: FamilyParts) -> Sequence[Family]:
    """Every family, built."""
    return [build(parts) for build in FAMILIES]
