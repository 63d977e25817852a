"""Takes events of object stores: proves the token, and leaves hints for the operator."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, Protocol

from starlette.responses import Response

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.server.calls import UncheckedCall
from gatehouse.server.errors import NotFound, Unauthenticated
from gatehouse.server.hooks.store_events import hinted_folders, read_store_events
from gatehouse.server.identity.expiring import ExpiringCache
from gatehouse.server.rendering import json_response

__all__ = ["HintedRegistry", "HookHandlers"]

SHORTEST_TOKEN: Final = 16
_KEPT: Final = 10.0
"""Seconds for which a token is not read again."""
_NONE: Final = b""


class HintedRegistry(Protocol):
    """The registry that the server shows."""

    async def registry(self) -> ModelRegistry:
        """The ModelRegistry. Raises Unavailable."""
        ...

    async def hook_token(self) -> str | None:
        """The token of its object stores; None where the registry takes no events. Raises the errors of Secrets."""
        ...

    async def add_hints(self, folders: Sequence[str]) -> int:
        """Leaves hints for the operator; returns how many were left."""
        ...


class HookHandlers:
    """The handlers of one registry. ``now`` returns seconds that only grow."""

    def __init__(self, registry: HintedRegistry, *, now: Callable[[], float]) -> None:
        self._registry = registry
        self._digests: ExpiringCache[str, bytes] = ExpiringCache(size=1, now=now)

    async def store_events(self, call: UncheckedCall) -> Response:
        """``POST /hooks/s3/{registry}``: one event or many. The answer counts the events and the hints that they left.

        Everything about the registry, its name included, is for callers with its token.
        """
        await self._prove(call)
        registry = await self._registry.registry()
        if call.params["registry"] != registry.metadata.name:
            shown = registry.metadata.name
            raise NotFound(f"this server shows the ModelRegistry {shown}; expected: this name at the end of the path")
        events = read_store_events(await call.body())
        folders = hinted_folders(registry, events)
        hints = await self._registry.add_hints(folders) if folders else 0
        return json_response({"events": len(events), "hints": hints}, status=202)

    async def _prove(self, call: UncheckedCall) -> None:
        """Raises Unauthenticated unless the call has the registry's token."""
        scheme, _, token = (call.header("authorization") or "").partition(" ")
        expected = await self._digests.get_or_load("", self._load)
        given = sha256(token.strip().encode("utf-8", "surrogatepass")).digest()
        proven = hmac.compare_digest(given, expected)
        if scheme.lower() != "bearer" or not proven:
            raise Unauthenticated(
                "the call has no valid token; expected: the header Authorization: Bearer TOKEN with the token in "
                "spec.hooks.tokenSecret of the ModelRegistry",
                rejected=bool(token),
            )

    async def _load(self) -> tuple[bytes, float]:
        """The SHA-256 of the token, so that the comparison takes the same time for every token."""
        token = await self._registry.hook_token()
        usable = token is not None and len(token) >= SHORTEST_TOKEN
        return sha256(token.encode()).digest() if token is not None and usable else _NONE, _KEPT
