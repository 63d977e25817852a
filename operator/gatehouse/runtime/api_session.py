"""HTTP sessions to the API server for listing and watching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import kopf
import orjson

from gatehouse.runtime.refs import Gvr
from gatehouse.runtime.resync import ListedObject, MetadataPage

__all__ = ["Login", "MetadataClient", "default_login", "open_session"]

Login = Callable[[], kopf.ConnectionInfo]
"""Finds the API server and the credentials. Called again when the server refuses the credentials. May read files."""

PAGE_SIZE = 500
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)


def default_login() -> kopf.ConnectionInfo:
    """The service account of the Pod, else KUBECONFIG. Raises `kopf.LoginError` without either."""
    settings = kopf.OperatorSettings()
    info = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if info is None:
        raise kopf.LoginError("found neither a service account token nor a kubeconfig: run in a Pod or set KUBECONFIG")
    return info


async def open_session(
    info: kopf.ConnectionInfo, response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse
) -> aiohttp.ClientSession:
    """A session with the credentials, on the running loop."""
    context = await asyncio.to_thread(info.as_ssl_context)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        response_class=response_class,
    )


@dataclass(slots=True)
class MetadataClient:
    """Lists names and versions without bodies."""

    login: Login
    session: aiohttp.ClientSession | None = None
    server: str = ""

    async def list_metadata(self, resource: Gvr, namespace: str | None) -> AsyncIterator[MetadataPage]:
        """The pages of a consistent list. Raises `aiohttp.ClientError` or `TimeoutError`."""
        token = ""
        while True:
            document = await self._get(resource.path(namespace), token)
            metadata = document.get("metadata", {})
            yield MetadataPage(
                resource_version=metadata.get("resourceVersion", ""),
                objects=tuple(
                    ListedObject(
                        namespace=item["metadata"].get("namespace") or "",
                        name=item["metadata"]["name"],
                        resource_version=item["metadata"].get("resourceVersion", ""),
                    )
                    for item in document.get("items") or ()
                ),
            )
            token = metadata.get("continue") or ""
            if not token:
                return

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()
            self.session = None

    async def _get(self, path: str, token: str) -> dict[str, Any]:
        if self.session is None:
            info = await asyncio.to_thread(self.login)
            self.server = info.server.rstrip("/")
            self.session = await open_session(info)
        params = {"limit": str(PAGE_SIZE)} | ({"continue": token} if token else {})
        async with self.session.get(
            self.server + path, params=params, headers={"Accept": _METADATA_ONLY}, timeout=_TIMEOUT
        ) as response:
            if response.status == 401:
                await self.close()  # the token has expired: log in again next time
            response.raise_for_status()
            document: dict[str, Any] = orjson.loads(await response.read())
            return document
