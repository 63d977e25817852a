"""Lists and watch events, taken out of kopf's HTTP responses before kopf sees them.

kopf turns each object that it reads into a queue and a task, and never tells when a list is complete. Taken
from the response instead, an object costs little more than its JSON, the end of each list is known, and with
it which objects have vanished while no watch was open. What is left to kopf is what it does well: to list,
to watch, and to begin again wherever a connection, a credential or a resource version is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import aiohttp
import msgspec
import orjson

from gatehouse.engine.informer import ListPage, WatchEvent

__all__ = ["Scope", "Taker", "taking_response"]

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_PART: Final = 1024 * 1024
"""Bytes of JSON that are decoded at a time: decoded they take some ten times as much, and the loop waits meanwhile."""

Scope = tuple[str, str | None]
"""A kind and the namespace it is listed in, or None for all."""


class Taker(Protocol):
    """Gets what was in a response."""

    async def take_page(self, page: ListPage) -> None:
        """Take in one page of a list; the next one is asked for when this returns."""
        ...

    def take_events(self, kind: str, events: Sequence[WatchEvent]) -> None:
        """Take in watch events of one kind, in their order."""
        ...


def taking_response(paths: Mapping[str, Scope], taker: Taker) -> type[aiohttp.ClientResponse]:
    """A response class that hands lists and watch events to ``taker``, and leaves kopf empty lists and bookmarks.

    ``paths`` maps the path of each collection to its kind and namespace; other responses are left alone.
    """

    class TakingResponse(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            scope = paths.get(self.url.path)
            if scope is not None and self.status == 200 and "watch" in self.url.query:
                self.content = _WatchStream(self.content, scope[0], taker)  # type: ignore[assignment]
            return self

        async def json(self, **_options: Any) -> Any:
            data = await self.read()
            scope = paths.get(self.url.path)
            if self.status != 200 or scope is None:
                return orjson.loads(data)
            document, items = _split(data)
            if items is None:
                return document
            for page in _pages(document, items, scope, first="continue" not in self.url.query):
                await taker.take_page(page)
            return {**document, "items": []}

    return TakingResponse


def _split(data: bytes) -> tuple[dict[str, Any], list[msgspec.Raw] | None]:
    """The members of a list but its items, and those undecoded; with None what has no list of items is whole."""
    members = _MEMBERS.decode(data)
    if memoryview(members.get("items", msgspec.Raw(b"null")))[0] != ord("["):
        return orjson.loads(data), None
    items = _ITEMS.decode(members.pop("items"))
    return {name: orjson.loads(memoryview(member)) for name, member in members.items()}, items


def _pages(
    document: Mapping[str, Any], items: Sequence[msgspec.Raw], scope: Scope, *, first: bool
) -> Iterator[ListPage]:
    """What the API server sent, in pages of at most ``_PART`` bytes or of one object; at least one, if it is empty."""
    metadata = document.get("metadata") or {}
    kind, namespace = scope
    parts = _parts(items)
    for number, part in enumerate(parts):
        yield ListPage(
            kind=kind,
            namespace=namespace,
            items=tuple(orjson.loads(memoryview(item)) for item in part),
            resource_version=metadata.get("resourceVersion", ""),
            first=first and number == 0,
            last=not metadata.get("continue") and number == len(parts) - 1,
        )


def _parts(items: Sequence[msgspec.Raw]) -> list[list[msgspec.Raw]]:
    parts: list[list[msgspec.Raw]] = [[]]
    size = 0
    for item in items:
        length = len(memoryview(item))
        if parts[-1] and size + length > _PART:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += length
    return parts


class _WatchStream:
    """The body of a watch without its events; everything else is the reader's that it stands for."""

    def __init__(self, content: aiohttp.StreamReader, kind: str, taker: Taker) -> None:
        self._content = content
        self._kind = kind
        self._taker = taker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The lines that are for kopf; where a chunk ends with an event that was taken, a bookmark of its version."""
        rest = b""
        async for data in self._content.iter_chunked(size):
            *lines, rest = (rest + data).split(b"\n")
            left = self._take(lines)
            if left:
                yield b"".join(line + b"\n" for line in left)
        if rest:
            yield rest

    def _take(self, lines: Sequence[bytes]) -> list[bytes]:
        events: list[WatchEvent] = []
        left: list[bytes] = []
        event: WatchEvent | None = None
        for line in lines:
            event = _event_of(line)
            if event is None:
                left.append(line)
            else:
                events.append(event)
        if events:
            self._taker.take_events(self._kind, events)
        if event is not None:
            left.append(_bookmark(event))
        return left


def _event_of(line: bytes) -> WatchEvent | None:
    """The event of a line; None for bookmarks, errors and what is no JSON."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    match document:
        case {"type": "ADDED" | "MODIFIED" | "DELETED" as event_type, "object": dict(body)}:
            return WatchEvent(type=event_type, body=body)
        case _:
            return None


def _bookmark(event: WatchEvent) -> bytes:
    """With it kopf knows where to go on watching."""
    version = (event.body.get("metadata") or {}).get("resourceVersion")
    return orjson.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version} if version else {}}})
