"""Writes copies of entries into a Kubeflow Model Registry by its REST API, v1alpha3."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

from gatehouse.domain.common.errors import Transient, Waiting
from gatehouse.domain.entries.entry import EntryKind
from gatehouse.domain.entries.mirroring import CopyLost, CopyRefused, CreateCopy, UpdateCopy

__all__ = ["KubeflowMirror", "open_mirror"]

_PREFIX: Final = "/api/model_registry/v1alpha3"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=5)
_LOOK_AGAIN: Final = timedelta(seconds=60)
_LARGEST_ANSWER: Final = 16_777_216
_ID: Final = re.compile(r"[1-9][0-9]{0,18}")
_COLLECTIONS: Final[Mapping[EntryKind, str]] = {
    "registered_model": "registered_models",
    "model_version": "model_versions",
    "model_artifact": "artifacts",
    "doc_artifact": "artifacts",
}
_FINDS: Final[Mapping[EntryKind, str]] = {
    "registered_model": "registered_model",
    "model_version": "model_version",
    "model_artifact": "model_artifact",
    "doc_artifact": "artifact",
}
_BUSY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class KubeflowMirror:
    """One mirror, open. The token and the words of the mirror are in no error.

    Every method may raise Transient (MirrorUnavailable) and Waiting (MirrorDenied).
    """

    def __init__(self, url: str, *, token: str | None, ca_pem: str | None) -> None:
        """Raises Waiting (MirrorDenied) for a token or authorities that no client can use."""
        self._url = url.rstrip("/")
        try:
            self._ssl = ssl.create_default_context(cadata=ca_pem) if ca_pem else ssl.create_default_context()
        except (ssl.SSLError, ValueError):
            raise _denied("its caSecret holds no certificates in PEM") from None
        if token is not None and not (token.isascii() and token.isprintable()):
            raise _denied("its tokenSecret holds no token of printable ASCII")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None
        self.requests = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._ssl, limit=4),
            timeout=_TIMEOUT,
            headers={**self._headers, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def create(self, copy: CreateCopy) -> str | None:
        """Creates an entry; returns its id, or None where an entry of the name is there.

        Raises CopyRefused, and CopyLost where the parent is not there.
        """
        form = copy.form
        body = {**form.body, "name": form.name}
        path = _COLLECTIONS[form.key.kind]
        if form.key.kind == "model_version":
            body["registeredModelId"] = copy.parent_id
        elif form.parent is not None:
            path = f"model_versions/{copy.parent_id}/artifacts"
        status, answer = await self._ask("POST", path, body=body)
        if status == HTTPStatus.CONFLICT:
            return None
        if status == HTTPStatus.NOT_FOUND and copy.parent_id:
            raise CopyLost
        if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise CopyRefused(status)
        return _id_of(answer)

    async def find(self, copy: CreateCopy) -> str:
        """The id of the entry with the name of a copy. Raises CopyRefused where there is none."""
        form = copy.form
        query = {"name": form.name} | ({"parentResourceId": copy.parent_id} if copy.parent_id else {})
        status, answer = await self._ask("GET", _FINDS[form.key.kind], query=query)
        if status != HTTPStatus.OK:
            raise CopyRefused(HTTPStatus.CONFLICT)
        return _id_of(answer)

    async def update(self, copy: UpdateCopy) -> None:
        """Replaces what an entry has. Raises CopyLost and CopyRefused."""
        path = f"{_COLLECTIONS[copy.form.key.kind]}/{copy.remote_id}"
        status, _ = await self._ask("PATCH", path, body=copy.form.body)
        if status == HTTPStatus.NOT_FOUND:
            raise CopyLost
        if status != HTTPStatus.OK:
            raise CopyRefused(status)

    async def _ask(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        if self._session is None:
            raise RuntimeError("the mirror is not open")
        self.requests += 1
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method,
                f"{self._url}{_PREFIX}/{path}",
                params=query,
                data=data,
                headers={"Content-Type": "application/json"} if data is not None else {},
                allow_redirects=False,
            ) as response:
                content = await _bounded(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(type(error).__name__) from None
        if status in _DENIED:
            raise _denied(f"it answers HTTP {status}")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY or 300 <= status < 400:
            raise _unavailable(f"HTTP {status}")
        try:
            return status, orjson.loads(content) if content else None
        except orjson.JSONDecodeError:
            return status, None


def open_mirror(url: str, *, token: str | None, ca_pem: str | None) -> KubeflowMirror:
    """A mirror that is not connected yet. Raises Waiting (MirrorDenied)."""
    return KubeflowMirror(url, token=token, ca_pem=ca_pem)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65_536):
        size += len(part)
        if size > _LARGEST_ANSWER:
            raise _unavailable("an answer of more than 16 MiB")
        parts.append(part)
    return b"".join(parts)


def _id_of(answer: Any) -> str:
    found = answer.get("id") if isinstance(answer, Mapping) else None
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise _unavailable("an answer without an id: this is no Kubeflow Model Registry")
    return found


def _unavailable(found: str) -> Transient:
    return Transient(
        reason="MirrorUnavailable",
        message=f"the mirror does not answer as a Kubeflow Model Registry: {found}",
        remedy="check the URL of the mirror and the network between the operator and the mirror",
    )


def _denied(found: str) -> Waiting:
    return Waiting(
        reason="MirrorDenied",
        message=f"the mirror does not accept the operator: {found}",
        after=_LOOK_AGAIN,
        remedy="check tokenSecret and caSecret of the mirror, and the rights of the token's owner at the mirror",
    )
