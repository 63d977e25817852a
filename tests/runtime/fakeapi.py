"""A small Kubernetes API server over HTTP: lists in chunks, watches, takes writes, counts them, and fails on demand."""

from __future__ import annotations

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import kopf
from aiohttp import web

from gatehouse.runtime.refs import Gvr

__all__ = ["WIDGETS", "FakeApi", "Fault"]

Body = dict[str, Any]
Name = tuple[str, str, str]

WIDGETS = Gvr("example.dev", "v1", "widgets", namespaced=True)
_BACKBONE = (
    Gvr("", "v1", "namespaces", namespaced=False),
    Gvr("", "v1", "events", namespaced=True),
    Gvr("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False),
)


@dataclass
class Fault:
    """Answers matching requests with a status, or drops their connection when that is 0."""

    matches: Callable[[web.Request], bool]
    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Watcher:
    plural: str
    namespace: str | None
    events: asyncio.Queue[Body | None] = field(default_factory=asyncio.Queue)


@dataclass
class Snapshot:
    version: int
    items: list[Body]


class FakeApi:
    """Run it as an async context manager; it listens on a free port of the loopback interface."""

    def __init__(self, resources: Iterable[Gvr] = (WIDGETS,)) -> None:
        self.resources = (*resources, *_BACKBONE)
        self.objects: dict[Name, Body] = {}
        self.version = 100
        self.compacted = 0
        self.history: list[tuple[int, str, Body]] = []
        self.watchers: list[Watcher] = []
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.mute = False
        self.watching = asyncio.Condition()
        self._snapshots: dict[str, Snapshot] = {}
        self._served: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._served = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._served.setup()
        site = web.TCPSite(self._served, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._served.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()
        assert self._served is not None
        await self._served.cleanup()

    def login(self) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=self.url)

    @property
    def writes(self) -> int:
        return sum(1 for method, _, _ in self.requests if method != "GET")

    def lists(self, plural: str = "widgets") -> list[dict[str, str]]:
        """The queries of the lists of a kind."""
        return [
            query
            for method, path, query in self.requests
            if method == "GET" and path.endswith(f"/{plural}") and "watch" not in query
        ]

    def watches(self, plural: str = "widgets") -> list[dict[str, str]]:
        return [query for _, path, query in self.requests if path.endswith(f"/{plural}") and "watch" in query]

    def counts(self) -> Counter[str]:
        return Counter(method for method, _, _ in self.requests)

    def put(self, name: str, *, namespace: str = "team", plural: str = "widgets", **parts: Any) -> Body:
        """Create an object, or change the given parts (spec, status, metadata fields)."""
        key = (plural, namespace, name)
        old = self.objects.get(key)
        body: Body = copy.deepcopy(old) if old else self._new(key)
        metadata = parts.pop("metadata", {})
        if old and "spec" in parts and parts["spec"] != old.get("spec"):
            body["metadata"]["generation"] += 1
        body["metadata"].update(metadata)
        body.update(parts)
        return self._store("MODIFIED" if old else "ADDED", key, body)

    def delete(self, name: str, *, namespace: str = "team", plural: str = "widgets") -> Body:
        key = (plural, namespace, name)
        return self._store("DELETED", key, self.objects.pop(key))

    def compact(self) -> None:
        """Forget the history: watches from before now get 410 Gone."""
        self.history.clear()
        self.compacted = self.version

    def disconnect(self) -> None:
        """Break all watch connections."""
        for watcher in self.watchers:
            watcher.events.put_nowait(None)

    def send(self, event: Body) -> None:
        """Send an event to all watchers as it is."""
        for watcher in self.watchers:
            watcher.events.put_nowait(event)

    async def wait_for_watchers(self, count: int = 1) -> None:
        async with asyncio.timeout(20), self.watching:
            await self.watching.wait_for(lambda: len(self.watchers) >= count)

    def _new(self, key: Name) -> Body:
        plural, namespace, name = key
        resource = next(r for r in self.resources if r.plural == plural)
        scope = {"namespace": namespace} if namespace else {}
        return {
            "apiVersion": f"{resource.group}/{resource.version}",
            "kind": plural.removesuffix("s").title(),
            "metadata": {"name": name, **scope, "uid": f"uid-{self.version + 1}", "generation": 1},
        }

    def _store(self, event_type: str, key: Name, body: Body) -> Body:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        if event_type != "DELETED":
            self.objects[key] = body
        copied = copy.deepcopy(body)
        self.history.append((self.version, event_type, copied))
        if not self.mute:
            for watcher in self.watchers:
                if _concerns(watcher, key[0], copied):
                    watcher.events.put_nowait({"type": event_type, "object": copied})
        return copied

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query)))
        for fault in self.faults:
            if fault.times > 0 and fault.matches(request):
                fault.times -= 1
                if fault.status == 0 and request.transport is not None:
                    request.transport.abort()
                return _status(fault.status or 500, "injected", fault.headers)
        if (found := self._discovery(request.path)) is not None:
            return web.json_response(found)
        return await self._resource(request)

    def _discovery(self, path: str) -> Body | None:
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            groups = sorted({(r.group, r.version) for r in self.resources if r.group})
            return {
                "groups": [
                    {"name": g, "versions": [{"version": v}], "preferredVersion": {"version": v}} for g, v in groups
                ]
            }
        listed = [r for r in self.resources if path == r.path().rpartition("/")[0]]
        if not listed:
            return None
        return {"resources": [_describe(resource) for resource in listed]}

    async def _resource(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if not parts:
            return _status(404, "no such group")
        namespace = None
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural = parts[0]
        if not any(r.plural == plural for r in self.resources):
            return _status(404, "no such resource")
        if len(parts) > 1:
            return await self._object(request, (plural, namespace or "", parts[1]), parts[2:])
        if "watch" in request.query:
            return await self._watch(request, plural, namespace)
        return self._list(request, plural, namespace)

    def _list(self, request: web.Request, plural: str, namespace: str | None) -> web.Response:
        token = request.query.get("continue", "")
        if token and token.split(":")[0] not in self._snapshots:
            return _status(410, "the continue token has expired")
        snapshot_id, _, offset = token.partition(":")
        if not token:
            snapshot_id = str(len(self._snapshots))
            items = [b for (p, n, _), b in self.objects.items() if p == plural and namespace in (None, n)]
            self._snapshots[snapshot_id] = Snapshot(self.version, copy.deepcopy(items))
        snapshot = self._snapshots[snapshot_id]
        start = int(offset or 0)
        end = start + int(request.query.get("limit", "0") or len(snapshot.items) or 1)
        metadata: Body = {"resourceVersion": str(snapshot.version)}
        if end < len(snapshot.items):
            metadata["continue"] = f"{snapshot_id}:{end}"
        page = snapshot.items[start:end]
        if "PartialObjectMetadataList" in request.headers.get("Accept", ""):
            page = [{"metadata": body["metadata"]} for body in page]
        return web.json_response({"kind": "WidgetList", "apiVersion": "v1", "metadata": metadata, "items": page})

    def expire_continue_tokens(self) -> None:
        self._snapshots.clear()

    async def _watch(self, request: web.Request, plural: str, namespace: str | None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        since = int(request.query.get("resourceVersion", "0"))
        if since < self.compacted:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await _send(response, {"type": "ERROR", "object": gone})
            return response
        watcher = Watcher(plural, namespace)
        for version, event_type, body in self.history:
            if version > since and not self.mute and body["kind"] == plural.removesuffix("s").title():
                watcher.events.put_nowait({"type": event_type, "object": body})
        self.watchers.append(watcher)
        async with self.watching:
            self.watching.notify_all()
        try:
            while (event := await watcher.events.get()) is not None:
                await _send(response, event)
        except ConnectionError:
            return response
        finally:
            self.watchers.remove(watcher)
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _object(self, request: web.Request, key: Name, rest: list[str]) -> web.Response:
        stored = self.objects.get(key)
        if stored is None:
            return _status(404, "not found")
        if request.method == "GET":
            return web.json_response(stored)
        if request.method == "DELETE":
            return web.json_response(self.delete(key[2], namespace=key[1], plural=key[0]))
        sent = await request.json()
        expected = sent.get("metadata", {}).get("resourceVersion")
        if expected is not None and expected != stored["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        part = "status" if rest == ["status"] else "spec"
        return web.json_response(self.put(key[2], namespace=key[1], plural=key[0], **{part: sent.get(part, {})}))


def _concerns(watcher: Watcher, plural: str, body: Body) -> bool:
    return watcher.plural == plural and watcher.namespace in (None, body["metadata"].get("namespace"))


def _describe(resource: Gvr) -> Body:
    singular = resource.plural.removesuffix("s")
    return {
        "name": resource.plural,
        "singularName": singular,
        "kind": singular.title(),
        "namespaced": resource.namespaced,
        "verbs": ["get", "list", "watch", "patch"],
    }


def _status(code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "code": code, "message": message}
    return web.json_response(body, status=code, headers=headers)


async def _send(response: web.StreamResponse, event: Body) -> None:
    await response.write(json.dumps(event).encode() + b"\n")
