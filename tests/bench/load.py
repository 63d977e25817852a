"""A bare client of the API server and of the store: raw requests, many in flight, for setting up and for comparison."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import orjson

from bench.scrape import Samples, parse
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.ephemeral import RunningControlPlane

__all__ = ["IN_FLIGHT", "Cluster", "Refused", "collection", "flood", "upload"]

IN_FLIGHT = 24
"""As many as the wanted figures were taken with."""
_GROUP = "/apis/gatehouse.dev/v1alpha1"
_OTHERS = {
    **dict.fromkeys(("configmaps", "events", "namespaces", "secrets"), "/api/v1"),
    "buckets": "/apis/source.toolkit.fluxcd.io/v1",
    "deployments": "/apis/apps/v1",
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
    "inferenceservices": "/apis/serving.kserve.io/v1beta1",
}
_PAGE = 500
_LONGEST_LINE = 8 * 1024 * 1024

T = TypeVar("T")


class Refused(Exception):
    """A server answered an error."""


async def flood(items: Iterable[T], work: Callable[[T], Awaitable[object]], *, in_flight: int = IN_FLIGHT) -> None:
    """``work`` on every item, so many at once."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(worker())


class Cluster:
    """One pool of connections to the API server, as ``admin`` or another user."""

    def __init__(self, plane: RunningControlPlane, *, user: str = ADMIN) -> None:
        self._url = plane.url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=ssl.create_default_context(cafile=str(plane.authority)), limit=IN_FLIGHT + 4
            ),
            headers={"Authorization": f"Bearer {plane.tokens[user]}"},
            read_bufsize=_LONGEST_LINE,
            timeout=aiohttp.ClientTimeout(total=60),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, body: object | None = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """One request. Raises ``Refused``."""
        async with self._session.request(
            method,
            self._url + path,
            data=None if body is None else orjson.dumps(body),
            headers={"Content-Type": content_type},
        ) as response:
            content = await response.read()
            if response.status >= 400:
                raise Refused(f"{method} {path}: {response.status} {content[:500].decode(errors='replace')}")
        answer: dict[str, Any] = orjson.loads(content)
        return answer

    async def create(self, plural: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates an object of a namespace."""
        return await self.send("POST", collection(plural, body["metadata"]["namespace"]), body)

    async def apply(self, plural: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side applies an object of a namespace, as ``kubectl apply --server-side`` does."""
        path = f"{collection(plural, body['metadata']['namespace'])}/{body['metadata']['name']}?fieldManager=bench"
        return await self.send("PATCH", path, body, content_type="application/apply-patch+yaml")

    async def objects(self, plural: str, namespace: str = "") -> AsyncIterator[dict[str, Any]]:
        """Every object of a kind, page by page."""
        token = ""
        while True:
            page = await self.send("GET", f"{collection(plural, namespace)}?limit={_PAGE}&continue={token}")
            for item in page["items"]:
                yield item
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def watch(self, plural: str, namespace: str) -> AsyncGenerator[dict[str, Any], None]:
        """The bodies of objects of a kind as they change, from now on."""
        page = await self.send("GET", f"{collection(plural, namespace)}?limit=1")
        start = page["metadata"]["resourceVersion"]
        async with self._session.get(
            f"{self._url}{collection(plural, namespace)}?watch=1&resourceVersion={start}",
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            async for line in response.content:
                body: dict[str, Any] = orjson.loads(line)["object"]
                yield body

    async def samples(self) -> Samples:
        """The API server's own counters of requests."""
        async with self._session.get(f"{self._url}/metrics") as response:
            return parse(await response.text(), names=("apiserver_request_total",))


def collection(plural: str, namespace: str = "") -> str:
    """The path of the objects of a kind: Gatehouse's kinds, some of core v1, and Flux's Buckets."""
    group = _OTHERS.get(plural, _GROUP)
    return f"{group}/namespaces/{namespace}/{plural}" if namespace else f"{group}/{plural}"


async def upload(url: str, bucket: str, artifacts: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Puts the files of each prefix into a bucket that anybody may write to."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def put(artifact: tuple[str, Mapping[str, bytes]]) -> None:
            prefix, files = artifact
            for name, content in files.items():
                async with session.put(f"{url}/{bucket}/{prefix}{name}", data=content) as response:
                    if response.status >= 400:
                        raise Refused(f"PUT {prefix}{name}: {response.status} {(await response.text())[:300]}")

        await flood(artifacts, put)
