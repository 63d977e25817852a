"""A catalog over rows in a file, which a test fills."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from entriescontract import a_decided
from gatehouse.actions.identity import Action
from gatehouse.server.app import App
from registrycontract import Opened, a_change
from unit.server.parts import ReviewServer, ask

__all__ = ["ALPHA", "BEARER", "V1", "Catalog", "Registry", "rights"]

ALPHA, V1 = "/api/model_catalog/v1alpha1", "/api/model_catalog/v1"
BEARER = {"Authorization": "Bearer t"}


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
