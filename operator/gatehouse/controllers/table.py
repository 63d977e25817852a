"""The kinds that the operator watches. A new kind is one module, and one line here."""

from __future__ import annotations

from typing import Final

from gatehouse.controllers import (
    governance_policy,
    hardware_profile,
    model_deployment,
    model_registry,
    model_version,
    observed,
    registered_model,
    vetted_artifacts,
)
from gatehouse.controllers.declaration import Declaration, watches_of

__all__ = ["DECLARATIONS", "WATCHES"]

DECLARATIONS: Final[tuple[Declaration, ...]] = (
    observed.NAMESPACES,
    hardware_profile.DECLARATION,
    model_registry.DECLARATION,
    governance_policy.DECLARATION,
    observed.APPROVALS,
    observed.EVALUATIONS,
    observed.SERVICES,
    *observed.ROUTES,
    vetted_artifacts.DECLARATION,
    registered_model.DECLARATION,
    model_version.DECLARATION,
    model_deployment.DECLARATION,
)

WATCHES: Final = watches_of(DECLARATIONS)
