"""Answers of the catalog: sources, labels, models, artifacts and facets as the clients' JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gatehouse.domain.catalog.documents import Document, write_artifact, write_model
from gatehouse.domain.catalog.listed_models import (
    LABEL,
    SOURCE,
    ListedArtifact,
    ListedModel,
    stage_label,
    stages_of,
)
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.entries.properties import Property
from gatehouse.server.catalog.queries import CatalogVersion

__all__ = ["answer_artifact", "answer_model", "write_facets", "write_labels", "write_page", "write_source"]

MOST_FACETS: Final = 100
MOST_FACET_VALUES: Final = 200
_FACETS: Final = ("provider", "license", "language", "tasks", "maturity", "libraryName")


def write_source(models: Sequence[ListedModel], *, most: int, more: bool) -> Document:
    """The only source. ``more`` is whether versions are left out, because there are more than ``most``."""
    document: Document = {
        "id": SOURCE,
        "name": "Gatehouse",
        "enabled": True,
        "assetType": "models",
        "labels": [LABEL, *(stage_label(stage) for stage in stages_of(models))],
        "status": "partially-available" if more else "available",
    }
    if more:
        document["error"] = (
            f"the catalog lists the newest {most} versions that are Ready to Deploy; others are left out"
        )
    return document


def write_labels(models: Sequence[ListedModel]) -> Sequence[Document]:
    """The label of all models, and one of each stage that a model is cleared for."""
    labels: list[Document] = [
        {
            "name": LABEL,
            "displayName": LABEL,
            "description": "Versions that Gatehouse verified and that are Ready to Deploy to at least one stage.",
        }
    ]
    for stage in stages_of(models):
        name = stage_label(stage)
        described = f"Versions that are cleared for the stage {stage}."
        labels.append({"name": name, "displayName": name, "description": described})
    return labels


def answer_model(model: ListedModel, *, version: CatalogVersion, counts: bool = False) -> Document:
    """The JSON of a model; ``counts`` adds the number of its artifacts by kind, as the single GET has it."""
    source = "sourceId" if version == "v1" else "source_id"
    document = {"id": str(model.id), source: SOURCE, **write_model(model)}
    if counts:
        kinds = [artifact.metrics or artifact.type for artifact in model.artifacts]
        document["artifactCounts"] = {kind: kinds.count(kind) for kind in kinds}
    return document


def answer_artifact(artifact: ListedArtifact, *, outward: Callable[[str], str]) -> Document:
    """The JSON of an artifact. ``outward`` turns its URI into that for clients."""
    return {"id": artifact.id, "name": artifact.name, **write_artifact(artifact, outward=outward)}


def write_page(items: Sequence[Document], *, next_page_token: str, page_size: int | None) -> Document:
    """The JSON of one page. ``pageSize`` is 0 when the client named none."""
    return {
        "items": list(items),
        "nextPageToken": next_page_token,
        "pageSize": page_size or 0,
        "size": len(items),
    }


def write_facets(models: Sequence[ListedModel]) -> Document:
    """The values that filters can choose between, of members and custom properties, and a named query of each stage.

    Of a property with more values than a person reads, the first in their order are shown.
    """
    texts: dict[str, set[str]] = {}
    numbers: dict[str, tuple[int | float, int | float]] = {}
    for model in models:
        for name in _FACETS:
            value = model.field(name)
            texts.setdefault(name, set()).update(
                value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ()
            )
        _count(model.properties, "", texts, numbers)
        for artifact in model.artifacts:
            _count(artifact.properties, "artifacts.", texts, numbers)
    filters: Document = {
        name: {"type": "string", "values": list[JsonValue](sorted(values)[:MOST_FACET_VALUES])}
        for name, values in sorted(texts.items())[:MOST_FACETS]
        if values
    }
    for name, (least, most) in sorted(numbers.items())[:MOST_FACETS]:
        filters.setdefault(name, {"type": "number", "range": {"min": least, "max": most}})
    return {"filters": filters, "namedQueries": _named_queries(stages_of(models))}


def _count(
    properties: Mapping[str, Property],
    prefix: str,
    texts: dict[str, set[str]],
    numbers: dict[str, tuple[int | float, int | float]],
) -> None:
    """Adds the values of custom properties, under the names that a filterQuery has for them."""
    for name, kept in properties.items():
        full = f"{prefix}{name}.{kept.type}_value"
        if kept.type == "string" and kept.value:
            texts.setdefault(full, set()).add(str(kept.value))
        elif kept.type in {"int", "double"} and not isinstance(kept.value, str):
            least, most = numbers.get(full, (kept.value, kept.value))
            numbers[full] = min(least, kept.value), max(most, kept.value)


def _named_queries(stages: Sequence[str]) -> Document:
    def query(stage: str) -> Mapping[str, JsonValue]:
        return {f"gatehouse.cleared_for.{stage}.bool_value": {"operator": "=", "value": True}}

    return {stage_label(stage): dict(query(stage)) for stage in stages}
