"""The hooks of a registry in memory, behind the whole application."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.server.app import App
from gatehouse.server.hooks.family import hooks_family
from unit.server.hooks.events import REGISTRY, record
from unit.server.parts import Answer, Clock, ReviewServer, application, ask, identification

__all__ = ["PATH", "TOKEN", "Door", "body", "make_door"]

TOKEN = "a-token-of-the-object-store"
PATH = "/hooks/s3/registry"


@dataclass
class Registry:
    """The registry in memory, with the hints that were left."""

    token: str | None = TOKEN
    hints: list[str] = field(default_factory=list)
    read: int = 0

    async def registry(self) -> ModelRegistry:
        return REGISTRY

    async def hook_token(self) -> str | None:
        self.read += 1
        return self.token

    async def add_hints(self, folders: Sequence[str]) -> int:
        assert folders
        self.hints += folders
        return len(folders)


@dataclass
class Door:
    registry: Registry
    app: App
    reviews: ReviewServer
    clock: Clock

    async def post(
        self, content: bytes, *, token: str | None = TOKEN, path: str = PATH, method: str = "POST"
    ) -> Answer:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return await ask(self.app, path, method=method, headers=headers, content=content)


def make_door() -> Door:
    registry, reviews, clock = Registry(), ReviewServer(tokens={"of-ann": {"username": "ann"}}), Clock()
    app = application(identification(reviews), families=[hooks_family(registry, now=clock)])
    return Door(registry, app, reviews, clock)


def body(*keys: str) -> bytes:
    return json.dumps({"Records": [record(key) for key in keys]}).encode()
