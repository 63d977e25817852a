"""A source for a kind that may be absent: watches the kind only while the API server serves the kind.

kopf finds the kinds of the API server only at its start, and ends with an error when one kind is absent. An optional
kind therefore has a kopf of its own, which other kinds do not depend on. A check at intervals asks the API server
whether the kind is served, and the answer starts or ends the watch. A working watch is not checked: the API server ends
the watch when the kind goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from gatehouse.runtime.informer import EventSource, ListPage, Sink
from gatehouse.runtime.kopf_source import NotListedError
from gatehouse.runtime.refs import Gvr

__all__ = ["OptionalSource", "Presence", "WatchingSource"]

log = structlog.get_logger(__name__)

_PATIENCE: Final = 2
"""Checks in a row that may find no watch: the first check starts the list before the watch, and a list takes time."""


class Presence(Protocol):
    """Knows the kinds of the API server."""

    async def serves(self, resource: Gvr) -> bool:
        """Whether the API server serves the kind. Raises an error when that cannot be told."""
        ...


class WatchingSource(EventSource, Protocol):
    """A source that says whether the source watches."""

    @property
    def watching(self) -> bool:
        """Whether every watch was opened since the source last began."""
        ...


class OptionalSource:
    """Lists and watches one kind while the kind is served. An absent kind has no objects.

    While the API server does not answer, refuses or fails a list, the objects that are known stay known. ``changed`` is
    called after another answer than the last one.
    """

    def __init__(
        self,
        *,
        resource: Gvr,
        source: WatchingSource,
        presence: Presence,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self._resource = resource
        self._source = source
        self._presence = presence
        self._changed = changed
        self.served: bool | None = None
        """The last answer of the API server; None before the first."""
        self._unwatched = 0
        self._answers: asyncio.Queue[bool] = asyncio.Queue()

    async def check(self) -> None:
        """Ask once whether the kind is served, unless the watch works.

        :raises NotListedError: the kind is served, and several checks in a row found no watch.
        """
        if self._source.watching:
            self._unwatched = 0
            return
        served = await self._presence.serves(self._resource)
        before, self.served = self.served, served
        self._answers.put_nowait(served)
        if served != before:
            log.info("optional kind is watched" if served else "optional kind is absent", kind=self._resource.plural)
            self._changed()
        self._unwatched = self._unwatched + 1 if served else 0
        if self._unwatched > _PATIENCE:
            raise NotListedError(f"{self._resource.plural} are served, but cannot be listed and watched")

    async def run(self, sink: Sink) -> None:
        """Deliver lists and events until cancelled, as the answers to the checks say."""
        watching: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                served = await self._answers.get()
                if served and watching is None:
                    watching = group.create_task(self._source.run(sink), name=f"source of {self._resource.plural}")
                elif not served:
                    if watching is not None:
                        watching.cancel()
                        await asyncio.wait([watching])
                        watching = None
                    sink.take_page(_nothing(self._resource))

    def relist(self) -> None:
        """List again if the kind is watched."""
        self._source.relist()

    def stalled_for(self) -> float:
        """Seconds since the watch last showed progress; 0 without a watch."""
        return self._source.stalled_for()


def _nothing(resource: Gvr) -> ListPage:
    """The list of a kind that is absent. Every object is older than this list, which has no version."""
    return ListPage(kind=resource.plural, namespace=None, items=(), resource_version="", first=True, last=True)
