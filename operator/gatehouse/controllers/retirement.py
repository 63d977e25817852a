"""Archives the rows of objects that are gone: their rows outlive them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.connections import Connections
from gatehouse.controllers.objects import Objects
from gatehouse.domain.errors import ReconcileError
from gatehouse.domain.lifecycle import ACTOR
from gatehouse.domain.records import StateChange

__all__ = ["object_deleted", "retire"]


async def retire(
    kind: Literal["model", "version"],
    namespace: str,
    name: str,
    *,
    objects: Objects,
    connections: Connections,
    now: datetime,
) -> None:
    """Archives the live row that the object held, in whichever registry that is.

    Raises what the databases raise, once each was asked. They are asked side by side: one that is down, or silent,
    holds up no other.
    """
    change = object_deleted(namespace, name, now=now)

    async def archive(registry: ModelRegistry) -> ReconcileError | None:
        try:
            rows = await connections.rows(registry)
            await rows.archive_object(kind, namespace=namespace, name=name, change=change)
        except ReconcileError as error:
            return error
        return None

    there = (objects.get(ModelRegistry, *where) for where in objects.reader.names(ModelRegistry.info.plural))
    found = await asyncio.gather(*(archive(registry) for registry in there if registry is not None))
    down = next((error for error in found if error is not None), None)
    if down is not None:
        raise down


def object_deleted(namespace: str, name: str, *, now: datetime) -> StateChange:
    """The history entry of a row whose object is gone."""
    return StateChange(
        at=now,
        actor=ACTOR,
        before=None,
        after="Archived",
        digest=None,
        reason="ObjectDeleted",
        message=f"{namespace}/{name} is not in the cluster any more",
    )
