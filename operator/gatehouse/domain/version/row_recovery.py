"""What objects know of their rows: a row that a database lost is created again with the same ids and the same digest.

Only Gatehouse writes a status. A status from another registry does not count: the object was moved here.
"""

from __future__ import annotations

from typing import Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersionStatus
from gatehouse.api.registered_model import RegisteredModelStatus
from gatehouse.domain.common.conditions import find

__all__ = ["ARTIFACT_VERIFIED", "digest_of", "id_in", "row_id"]

ARTIFACT_VERIFIED: Final = "ArtifactVerified"
LARGEST_ID: Final = 2**53
"""The largest number in JSON. A larger id would leave no room for the ids after it."""


def id_in(status: ModelVersionStatus | RegisteredModelStatus, registry: ModelRegistry) -> int | None:
    """The id of the object's row in that registry, as the object knows it."""
    if status.registry != f"{registry.metadata.namespace}/{registry.metadata.name}":
        return None
    return row_id(status.registry_id)


def row_id(text: str | None) -> int | None:
    """The number in ``status.registryId``."""
    number = int(text) if text is not None and text.isascii() and text.isdecimal() else 0
    return number if 0 < number < LARGEST_ID else None


def digest_of(status: ModelVersionStatus) -> str | None:
    """The recorded digest in the status of a version."""
    if status.recorded_digest is not None:
        return status.recorded_digest
    verified = find(status.conditions, ARTIFACT_VERIFIED)
    if status.artifact is None or verified is None or verified.status != "True":
        return None
    return status.artifact.digest
