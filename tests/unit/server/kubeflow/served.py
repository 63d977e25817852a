"""The whole contract in memory: handlers over a registry in SQLite, for one caller who may do all and one unknown."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import orjson

from gatehouse.actions.identity import Action
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.controllers.ports import SecretReader
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.rows import Rows
from gatehouse.server.app import App
from gatehouse.server.families import FamilyParts, families
from gatehouse.server.identity.access import CallerClients
from gatehouse.server.served_registry import ServedRegistry
from unit.server.parts import Answer, ReviewServer, application, ask, identification

__all__ = ["TOKEN", "V1", "V3", "Served", "made_run", "served"]

TOKEN = "a-secret-token.of-ann"
V1, V3 = "/api/model_registry/v1", "/api/model_registry/v1alpha3"
_VERBS = ("get", "list", "create", "patch")
_RESOURCES = ("registeredmodels", "modelversions")
_REGISTRY = {
    "metadata": {"name": "registry", "namespace": "models", "generation": 1},
    "spec": {
        "allowedNamespaces": {"from": "All"},
        "defaults": {"namespace": "team"},
        "objectStores": [{"uriPrefix": "s3://models/", "endpoint": "https://s3.example.com"}],
    },
}


class _Registries:
    """An API server with one ModelRegistry."""

    async def get(self, plural: str, namespace: str, name: str) -> dict[str, Any]:
        return {**_REGISTRY, "apiVersion": "gatehouse.dev/v1alpha1", "kind": "ModelRegistry"}


class _NoObjects:
    """The API server as a caller sees it: it has no model and no version."""

    def bearing(self, token: str) -> _NoObjects:
        assert token == TOKEN
        return self

    async def get(self, plural: str, namespace: str, name: str) -> dict[str, Any]:
        raise ApiError(status=404, reason="NotFound", message=f'{plural} "{name}" not found')


class _WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class Served:
    """The application, its database, and a client of it."""

    app: App
    databases: DatabasePool
    folder: Path

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call as the caller who may do all; a path without a prefix is that of v1alpha3."""
        data = content if content is not None else b"" if body is None else orjson.dumps(body)
        sent = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", **(headers or {})}
        path = path if path.startswith("/api/") else f"{V3}{path}"
        return await ask(self.app, path, method=method, headers=sent, content=data)

    async def rows(self) -> Rows:
        """The rows of the registry, as the operator has them."""
        registry = ModelRegistry.model_validate({**_REGISTRY, "status": {}})
        return await self.databases.open(registry, password=None, ca_pem=None)

    async def public(self, method: str, path: str) -> Answer:
        """One call without credentials."""
        return await ask(self.app, path, method=method)

    async def made(self, path: str, body: object) -> dict[str, Any]:
        """The entry that a POST made."""
        answer = await self.call("POST", path, body)
        assert answer.status in {200, 201}, answer.content
        entry: dict[str, Any] = answer.json()
        return entry


@asynccontextmanager
async def served(
    folder: Path,
    *,
    max_body: int = 1_048_576,
    sunset: date | None = None,
    verbs: tuple[str, ...] = _VERBS,
    namespaces: tuple[str, ...] = ("team", "other"),
) -> AsyncIterator[Served]:
    """The application over a new registry in a folder, for a caller with the verbs in the namespaces."""
    databases = DatabasePool(data_dir=folder)
    registry = ServedRegistry(
        api=cast("ApiClient", _Registries()),
        secrets=cast("SecretReader", None),
        databases=databases,
        key=("models", "registry"),
        clock=_WallClock(),
        now=time.monotonic,
    )
    actions = [
        ("ann", Action(verb=verb, resource=resource, namespace=namespace))
        for verb in verbs
        for resource in _RESOURCES
        for namespace in ("", *namespaces)
    ]
    api = ReviewServer(tokens={TOKEN: {"username": "ann"}}, allowed=actions)
    parts = FamilyParts(registry=registry, sunset=sunset)
    nothing = cast("ApiClient", _NoObjects())
    callers = CallerClients(own=nothing, bare=nothing)
    app = application(identification(api, clients=callers), families=families(parts), max_body=max_body)
    try:
        yield Served(app=app, databases=databases, folder=folder)
    finally:
        await registry.aclose()


async def made_run(door: Served) -> dict[str, Any]:
    """An experiment run."""
    experiment = await door.made("/experiments", {"name": "tuning"})
    return await door.made("/experiment_runs", {"name": "run 1", "experimentId": experiment["id"]})
