"""A Kubeflow Model Registry in memory, on a socket, that misbehaves on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ["TOKEN", "FakeRegistry", "fake_registry"]

TOKEN = "a-token-for-the-mirror"
_PREFIX = "/api/model_registry/v1alpha3"
Fault = Callable[[str, str], web.StreamResponse | None]


@dataclass
class FakeRegistry:
    """``entries`` by id; ``asked`` is every request as METHOD and path. ``fault`` may answer a request instead."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    fault: Fault | None = None
    hangs_up: bool = False
    url: str = ""

    @property
    def writes(self) -> int:
        return sum(method != "GET" for method, _ in self.asked)

    def named(self, name: str) -> dict[str, Any]:
        [found] = [entry for entry in self.entries.values() if entry["name"] == name]
        return found

    def put(self, kind: str, name: str, parent: str = "", **more: Any) -> str:
        id_ = str(100 + len(self.entries))
        self.entries[id_] = {"kind": kind, "name": name, "parent": parent, "id": id_, **more}
        return id_

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(_PREFIX)
        self.asked.append((request.method, path))
        if self.hangs_up:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"code": "Unauthorized", "message": TOKEN}, status=401)
        if self.fault is not None and (failed := self.fault(request.method, path)) is not None:
            return failed
        if request.method == "GET":
            return self._find(path, request.query)
        body = await request.json()
        parts = path.strip("/").split("/")
        return self._patch(parts[1], body) if request.method == "PATCH" else self._create(parts, body)

    def _find(self, path: str, query: Mapping[str, str]) -> web.Response:
        wanted = (query["name"], query.get("parentResourceId", ""))
        for entry in self.entries.values():
            if (entry["name"], entry["parent"]) == wanted:
                return web.json_response(entry)
        return web.json_response({"code": "Not Found", "message": "not found"}, status=404)

    def _create(self, parts: list[str], body: dict[str, Any]) -> web.Response:
        parent = parts[1] if len(parts) > 1 else body.get("registeredModelId", "")
        if parent and parent not in self.entries:
            return web.json_response({"code": "Not Found", "message": "not found"}, status=404)
        kind = parts[-1]
        for entry in self.entries.values():
            if (entry["kind"], entry["name"], entry["parent"]) == (kind, body["name"], parent):
                return web.json_response({"code": "Conflict", "message": "already exists"}, status=409)
        return web.json_response(self.entries[self.put(kind, parent=parent, **body)], status=201)

    def _patch(self, id_: str, body: dict[str, Any]) -> web.Response:
        if id_ not in self.entries:
            return web.json_response({"code": "Not Found", "message": "not found"}, status=404)
        assert not {"name", "registeredModelId"} & body.keys()
        self.entries[id_] |= body
        return web.json_response(self.entries[id_])


@asynccontextmanager
async def fake_registry() -> AsyncIterator[FakeRegistry]:
    """A registry that listens on loopback."""
    registry = FakeRegistry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()
