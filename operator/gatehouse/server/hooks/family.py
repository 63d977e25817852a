"""The hooks as a family of endpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import orjson

from gatehouse.server.hooks.handlers import HintedRegistry, HookHandlers
from gatehouse.server.hooks.openapi import hooks_document
from gatehouse.server.rendering import own_error
from gatehouse.server.routing import Family, UncheckedEndpoint

__all__ = ["HOOKS_DOCUMENT", "hooks_family"]

HOOKS_DOCUMENT: Final = "/openapi/hooks.json"


def hooks_family(registry: HintedRegistry, *, now: Callable[[], float] = time.monotonic) -> Family:
    """Every hook. ``now`` returns seconds that only grow."""
    handlers = HookHandlers(registry, now=now)
    return Family(
        prefix="/hooks",
        endpoints=[UncheckedEndpoint(method="POST", path="/s3/{registry}", handler=handlers.store_events)],
        render=own_error,
        documents={HOOKS_DOCUMENT: orjson.dumps(hooks_document())},
    )
