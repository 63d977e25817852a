"""What objects know of their rows: a row that a database lost is made again with the same ids and the same digest.

Only Gatehouse writes a status. What stands in one of another registry says nothing: the object was moved here.
"""

from __future__ import annotations

from typing import Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersionStatus
from gatehouse.api.registered_model import RegisteredModel, RegisteredModelStatus
from gatehouse.domain.common.conditions import find
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.records import KnownIds

__all__ = ["ARTIFACT_VERIFIED", "id_in", "is_lost", "known_digest", "known_ids", "row_id"]

ARTIFACT_VERIFIED: Final = "ArtifactVerified"
LARGEST_ID: Final = 2**53
"""What JSON numbers hold. A larger one would leave no room for the ids after it."""


def id_in(status: ModelVersionStatus | RegisteredModelStatus, registry: ModelRegistry) -> int | None:
    """The id of the object's row in that registry, as the object knows it."""
    if status.registry != f"{registry.metadata.namespace}/{registry.metadata.name}":
        return None
    return row_id(status.registry_id)


def row_id(text: str | None) -> int | None:
    """The number that stands in ``status.registryId``."""
    number = int(text) if text is not None and text.isascii() and text.isdecimal() else 0
    return number if 0 < number < LARGEST_ID else None


def known_ids(facts: Facts) -> KnownIds:
    """The ids of a version's rows in the registry that keeps it now."""
    if not isinstance(facts.registry, ModelRegistry):
        return KnownIds()
    model = id_in(facts.model.status, facts.registry) if isinstance(facts.model, RegisteredModel) else None
    return KnownIds(model=model, version=id_in(facts.version.status, facts.registry))


def is_lost(facts: Facts) -> bool:
    """Whether the version was registered and its row is gone: the database is empty, or an older one."""
    return facts.row is None and known_ids(facts).version is not None


def known_digest(facts: Facts) -> str | None:
    """The digest that the version was recorded with."""
    if known_ids(facts).version is None:
        return None
    status = facts.version.status
    if status.recorded_digest is not None:
        return status.recorded_digest
    verified = find(status.conditions, ARTIFACT_VERIFIED)
    if status.artifact is None or verified is None or verified.status != "True":
        return None
    return status.artifact.digest
