"""The handlers of the catalog: each reads the versions that are Ready to Deploy, as the caller, and answers.

A list costs two statements, the versions and their models, whatever its size. Nothing is remembered between calls, so
a version that is archived or no longer ready is gone with the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from gatehouse.actions.identity import Action as Right
from gatehouse.api.meta import Resource
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.catalog.documents import Document
from gatehouse.domain.catalog.listed_models import (
    LABEL,
    READY,
    SOURCE,
    ListedArtifact,
    ListedModel,
    listed_models,
    split_name,
    stage_label,
)
from gatehouse.domain.entries.artifact_uris import outward
from gatehouse.domain.query.filters import All, Comparison, Filter
from gatehouse.domain.query.pages import Order, Page
from gatehouse.server.calls import Call
from gatehouse.server.catalog.answers import (
    answer_artifact,
    answer_model,
    write_facets,
    write_labels,
    write_page,
    write_source,
)
from gatehouse.server.catalog.matching import Described, matches
from gatehouse.server.catalog.paging import OrderValue, page_of
from gatehouse.server.catalog.queries import (
    ARTIFACT_RULES,
    LABEL_RULES,
    MODEL_RULES,
    SOURCE_RULES,
    CatalogList,
    CatalogVersion,
    ListRules,
    read_catalog_list,
)
from gatehouse.server.errors import NotFound
from gatehouse.server.kubeflow.errors import not_found
from gatehouse.server.rendering import json_response
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["MOST_LISTED", "CatalogHandlers"]

MOST_LISTED: Final = 10_000
"""Versions in the catalog, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    models: Sequence[ListedModel]
    more: bool


class CatalogHandlers:
    """The handlers of one version of the catalog's contract, over one registry."""

    def __init__(self, registry: ServedRegistry, *, version: CatalogVersion, prefix: str) -> None:
        self._registry = registry
        self._version = version
        self._prefix = prefix

    async def sources(self, call: Call) -> Response:
        """The only source, with a label for each stage."""
        asked = self._read(call, SOURCE_RULES, "/sources")
        listed = await self._listed(call, with_models=False)
        source = write_source(listed.models, most=MOST_LISTED, more=listed.more)
        fits = asked.asset_type in {"", "models"} and asked.name.casefold() in {"", str(source["name"]).casefold()}
        return _documents([source] if fits else [], asked)

    async def labels(self, call: Call) -> Response:
        """The labels of the source."""
        asked = self._read(call, LABEL_RULES, "/labels")
        listed = await self._listed(call, with_models=False)
        return _documents(write_labels(listed.models) if asked.asset_type in {"", "models"} else [], asked)

    async def models(self, call: Call) -> Response:
        """A page of models."""
        asked = self._read(call, MODEL_RULES, "/models")
        listed = await self._listed(call)

        def answer() -> Document:
            chosen = [model for model in listed.models if _asked_for(model, asked)]
            page = page_of(chosen, asked.page, rank=lambda model: model.id, value=_value)
            return write_page(
                [answer_model(model, version=self._version) for model in page.items],
                next_page_token=asked.next_token(page),
                page_size=asked.page.size,
            )

        return json_response(await asyncio.to_thread(answer))

    async def filter_options(self, call: Call) -> Response:
        """The facets of all models that the caller may read."""
        listed = await self._listed(call)
        return json_response(await asyncio.to_thread(write_facets, listed.models))

    async def model(self, call: Call) -> Response:
        """One model, with the number of its artifacts."""
        model = await self._named(call)
        return json_response(answer_model(model, version=self._version, counts=True))

    async def artifacts(self, call: Call) -> Response:
        """The artifacts of a model."""
        return await self._artifacts(call, ending="artifacts", metrics=None)

    async def performance(self, call: Call) -> Response:
        """The facts about performance: the fit, which is an estimate. No target is compared with an estimate."""
        return await self._artifacts(call, ending="artifacts/performance", metrics="performance-metrics")

    async def _artifacts(self, call: Call, *, ending: str, metrics: str | None) -> Response:
        path = f"/sources/{call.params['source_id']}/models/{call.params['model_name']}/{ending}"
        asked = self._read(call, ARTIFACT_RULES, path)
        model = await self._named(call)
        chosen = [
            artifact
            for artifact in model.artifacts
            if (metrics is None or artifact.metrics == metrics)
            and (not asked.artifact_types or artifact.type in asked.artifact_types)
            and matches(asked.filter, artifact)
        ]
        page = page_of(chosen, asked.page, rank=lambda artifact: artifact.rank, value=_value)
        write = outward(await self._registry.registry())
        documents = [answer_artifact(artifact, outward=write) for artifact in page.items]
        return json_response(write_page(documents, next_page_token=asked.next_token(page), page_size=asked.page.size))

    async def _listed(self, call: Call, *, with_models: bool = True) -> _Listed:
        """All that the caller may read: one statement for the versions, one more for their models."""
        entries = (await self._registry.rows()).entries
        newest = Page(order=Order("ID", descending=True), size=MOST_LISTED)
        scope = await call.access.readable_namespaces(ModelVersion.info.plural)
        page = await entries.page(kinds=("model_version",), page=newest, tree=READY, namespaces=scope)
        found = listed_models(page.entries)
        if not with_models or not found:
            return _Listed(models=found, more=page.more)
        ids = tuple(sorted({model.version.parent_id or 0 for model in found}))
        models = await entries.page(
            kinds=("registered_model",),
            page=Page(),
            tree=Comparison(("id",), "IN", ids),
            namespaces=await call.access.readable_namespaces(RegisteredModel.info.plural),
        )
        return _Listed(models=listed_models(page.entries, models.entries), more=page.more)

    async def _named(self, call: Call) -> ListedModel:
        """The model of the path. Raises NotFound where there is none, or the caller may not read it."""
        name, source = call.params["model_name"], call.params["source_id"]
        keys = split_name(name)
        if source != SOURCE or keys is None:
            raise _no_model(name, source)
        entries = (await self._registry.rows()).entries
        keyed: Filter = All(
            (
                READY,
                Comparison(("gatehouse.model_key",), "=", (keys[0],)),
                Comparison(("gatehouse.version_key",), "=", (keys[1],)),
            )
        )
        page = await entries.page(kinds=("model_version",), page=Page(size=1), tree=keyed)
        found = [model for model in listed_models(page.entries) if model.name == name]
        if not found or not await _may_get(
            call, ModelVersion, found[0].version.namespace, found[0].governed.object_name
        ):
            raise _no_model(name, source)
        version = found[0].version
        if version.parent_id is None or not await _may_get(call, RegisteredModel, version.namespace, keys[0]):
            return found[0]
        model = await entries.get(
            kinds=("registered_model",), id=version.parent_id, namespaces=frozenset({version.namespace})
        )
        return listed_models([version], [model] if model is not None else [])[0]

    def _read(self, call: Call, rules: ListRules, path: str) -> CatalogList:
        return read_catalog_list(call.query, rules=rules, version=self._version, path=self._prefix + path)


