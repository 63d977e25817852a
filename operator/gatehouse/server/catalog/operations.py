"""The paths of the catalog as one table: routes and the OpenAPI documents follow. Every path is read by GET."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gatehouse.server.catalog.queries import (
    ARTIFACT_RULES,
    LABEL_RULES,
    MODEL_RULES,
    SOURCE_RULES,
    CatalogVersion,
    ListRules,
)

__all__ = ["CATALOG_OPERATIONS", "CATALOG_PREFIX", "CatalogAction", "CatalogOperation", "ignored_words"]

CATALOG_PREFIX: Final = "/api/model_catalog"
CatalogAction = Literal["sources", "labels", "models", "filter_options", "model", "artifacts", "performance"]
_MODEL: Final = "/sources/{source_id}/models/{model_name+}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOperation:
    """One path, behind the prefix and the version.

    ``schema`` is that of the answer, or of each item of a list. ``rules`` are those of a list, and None elsewhere.
    ``recommends`` is whether clients send their wishes of speed and hardware with the query.
    """

    id: str
    path: str
    summary: str
    action: CatalogAction
    schema: str
    rules: ListRules | None = None
    recommends: bool = False

    def described_path(self, version: CatalogVersion) -> str:
        """The whole path, as OpenAPI writes it: a slash in a name is escaped."""
        return f"{CATALOG_PREFIX}/{version}{self.path}".replace("+}", "}")

    @property
    def names_model(self) -> bool:
        """Whether the path names a model."""
        return "{model_name+}" in self.path


CATALOG_OPERATIONS: Final = (
    CatalogOperation(
        id="findSources",
        path="/sources",
        summary="List the sources: gatehouse is the only one",
        action="sources",
        schema="CatalogSource",
        rules=SOURCE_RULES,
    ),
    CatalogOperation(
        id="findLabels",
        path="/labels",
        summary="List the labels of sources: one for all models, and one for each stage",
        action="labels",
        schema="CatalogLabel",
        rules=LABEL_RULES,
    ),
    CatalogOperation(
        id="findModels",
        path="/models",
        summary="List models: the versions that are Ready to Deploy",
        action="models",
        schema="CatalogModel",
        rules=MODEL_RULES,
        recommends=True,
    ),
    CatalogOperation(
        id="findModelsFilterOptions",
        path="/models/filter_options",
        summary="Read the values that filters of models can choose between",
        action="filter_options",
        schema="FilterOptions",
    ),
    CatalogOperation(
        id="getModel",
        path=_MODEL,
        summary="Read one model",
        action="model",
        schema="CatalogModel",
    ),
    CatalogOperation(
        id="getAllModelArtifacts",
        path=f"{_MODEL}/artifacts",
        summary="List the artifacts of a model: its files, and the metrics that are known",
        action="artifacts",
        schema="CatalogArtifact",
        rules=ARTIFACT_RULES,
    ),
    CatalogOperation(
        id="getAllModelPerformanceArtifacts",
        path=f"{_MODEL}/artifacts/performance",
        summary="List what is known of the performance of a model: estimates",
        action="performance",
        schema="CatalogArtifact",
        rules=ARTIFACT_RULES,
        recommends=True,
    ),
)


def ignored_words(operation: CatalogOperation, version: CatalogVersion) -> Sequence[str]:
    """Words that clients send to an operation and that change nothing, because no performance is measured."""
    if not operation.recommends:
        return ()
    words = ("targetRPS", "latencyProperty", "rpsProperty", "hardwareCountProperty", "hardwareTypeProperty")
    return (*words, "recommendations") if version == "v1alpha1" else words
