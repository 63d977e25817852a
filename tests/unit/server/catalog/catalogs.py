"""A catalog over rows in a file, which a test fills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import orjson

from entriescontract import a_decided
from gatehouse.actions.identity import Action
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.server.app import App
from gatehouse.server.catalog.family import catalog_family
from gatehouse.server.served_registry import ServedRegistry
from registrycontract import Opened, a_change, a_model, open_file
from unit.server.parts import ReviewServer, application, ask, identification

__all__ = ["ALPHA", "BEARER", "TOKEN", "V1", "Catalog", "Registry", "fill", "open_catalog", "rights"]

ALPHA, V1 = "/api/model_catalog/v1alpha1", "/api/model_catalog/v1"
TOKEN = "t"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
_MODEL_SPEC = {
    "provider": "IBM",
    "license": "apache-2.0",
    "tasks": ["text-generation"],
    "languages": ["en"],
    "description": "a model",
}


@dataclass
class Catalog:
    """A server of the catalog over rows in a file; ``reviews`` says what the caller may do."""

    opened: Opened
    reviews: ReviewServer
    app: App

    async def get(self, path: str, *, prefix: str = ALPHA) -> tuple[int, Any]:
        answer = await ask(self.app, prefix + path, headers=BEARER)
        return answer.status, answer.json()

    async def names(self, query: str = "", *, prefix: str = ALPHA) -> list[str]:
        status, body = await self.get(f"/models{query}", prefix=prefix)
        assert status == 200, body
        return [item["name"] for item in body["items"]]

    async def ready(self, number: int = 1, **changes: Any) -> None:
        rows = self.opened.rows
        held = await rows.load_version(model="granite", version=f"v{number}")
        record = replace(a_decided(number, **changes), id=held.id if held else None)
        if held:
            record = replace(record, model_id=held.model_id)
        await rows.save_version(record, files=None, change=a_change())


class Registry:
    """The registry of the file."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def rows(self) -> Any:
        return self._opened.rows

    async def registry(self) -> Any:
        return self._opened.registry


def rights(*namespaces: str) -> list[tuple[str, Action]]:
    return [
        ("ann", Action(verb=verb, resource=resource, namespace=namespace))
        for namespace in namespaces
        for verb in ("list", "get")
        for resource in ("modelversions", "registeredmodels")
    ]


@asynccontextmanager
async def open_catalog(folder: Path) -> AsyncIterator[Catalog]:
    """Both versions over an empty file, for one caller who may read."""
    opened = await open_file(folder)
    reviews = ReviewServer(tokens={TOKEN: {"username": "ann"}}, allowed=rights("", "team-a"))
    registry = cast("ServedRegistry", Registry(opened))
    app = application(
        identification(reviews, namespaces=frozenset({"team-a", "team-b"})),
        families=[catalog_family(registry, version="v1alpha1"), catalog_family(registry, version="v1")],
    )
    yield Catalog(opened, reviews, app)
    await opened.databases.aclose()


async def fill(catalog: Catalog) -> None:
    """One model with two versions that are ready."""
    await catalog.ready(1)
    await catalog.ready(2, shown=ShownDecision(cleared_for=("dev",)).text())
    model = await catalog.opened.rows.load_model(model="granite")
    assert model is not None
    await catalog.opened.rows.save_model(a_model(id=model.id, spec=orjson.dumps(_MODEL_SPEC).decode()))
