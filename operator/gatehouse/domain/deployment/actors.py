"""Who chose what runs, and who asked for a rollback, as far as Gatehouse knows.

Admission binds both names to the caller who wrote them. A write that chooses a version and leaves an earlier name in
place is rejected, so a name is that of the last person who chose.
"""

from __future__ import annotations

from typing import Final

from gatehouse.api.model_deployment import ANNOTATION_DEPLOYED_BY, ANNOTATION_ROLLBACK_BY, ModelDeployment
from gatehouse.domain.audit.records import UNKNOWN_ACTOR

__all__ = ["deployer", "requester"]

_LONGEST: Final = 253
"""Characters of an actor in a status."""


def deployer(deployment: ModelDeployment) -> str:
    """Who chose ``spec.versionRef``, or asked to try it again."""
    return _name(deployment, ANNOTATION_DEPLOYED_BY)


def requester(deployment: ModelDeployment) -> str:
    """Who asked for the rollback that the annotations name."""
    return _name(deployment, ANNOTATION_ROLLBACK_BY)


def _name(deployment: ModelDeployment, annotation: str) -> str:
    name = deployment.metadata.annotations.get(annotation, "").strip()[:_LONGEST]
    return name if name.isprintable() and name else UNKNOWN_ACTOR
