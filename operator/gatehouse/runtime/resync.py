"""Periodically compares the caches with the API server: the last guard against a wrong watch."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from gatehouse.runtime.cache import Caches, is_newer
from gatehouse.runtime.clock import Clock, sleep
from gatehouse.runtime.informer import scopes
from gatehouse.runtime.refs import Gvr, ObjectKey
from gatehouse.runtime.watches import Watch

__all__ = ["ListedObject", "ListingFailed", "MetadataLister", "MetadataPage", "Sweeper"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ListedObject:
    namespace: str
    name: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class MetadataPage:
    """One page of metadata. ``resource_version`` is the version of the list, the same on all its pages."""

    resource_version: str
    objects: tuple[ListedObject, ...]


class ListingFailed(Exception):
    """The API server did not list the objects."""


class MetadataLister(Protocol):
    """Lists names and versions, page by page. Raises `ListingFailed`."""

    def list_metadata(self, resource: Gvr, namespace: str | None) -> AsyncIterator[MetadataPage]: ...


@dataclass(frozen=True, slots=True)
class _Differences:
    """Versions that the cache has not seen, and cached objects that the list did not have."""

    unseen: dict[ObjectKey, str]
    vanished: dict[ObjectKey, str]

    def __len__(self) -> int:
        return len(self.unseen) + len(self.vanished)


class Sweeper:
    """Lists the metadata of every kind every ``interval`` seconds and calls ``relist`` if the caches lag.

    An event may be in transit, so only differences that remain after ``settle`` seconds count.
    """

    def __init__(
        self,
        *,
        watches: Iterable[Watch],
        caches: Caches,
        lister: MetadataLister,
        relist: Callable[[], None],
        clock: Clock,
        namespaces: tuple[str, ...] = (),
        interval: float = 600.0,
        settle: float = 5.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._watches = tuple(watches)
        self._caches = caches
        self._lister = lister
        self._relist = relist
        self._clock = clock
        self._namespaces = namespaces
        self._interval = interval
        self._settle = settle
        self._draw = draw

    async def run(self) -> None:
        """Sweep until cancelled. A failed sweep is logged; the next sweep covers it."""
        while True:
            await sleep(self._clock, self._interval * (0.9 + 0.2 * self._draw()))
            try:
                await self.sweep()
            except ListingFailed as error:
                log.warning("sweep failed", error=repr(error))
            except Exception:
                # The sweep guards against faults of the watches, so a fault of its own must not end the process.
                log.exception("sweep failed with an unexpected error")

    async def sweep(self) -> bool:
        """Compare once; True if the caches lag and a new list was requested."""
        lags = [
            await self._compare(watch, scope) for watch in self._watches for scope in scopes(watch, self._namespaces)
        ]
        if not any(lags):
            return False
        await sleep(self._clock, self._settle)
        lasting = sum(len(self._still_there(differences)) for differences in lags)
        if lasting:
            log.warning("caches lag behind the API server, listing again", objects=lasting)
            self._relist()
        return bool(lasting)

    async def _compare(self, watch: Watch, namespace: str | None) -> _Differences:
        cache = self._caches[watch.kind]
        live: dict[ObjectKey, str] = {}
        listed_at = ""
        try:
            async for page in self._lister.list_metadata(watch.resource, namespace):
                listed_at = page.resource_version
                for item in page.objects:
                    live[ObjectKey(watch.kind, item.namespace, item.name)] = item.resource_version
        except ListingFailed:
            if not watch.optional:
                raise
            # The kind is absent, or its webhook fails; other kinds are compared nevertheless.
            return _Differences({}, {})
        unseen = {key: version for key, version in live.items() if not cache.knows(key, version)}
        vanished = {
            key: meta.resource_version
            for key in cache.keys(namespace)
            if key not in live
            and (meta := cache.meta(key)) is not None
            and not is_newer(meta.resource_version, listed_at)
        }
        return _Differences(unseen, vanished)

    def _still_there(self, before: _Differences) -> _Differences:
        unseen = {k: v for k, v in before.unseen.items() if not self._caches[k.kind].knows(k, v)}
        vanished = {
            key: version
            for key, version in before.vanished.items()
            if (meta := self._caches[key.kind].meta(key)) is not None and meta.resource_version == version
        }
        return _Differences(unseen, vanished)