def _asked_for(model: ListedModel, asked: CatalogList) -> bool:
    labels = {LABEL, *(stage_label(stage) for stage in model.governed.cleared_for)}
    return (
        (not asked.sources or SOURCE in asked.sources)
        and (not asked.labels or not labels.isdisjoint(asked.labels))
        and (not asked.search or model.mentions(asked.search))
        and matches(asked.filter, model)
    )


def _value(item: ListedModel | ListedArtifact, order: Order) -> OrderValue:
    """The value of an item in an order. No latency is measured, so RECOMMENDED is by name.

    Of several artifacts the least value counts, and where the order descends the greatest.
    """
    match order.by:
        case "ID":
            return None
        case "NAME" | "RECOMMENDED":
            return item.name
        case "CREATE_TIME":
            return _times(item)[0]
        case "LAST_UPDATE_TIME":
            return _times(item)[1]
    if order.by.startswith("artifacts.") and isinstance(item, ListedModel):
        found = [_property(artifact, order.by.removeprefix("artifacts."), order) for artifact in item.artifacts]
        values: list[Any] = [value for value in found if value is not None]
        return (max if order.descending else min)(values, default=None)
    return _property(item, order.by, order)


def _times(item: ListedModel | ListedArtifact) -> tuple[int, int]:
    """When an item was created and changed, in milliseconds since 1970."""
    created, updated = item.field("createTimeSinceEpoch"), item.field("lastUpdateTimeSinceEpoch")
    return (created if isinstance(created, int) else 0), (updated if isinstance(updated, int) else 0)


def _property(item: Described, name: str, order: Order) -> OrderValue:
    member = item.field(name) if order.type == "string" else None
    if isinstance(member, str):
        return member
    kept = item.properties.get(name)
    if kept is None or kept.type != order.type:
        return None
    return int(kept.value) if isinstance(kept.value, bool) else kept.value


def _documents(documents: Sequence[Document], asked: CatalogList) -> Response:
    """A page of a short list whose items have no numbers as ids: their places settle ties."""
    places = [(place, document) for place, document in enumerate(documents, 1)]

    def value(placed: tuple[int, Document], order: Order) -> OrderValue:
        return None if order.by == "ID" else str(placed[1].get("name" if order.by == "NAME" else order.by) or "")

    page = page_of(places, asked.page, rank=lambda placed: placed[0], value=value)
    items = [document for _, document in page.items]
    return json_response(write_page(items, next_page_token=asked.next_token(page), page_size=asked.page.size))


async def _may_get(call: Call, kind: type[Resource], namespace: str, name: str) -> bool:
    return await call.access.may_on(Right(verb="get", resource=kind.info.plural, namespace=namespace, name=name))


def _no_model(name: str, source: str) -> NotFound:
    return not_found("catalog model", f"name {name[:128]} in source {source[:64]}")
