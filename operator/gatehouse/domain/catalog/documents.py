"""Models and artifacts of the catalog as the clients' JSON: in answers of the server, and in a file of models."""

from __future__ import annotations

from collections.abc import Callable

from gatehouse.domain.catalog.listed_models import ListedArtifact, ListedModel
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.epoch import milliseconds
from gatehouse.domain.entries.custom_properties import write_custom_properties

__all__ = ["Document", "write_artifact", "write_model"]

Document = dict[str, JsonValue]


def write_model(model: ListedModel) -> Document:
    """The JSON of a model, without its id and its source."""
    entry = model.version
    document: Document = {
        "name": model.name,
        "createTimeSinceEpoch": str(milliseconds(entry.created_at)),
        "lastUpdateTimeSinceEpoch": str(milliseconds(entry.updated_at)),
        "customProperties": write_custom_properties(model.properties),
    }
    document |= {name: list(said) if isinstance(said, tuple) else said for name, said in model.members.items()}
    if entry.external_id:
        document["externalId"] = entry.external_id
    return document


def write_artifact(artifact: ListedArtifact, *, outward: Callable[[str], str]) -> Document:
    """The JSON of an artifact, without its id and its name. ``outward`` turns its URI into that for clients."""
    document: Document = {
        "artifactType": artifact.type,
        "createTimeSinceEpoch": str(milliseconds(artifact.created_at)),
        "lastUpdateTimeSinceEpoch": str(milliseconds(artifact.updated_at)),
        "customProperties": write_custom_properties(artifact.properties),
    }
    if artifact.metrics:
        document["metricsType"] = artifact.metrics
    else:
        document["uri"] = outward(artifact.uri)
    return document
